"""Codes in environments of their own: inputs, checkpoints, restarts and results, with an environment that pretends."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from tests.support.commands import ROOT

FOLDER = ROOT / "benchmarks" / "accuracy"
FRAMES = 24
PREDICT = """
import json, sys
from pathlib import Path
import numpy as np
from ase.io import read

assert sys.argv[1].endswith("predict.py"), sys.argv
name, folder, frames, output, *marks = sys.argv[2:]
frames = read(frames, ":")
assert all((Path(folder) / mark).exists() for mark in marks)
steps = range(len(marks), 0, -1)  # errors fall from one checkpoint to the next
energies = [[frame.get_potential_energy() + 0.002 * step for frame in frames] for step in steps]
forces = [np.concatenate([frame.get_forces() + 0.1 * step for frame in frames]) for step in steps]
np.savez(output, energies=energies, forces=forces)
about = {"parameters": 77, "versions": {"version": "9.9", "torch": "8.8"}}
Path(output).with_suffix(".json").write_text(json.dumps(about))
"""
TRAIN = {
    "mace": """
import re, sys
from pathlib import Path
options = dict(re.fullmatch("--([^=]+)=?(.*)", word).groups() for word in sys.argv[1:])
folder = Path(options["work_dir"]) / "checkpoints"
folder.mkdir(exist_ok=True)
done = max([int(re.findall("epoch-(\\\\d+)", path.name)[0]) for path in folder.glob("*.pt")], default=-1)
assert ("restart_latest" in options) == (done >= 0)
for epoch in range(done + 1, int(options["max_num_epochs"])):
    if epoch % int(options["eval_interval"]) == 0:
        late = "_swa" if epoch >= int(options["start_swa"]) else ""
        (folder / f"model_run-{options['seed']}_epoch-{epoch}{late}.pt").touch()
(folder / "model.model").touch()
""",
    "nequip": """
import json, re, sys
from pathlib import Path
place, name = sys.argv[sys.argv.index("-cp") + 1], sys.argv[sys.argv.index("-cn") + 1]
section = json.loads((Path(place) / f"{name}.yaml").read_text())
saved = section["trainer"]["callbacks"][0]
start = [int(found) for found in re.findall("epoch-(\\\\d+).ckpt", sys.argv[-1])]
for epoch in range(start[0] + 1 if start else 0, section["trainer"]["max_epochs"]):
    if (epoch + 1) % saved["every_n_epochs"] == 0:
        (Path(saved["dirpath"]) / f"epoch-{epoch}.ckpt").touch()
""",
    "esen": """
import json, sys
from pathlib import Path
path = Path(sys.argv[sys.argv.index("-c") + 1])
job = json.loads(path.read_text())
every = job["runner"]["callbacks"][0]["checkpoint_every_n_steps"]
names = [f"step_{step}" for step in range(0, job["runner"]["max_steps"], every)] + ["final"]
for name in names:
    folder = Path(job["job"]["run_dir"]) / "run" / "checkpoints" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inference_ckpt.pt").touch()
    (folder / "resume.yaml").write_text(path.read_text())
""",
}
COMMANDS = {"mace": "mace_run_train", "nequip": "nequip-train", "esen": "fairchem"}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts find each other as when they are run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER.parent))


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a training file."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    generator, frames = np.random.default_rng(1), []
    for index in range(FRAMES):
        atoms = Atoms("OCH", 3 * generator.random((3, 3)))
        atoms.calc = SinglePointCalculator(atoms, energy=float(index), forces=generator.random((3, 3)))
        frames.append(atoms)
    (tmp_path / "acac").mkdir()
    write(tmp_path / "acac" / "train_300K.xyz", frames, format="extxyz")
    return tmp_path


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[str], Path]:
    """An environment whose Python predicts, and whose command leaves checkpoints."""

    def make(code: str) -> Path:
        folder = tmp_path / f"environment_{code}"
        (folder / "bin").mkdir(parents=True)
        for name, content in (("python", PREDICT), (COMMANDS[code], TRAIN[code])):
            (folder / f"{name}.py").write_text(content)
            path = folder / "bin" / name
            path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder}/{name}.py" "$@"\n')
            path.chmod(0o755)
        return folder

    return make


def task(code: str, network: str) -> Any:
    return script("codes").Task(code, network, "acac", 1, 30, "documented", 60, "wall", 3)


@pytest.mark.parametrize(("code", "network"), [("mace", "paper"), ("nequip", "l1"), ("esen", "k4l2")])
def test_training(
    code: str, network: str, data: Path, environment: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training is planned in epochs, every checkpoint is evaluated, and the result has what the page needs."""
    curves = script("curves")
    program = curves.PROGRAMS[code](environment(code))
    monkeypatch.setattr(type(program), "calibrate", lambda *_: (1.0, 0.5))
    record = curves.trained(task(code, network), program, data, data / "work")
    # 22 training frames, batches of 5, the last of which MACE leaves out; 58 steps
    batches = 4 if code == "mace" else 5
    steps = [point["step"] for point in record["curve"]]
    assert steps == sorted(set(steps))
    assert all(step % batches == 0 for step in steps)
    assert 3 <= len(steps) <= 5
    assert abs(steps[-1] - 58) <= 2 * batches
    assert [point["force_mae"] for point in record["curve"]] == pytest.approx(
        [100 * n for n in range(len(steps), 0, -1)]
    )
    assert record["curve"][-1]["energy_mae"] == pytest.approx(2 / 3, abs=1e-3)
    assert (record["parameters"], record["program"]["version"]) == (77, "9.9")
    results = data / "accuracy"
    curves.save(results / "a.json", record | {"machine": {"threads": 1, "cpu": "a processor"}})
    record["machine"] |= {"torch": "2", "deepmd-kit": "3"}
    curves.save(results / "a.json", record)
    script("accuracy_page").main(["--results", str(results)])
    page = (data / "accuracy.md").read_text()
    assert f"| {code} | {network} | 77 | documented | 1 | {steps[-1]} |" in page
    assert f"5 frames in a batch, on {record['machine']['threads']} thread" in page
    assert "torch 8.8" in page


@pytest.mark.parametrize("code", ["mace", "nequip"])
def test_an_interrupted_training_goes_on(code: str, data: Path, environment: Callable[[str], Path]) -> None:
    """The command is told to, later checkpoints are added, and earlier ones keep their time."""
    curves, splits = script("curves"), script("splits")
    program, folder = curves.PROGRAMS[code](environment(code)), data / "work"
    folders = splits.write("acac", data, data / "folders")
    first = program.run(task(code, program.networks[0]), folders, folder, 10, 3)
    (folder / "clock.json").write_text(json.dumps(dict.fromkeys(first, 100.0)))
    again = program.run(task(code, program.networks[0]), folders, folder, 60, 3)
    assert first.keys() < again.keys()
    assert all(again[mark] == 100.0 for mark in first)
    assert all(seconds >= 100.0 for seconds in again.values())
    assert program.run(task(code, program.networks[0]), folders, folder, 60, 3) == again


def test_a_training_of_mace_without_its_network_goes_on(data: Path, environment: Callable[[str], Path]) -> None:
    """It was interrupted after its last checkpoint; without the network no checkpoint can be evaluated."""
    curves, splits = script("curves"), script("splits")
    program, folder = curves.PROGRAMS["mace"](environment("mace")), data / "work"
    folders = splits.write("acac", data, data / "folders")
    marks = program.run(task("mace", "l1"), folders, folder, 4, 1)
    (folder / "checkpoints" / "model.model").unlink()
    assert program.run(task("mace", "l1"), folders, folder, 4, 1) == marks
    assert program.finished(folder)


def test_speed_is_measured_on_few_frames(data: Path, environment: Callable[[str], Path]) -> None:
    curves, splits = script("curves"), script("splits")
    program = curves.PROGRAMS["nequip"](environment("nequip"))
    folders = splits.write("acac", data, data / "folders")
    start, step = program.calibrate(task("nequip", "l1"), folders, data / "work")
    assert start >= 0 and step >= 0
    assert not (data / "work").exists()


def test_frames_carry_both_names_of_labels(data: Path) -> None:
    from ase.io import read

    programs, splits = script("programs"), script("splits")
    folders = splits.write("acac", data, data / "folders")
    frames = splits.validation_frames(folders)
    programs.write_frames(data / "out.xyz", frames)
    for atoms, frame in zip(read(data / "out.xyz", ":"), frames, strict=True):
        assert atoms.get_potential_energy() == pytest.approx(frame.energy) == pytest.approx(atoms.info["REF_energy"])
        assert np.allclose(atoms.arrays["REF_forces"], frame.force) and np.allclose(atoms.get_forces(), frame.force)
        assert not atoms.pbc.any()


def test_inputs_are_yaml_of_the_documented_settings(data: Path) -> None:
    """Both inputs are plain data; energies of elements reproduce the training energies on average."""
    from ase.db import connect

    programs, splits = script("programs"), script("splits")
    frames = splits.split(data / "acac" / "train_300K.xyz")[0]
    programs.write_frames(data / "t.xyz", frames)
    job = programs.Job(task("nequip", "l2"), data, data / "t.xyz", data / "t.xyz", len(frames), 6, 2, None)
    section = yaml.safe_load(json.dumps(script("program_nequip").NequIP().section(job)))
    model = section["training_module"]["model"]
    assert (model["l_max"], model["num_features"], model["type_names"]) == (2, 32, ["H", "C", "O"])
    job = programs.Job(task("esen", "k4l2"), data, data / "t.xyz", data / "t.xyz", len(frames), 6, 2, None)
    section = yaml.safe_load(json.dumps(script("program_esen").ESEN().section(job)))
    source = section["runner"]["train_dataloader"]["dataset"]["dataset_configs"]["omol"]["splits"]["train"]["src"]
    rows = list(connect(source).select())
    assert [row.energy for row in rows] == pytest.approx([frame.energy for frame in frames])
    assert np.allclose(rows[3].forces, frames[3].force)
    energy, forces = section["runner"]["train_eval_unit"]["tasks"]
    energies = energy["element_references"]["element_references"]["_args_"][0]
    assert sum(energies[number] for number in (1, 6, 8)) == pytest.approx(np.mean([frame.energy for frame in frames]))
    assert forces["normalizer"]["rmsd"] == pytest.approx(np.sqrt(np.mean([frame.force**2 for frame in frames])))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--codes", "mace"], "`--environment` names no environment for mace"),
        (["--codes", "mace", "--environment", "mace=/nowhere"], "there is no /nowhere/bin/python"),
        (["--codes", "dpa3", "--environment", "mase=/nowhere"], "CODE of mace, nequip, esen"),
    ],
)
def test_wrong_environment(words: list[str], named: str, data: Path) -> None:
    with pytest.raises(ValueError, match=named):
        script("curves").main(["--data", str(data), *words])


def test_networks_of_each_code(data: Path, environment: Callable[[str], Path]) -> None:
    """Those that were named, or the first one; the recipe of a program is its own."""
    curves = script("curves")
    words = ["--data", str(data), "--sets", "acac", "--seeds", "1", "--networks", "mini", "paper"]
    options = curves.parsed(
        [*words, "--codes", "deepmd-dpa4", "mace", "nequip", "--environment", f"mace={environment('mace')}",
         f"nequip={environment('nequip')}"]
    )  # fmt: skip
    found = [(item.code, item.network, item.recipe) for item in curves.tasks(options, curves.named(options))]
    assert found == [
        ("deepmd-dpa4", "mini", "adamw"),
        ("mace", "paper", "documented"),
        ("nequip", "l1", "documented"),
    ]


def test_a_failure_is_told(data: Path, environment: Callable[[str], Path]) -> None:
    """The end of what the other code printed comes with the error."""
    curves, splits = script("curves"), script("splits")
    folder = environment("nequip")
    (folder / "python.py").write_text("raise SystemExit('no such calculator')")
    program = curves.PROGRAMS["nequip"](folder)
    folders = splits.write("acac", data, data / "folders")
    with pytest.raises(script("clock").TrainingError, match="no such calculator"):
        program.evaluate(data, ["epoch-1.ckpt"], splits.validation_frames(folders))


def test_predictions_by_a_calculator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script evaluates every checkpoint on every frame, in order."""
    from ase.build import molecule
    from ase.calculators.emt import EMT
    from ase.io import write

    class Model:
        def parameters(self) -> list[Any]:
            import torch

            return [torch.zeros(2, 3), torch.zeros(4, dtype=torch.int64)]

    predict = script("predict")
    monkeypatch.setitem(predict.CALCULATORS, "emt", (lambda *_: (EMT(), Model()), "ase"))
    frames = [molecule("H2O"), molecule("CO")]
    write(tmp_path / "frames.xyz", frames, format="extxyz")
    predict.main(["emt", tmp_path, tmp_path / "frames.xyz", tmp_path / "out.npz", "one", "two"])
    with np.load(tmp_path / "out.npz") as file:
        assert file["energies"].shape == (2, 2) and file["forces"].shape == (2, 5, 3)
        for atoms, energy in zip(frames, file["energies"][1]):
            atoms.calc = EMT()
            assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert json.loads((tmp_path / "out.json").read_text())["parameters"] == 6
