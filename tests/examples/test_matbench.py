"""Registration with Matbench Discovery, and the check of the files of its pipeline, on a made-up table."""

import csv
import gzip
import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.support.commands import ROOT
from tests.support.runs import Run

DATE, KEY = "2026-07-01", "my-model-1.0"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts find each other as when they are run."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "materials"))


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json(path: Path, content: Any, lines: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        file.write("\n".join(map(json.dumps, content)) if lines else json.dumps(content))
    return path


def structure(name: str, **changes: Any) -> dict[str, Any]:
    crystal = {"lattice": {"matrix": [[4, 0, 0], [0, 4, 0], [0, 0, 4]]}, "sites": [{"species": [], "abc": [0, 0, 0]}]}
    return {"material_id": name, "structure": crystal, "energy": -1.0, "converged": True, "n_steps": 3} | changes


def conductivity(name: str, **changes: Any) -> dict[str, Any]:
    """A cubic crystal with two points of weights 1 and 3 and two modes, 10 W/mK."""
    modes = [[[8.0, 8, 8, 0, 0, 0], [2.0, 2, 2, 0, 0, 0]], [[24.0, 24, 24, 0, 0, 0], [6.0, 6, 6, 0, 0, 0]]]
    return {
        "material_id": name,
        "kappa_tot_rta": [[10.0, 10, 10, 0, 0, 0]],
        "mode_kappa_tot_rta": [modes],
        "mode_weights": [1, 3],
        "has_imag_ph_modes": False,
        **changes,
    }


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the scripts look at in a clone of the project."""
    path = tmp_path / "clone" / "matbench_discovery" / "calculators.py"
    path.parent.mkdir(parents=True)
    path.write_text('CALCULATORS = {\n    "emt": CalcSpec(_emt),\n}\n')
    return tmp_path / "clone"


SUMMARY = {
    "frozen": {"kernels": "plain", "device": "any"},
    "versions": {"DeePMD-kit": "3.2.0"},
    "parameters": {"total": 4321},
    "branches": {"Default": {"options": {"descriptor": {"rcut": 4.5}}}},
}
"""What is read of a frozen file."""
WORDS = (
    *("--name", "My model", "--author", "A", "B", "--email", "a@b.org", "--licence", "CC-BY-4.0"),
    *("--training-sets", "MPtrj"),
)


@pytest.fixture
def registered(clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of predictions of a model that was registered as the first command says."""
    module = script("register_matbench")
    monkeypatch.setattr(module, "summarize", lambda path: SUMMARY)
    module.main(["write", str(clone), "model.pth", "--key", KEY, *WORDS])
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if "_deepmd_spec" in line]
    assert line.strip() == '"my_model_1_0": _deepmd_spec("my_model_1_0"),'
    assert f"models/run_discovery.py --print-cmd --model {KEY}" in printed
    path = clone / "matbench_discovery" / "calculators.py"
    path.write_text(path.read_text().replace("}\n", f"{line}\n}}\n"))
    return clone / "models" / "deepmd" / KEY


def test_the_file_of_a_model(registered: Path) -> None:
    module, entry = script("register_matbench"), yaml.safe_load((registered.parent / f"{KEY}.yml").read_text())
    assert all(key in entry for key in module.REQUIRED)
    assert entry["model_params"] == 4321
    assert entry["hyperparams"]["architecture"]["graph_construction_radius"] == 4.5
    assert [person["name"] for person in entry["authors"]] == ["A", "B"]
    assert entry["authors"][0]["email"] == "a@b.org"
    files = script("matbench_files")
    for part in ("discovery", "geo_opt"):
        files.role(Path(entry["metrics"][part]["pred_file"]["name"]).name)
    files.role(Path(entry["metrics"]["phonons"]["kappa_103"]["pred_file"]["name"]).name)


def test_a_frozen_file(clone: Path, trained: Run) -> None:
    """It tells what the registration asks for; a checkpoint does not."""
    from deepmd_dpa4.checkpoint.summary import summarize

    module = script("register_matbench")
    module.main(["write", str(clone), str(trained.frozen), "--key", KEY, *WORDS])
    entry = yaml.safe_load((clone / "models" / "deepmd" / f"{KEY}.yml").read_text())
    assert entry["model_params"] == summarize(trained.checkpoint)["parameters"]["total"]
    assert entry["hyperparams"]["architecture"]["graph_construction_radius"] == 4.0
    with pytest.raises(ValueError, match="must be a frozen file"):
        module.main(["write", str(clone), str(trained.checkpoint), "--key", KEY, *WORDS])


def test_check(registered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All files are counted, and the score is that of the table."""
    predictions = [(f"wbm-1-{number}", energy) for number, energy in enumerate((-1.0, -0.8, "", -0.5, -2.0))]
    table(
        registered / f"{DATE}-discovery.csv.gz",
        [{"material_id": name, "e_form_per_atom_my_model": energy} for name, energy in predictions],
    )
    write_json(registered / f"{DATE}-geo-opt.jsonl.gz", [structure("wbm-1-0"), structure("wbm-1-1")], lines=True)
    write_json(
        registered / f"{DATE}-phonons-kappa-103.json.gz",
        [conductivity("mp-1"), conductivity("mp-2", has_imag_ph_modes=True, kappa_tot_rta=None)],
    )
    # stable and found; unstable but called stable; stable without a prediction; unstable; a second crystal of a kind
    truth = [(-0.1, -1.0, True), (0.1, -0.6, True), (-0.2, -0.4, True), (0.3, -0.5, True), (-0.1, -2.0, False)]
    wbm = table(
        registered.parents[2] / "wbm.csv.gz",
        [
            {
                "material_id": name,
                "e_above_hull_mp2020_corrected_ppd_mp": hull,
                "e_form_per_atom_mp2020_corrected": energy,
                "unique_prototype": unique,
            }
            for (name, _), (hull, energy, unique) in zip(predictions, truth)
        ],
    )
    script("register_matbench").main(["check", str(registered.parents[2]), "--key", KEY, "--wbm", str(wbm)])
    printed = capsys.readouterr().out
    assert "5 of 256,963 crystals, 1 without a prediction" in printed
    assert "2 of 256,963 crystals, 2 converged" in printed
    assert "2 of 103 crystals, 1 count as wrong" in printed
    assert "F1 0.500, precision 0.500, recall 0.500, accuracy 0.500, MAE 66.7 meV/atom, 1 missing" in printed


def test_published_counts() -> None:
    """F1, precision, recall and accuracy of DPA-4.0.1-Pro-MPtrj on unique prototypes follow from its counts."""
    scores = script("matbench_files").Scores(28569, 4751, 177363, 4805, 0.029, 0.074, 0)
    found = (scores.f1, scores.precision, scores.recall, scores.accuracy)
    assert [round(value, 3) for value in found] == [0.857, 0.857, 0.856, 0.956]


Write = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("name", "write", "reader", "named"),
    [
        (
            "discovery.csv.gz",
            lambda path: table(path, [{"id": "wbm-1-1", "e_form_per_atom": 1.0}]),
            "formation_energies",
            "no column `material_id`",
        ),
        (
            "discovery.csv.gz",
            lambda path: table(path, [{"material_id": "wbm-1-1", "e_form_per_atom": 1.0}] * 2),
            "formation_energies",
            "'wbm-1-1' twice",
        ),
        (
            "discovery.csv.gz",
            lambda path: table(path, [{"material_id": "wbm-1-1", "energy": 1.0}]),
            "formation_energies",
            "one column `e_form_per_atom`",
        ),
        (
            "discovery.csv.gz",
            lambda path: table(path, [{"material_id": "wbm-1-1", "e_form_per_atom": "inf"}]),
            "formation_energies",
            "'inf' where a finite number",
        ),
        (
            "geo-opt.jsonl.gz",
            lambda path: write_json(path, [structure("a"), structure("a")], lines=True),
            "relaxed",
            "line 2: a is there twice",
        ),
        (
            "geo-opt.jsonl.gz",
            lambda path: write_json(path, [structure("a", structure=None)], lines=True),
            "relaxed",
            "one structure with lattice",
        ),
        (
            "geo-opt.jsonl.gz",
            lambda path: write_json(path, [structure("a", energy=math.nan)], lines=True),
            "relaxed",
            "energy is nan",
        ),
        (
            "phonons-kappa-103.json.gz",
            lambda path: write_json(path, [conductivity("a", kappa_tot_rta=[[20.0, 20, 20, 0, 0, 0]])]),
            "conductivities",
            "modes add up to 10 W/mK, the total is 20",
        ),
        (
            "phonons-kappa-103.json.gz",
            lambda path: write_json(path, [conductivity("a", mode_weights=None)]),
            "conductivities",
            "mode_weights missing",
        ),
    ],
)
def test_wrong_files(name: str, write: Write, reader: str, named: str, tmp_path: Path) -> None:
    files = script("matbench_files")
    path = tmp_path / f"{DATE}-{name}"
    write(path)
    with pytest.raises(files.FormatError, match=named):
        list(getattr(files, reader)(path))


def test_conductivities_as_columns(tmp_path: Path) -> None:
    """As pandas writes a table, and with tensors of 3 x 3."""
    full = conductivity("mp-1")
    tensor = [[[10.0, 0, 0], [0, 10, 0], [0, 0, 10]]]
    columns = {key: {"0": value} for key, value in (full | {"kappa_tot_rta": tensor}).items()}
    path = write_json(tmp_path / f"{DATE}-phonons-kappa-103.json.gz", columns)
    assert list(script("matbench_files").conductivities(path)) == ["mp-1"]


@pytest.mark.parametrize("name", ["discovery.csv.gz", f"{DATE}-preds.csv.gz", f"{DATE}-discovery.csv"])
def test_wrong_names(name: str) -> None:
    files = script("matbench_files")
    with pytest.raises(files.FormatError, match="must be one of"):
        files.role(name)


@pytest.mark.parametrize(
    ("folder", "model", "key", "summary", "named"),
    [
        ("clone", "model.pt", KEY, SUMMARY | {"frozen": None}, "must be a frozen file"),
        ("clone", "model.pth", KEY, SUMMARY | {"frozen": {"kernels": "native"}}, "holds native kernels"),
        ("clone", "model.pth", "My_model", SUMMARY, "small letters"),
        ("elsewhere", "model.pth", KEY, SUMMARY, "must be a clone"),
    ],
)
def test_what_cannot_be_registered(
    folder: str,
    model: str,
    key: str,
    summary: dict[str, Any],
    named: str,
    clone: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = script("register_matbench")
    monkeypatch.setattr(module, "summarize", lambda path: summary)
    with pytest.raises(ValueError, match=named):
        module.main(["write", str(clone.parent / folder), model, "--key", key, *WORDS])


def test_what_was_not_registered(registered: Path) -> None:
    """A file that lacks a key, and a list of calculators that does not name the model."""
    module, clone, path = script("register_matbench"), registered.parents[2], registered.parent / f"{KEY}.yml"
    words = ["check", str(clone), "--key", KEY]
    entry = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({key: value for key, value in entry.items() if key != "license"}))
    with pytest.raises(ValueError, match="lacks license"):
        module.main(words)
    path.write_text(yaml.safe_dump(entry))
    (clone / "matbench_discovery" / "calculators.py").write_text("CALCULATORS = {}")
    with pytest.raises(ValueError, match="does not name 'my_model_1_0'"):
        module.main(words)
