"""``model/use_compile``: which devices compile, and that training by compiled code is the same training."""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmd_dpa4.compiled.energies import CompiledEnergies
from deepmd_dpa4.host import kernels
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.builtin import available
from tests.support import inputs
from tests.support.commands import ROOT, call, dp, environment
from tests.support.options import ONE_BLOCK
from tests.support.predict import assert_same, predict
from tests.support.runs import Data, Run, train
from tests.support.toy import Frames, toy_frames, write_system

# `dp` as on a CUDA device, but the traced graphs run operator by operator; how many there were is written at the end
DRIVER = """
import atexit, json, sys
from pathlib import Path
from deepmd.main import main
import deepmd.pt
import deepmd_dpa4.host.build as build
import deepmd_dpa4.host.model as model
from deepmd_dpa4.compiled.energies import CompiledEnergies
from deepmd_dpa4.host.builtin import available

graphs = []

def lowering(graph):
    graphs.append(graph)
    return graph

build.use_compile = lambda wanted, native: wanted
model.CompiledEnergies = lambda memory: CompiledEnergies(lowering, memory)
atexit.register(lambda: Path("graphs.json").write_text(json.dumps(len(graphs))))
sys.argv = ["dp", *sys.argv[1:]]
main()
"""
DOUBLE = {"precision": "float64"}


def train_compiled(folder: Path, content: inputs.Section, *arguments: str) -> tuple[Run, int]:
    """``dp --pt train`` in ``folder``, and the number of graphs that were compiled."""
    name = inputs.write(folder, content)
    (folder / "driver.py").write_text(DRIVER)
    env = environment() | {"PYTHONPATH": str(ROOT)}
    log = call([sys.executable, "driver.py", "--pt", "train", name, *arguments], folder, env, seconds=600)
    return Run(folder, log), json.loads((folder / "graphs.json").read_text())


def curve(run: Run) -> np.ndarray:
    return np.loadtxt(run.folder / "lcurve.out", ndmin=2)


@pytest.mark.parametrize(("device", "expected"), [("cpu", False), ("cuda", True)])
def test_the_device_decides(
    device: str, expected: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernels, "DEVICE", torch.device(device))
    with caplog.at_level(logging.INFO):
        model = build_model(inputs.model(use_compile=True, kernels="plain"))
    assert isinstance(model.atomic_model.compiled, CompiledEnergies) == expected
    said = [record.getMessage() for record in caplog.records if "use_compile" in record.getMessage()]
    line = "`model/use_compile` is true: compiling does not pay on cpu, this model runs plain torch"
    assert said == ([] if expected else [line])


def test_models_to_be_frozen_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "DEVICE", torch.device("cuda"))
    with kernels.overriding("plain"):
        assert build_model(inputs.model(use_compile=True)).atomic_model.compiled is None


def test_checkpoint_keys_and_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepmd_dpa4.host.build.use_compile", lambda wanted, native: wanted)
    plain, compiled = (build_model(inputs.model(use_compile=on, kernels="plain")) for on in (False, True))
    assert isinstance(compiled.atomic_model.compiled, CompiledEnergies)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    compiled.load_state_dict(plain.state_dict())
    coord = torch.tensor(toy_frames(1, seed=2).coord.reshape(1, -1))
    types = torch.tensor([[0, 1, 1, 0, 1, 1]])
    out = torch.jit.script(compiled.eval())(coord, types)
    assert torch.allclose(out["energy"], plain.eval()(coord, types)["energy"], rtol=1e-5)


@pytest.mark.slow
def test_training_on_mixed_sizes(data: Data, tmp_path: Path) -> None:
    frames = toy_frames(4, seed=5)
    part = Frames(frames.coord[:, :3], frames.cell, frames.energy, frames.force[:, :3], frames.virial)
    small = write_system(tmp_path / "small", part, types=(0, 1, 1), periodic=False)
    averaging = {"enable_ema": True} if available() else {}  # DeePMD-kit 3.1 does not average weights
    sections = {}
    for name, on in (("plain", False), ("compiled", True)):
        section = inputs.model(inputs.DESCRIPTOR | ONE_BLOCK | DOUBLE, DOUBLE, use_compile=on, kernels="plain")
        sections[name] = {"model": section} | inputs.training(data.train, data.valid, 8, **averaging)
        sections[name]["training"]["training_data"]["systems"].append(str(small))
    plain = train(tmp_path / "plain", sections["plain"])
    compiled, graphs = train_compiled(tmp_path / "compiled", sections["compiled"])
    assert "compilation failed" not in compiled.log
    # edges, first state, block, energies; 4 graphs each
    assert graphs == 16
    # three digits are written, and frames without a cell have no virial
    assert np.allclose(curve(compiled), curve(plain), rtol=0.011, equal_nan=True)
    saved, other = (torch.load(run.checkpoint, weights_only=True)["model"] for run in (plain, compiled))
    assert saved.keys() == other.keys()
    for key, value in saved.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() > 0:
            assert (value - other[key]).abs().max() < 1e-9, key
    dp("freeze", "-o", "model.pth", folder=compiled.folder)
    assert_same(predict(compiled.frozen, data.frames), predict(compiled.checkpoint, data.frames))


@pytest.mark.slow
def test_tasks_share_their_code(data: Data, tmp_path: Path) -> None:
    content = inputs.multi_task(data.train, steps=6)
    content["model"]["shared_dict"]["net"] |= ONE_BLOCK
    for branch in content["model"]["model_dict"].values():
        branch |= {"use_compile": True, "kernels": "plain"}
    run, graphs = train_compiled(tmp_path, content)
    assert "compilation failed" not in run.log
    assert graphs == 16
