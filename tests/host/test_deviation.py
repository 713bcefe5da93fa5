"""Deviation of a committee: ``pair_style deepmd`` with several models equals ``dp model-devi`` on the same frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
from deepmd.pt.infer import inference

from deepmd_dpa4.freeze.freeze import save_script
from deepmd_dpa4.ops.native.load import load
from tests.support.commands import BIN, dp, lammps
from tests.support.lammps import Box, orthogonal, write_box
from tests.support.runs import Run
from tests.support.scenes import repeated
from tests.support.toy import Frames, write_system

pytestmark = pytest.mark.slow

EVERY = 5
SCRIPT = """
units metal
atom_style atomic
boundary p p p
processors * 1 1
read_data box.data
mass * 4.0
pair_style deepmd {models} out_file deviation.out out_freq {every}
pair_coeff * * O H
velocity all create 300 7
timestep 0.0002
fix 1 all nve
dump 1 all custom {every} frames.dump id x y z
dump_modify 1 sort id format float %.16g
run 10
"""


def committee(trained: Run, folder: Path, shared: bool) -> list[Path]:
    """Four checkpoints with the same descriptor and different fitting nets, or different in all weights."""
    folder.mkdir()
    paths = []
    for seed in range(4):
        state = torch.load(trained.checkpoint, weights_only=True)
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in state["model"].items():
            chosen = "fitting_net.filter_layers" in name or not shared
            if chosen and torch.is_tensor(tensor) and tensor.dim() >= 2 and tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.mul_((1.0 + 0.05 * noise).to(tensor))
        paths.append(folder / f"model{seed}.pt")
        torch.save(state, paths[-1])
    return paths


def frozen(checkpoints: list[Path], native: bool) -> list[Path]:
    if native and not load():
        pytest.skip("this machine cannot have native kernels")
    paths = [path.with_suffix(".pth") for path in checkpoints]
    for checkpoint, path in zip(checkpoints, paths, strict=True):
        save_script(inference.Tester(str(checkpoint)), path, native)
    return paths


def by_lammps(folder: Path, models: list[Path], box: Box, ranks: int) -> np.ndarray:
    """Rows of the output file: step, then largest, smallest and mean deviation of virial and force."""
    folder.mkdir(parents=True, exist_ok=True)
    write_box(folder / "box.data", box)
    lammps(SCRIPT.format(models=" ".join(map(str, models)), every=EVERY), folder, ranks)
    return np.loadtxt(folder / "deviation.out")


def by_python(folder: Path, models: list[Path], box: Box) -> np.ndarray:
    """The same of the frames that LAMMPS wrote, and the deviation of the energy."""
    system = folder / "system"
    if not system.exists():
        steps = (folder / "frames.dump").read_text().split("ITEM: ATOMS")[1:]
        rows = [[line.split()[1:4] for line in step.split("ITEM: TIMESTEP")[0].splitlines()[1:]] for step in steps]
        coord = np.array(rows, dtype=float)
        none = np.zeros(len(coord))
        cell = np.tile(box.cell, (len(coord), 1, 1))
        write_system(system, Frames(coord, cell, none, np.zeros_like(coord), np.zeros((len(coord), 9))), box.types)
    output = folder / f"{models[0].name}.out"
    dp("model-devi", "-m", *models, "-s", system, "-o", output, "-f", EVERY, folder=folder)
    return np.loadtxt(output)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.array_equal(found[:, 0], expected[:, 0])
    assert np.all(expected[:, 4] > 1e-3)
    assert np.abs(found[:, :7] - expected[:, :7]).max() < 1e-5


@pytest.mark.parametrize(("shared", "native"), [(True, False), (False, True)], ids=["shared-plain", "apart-native"])
def test_lammps_equals_python(trained: Run, shared: bool, native: bool, tmp_path: Path) -> None:
    """On one and on two ranks; Python reads the same files, or the checkpoints that they were made of."""
    if not (BIN / "mpiexec").exists():
        pytest.skip("needs the mpich wheel")
    checkpoints, box = committee(trained, tmp_path / "models", shared), repeated(orthogonal(), (2, 1, 1))
    models = frozen(checkpoints, native)
    one, two = (by_lammps(tmp_path / str(ranks), models, box, ranks) for ranks in (1, 2))
    assert one.shape == (3, 7)
    assert_close(two, one)
    expected = by_python(tmp_path / "1", models if native else checkpoints, box)
    assert_close(one, expected)
