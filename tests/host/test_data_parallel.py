"""Several processes with DistributedDataParallel over gloo, CPUs alone: gradients, weights, training."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from deepmd_dpa4.ops.native.load import load as load_kernels
from tests.support import inputs
from tests.support.commands import ROOT, call, environment
from tests.support.official import needs_official
from tests.support.parallel import SCHEDULE
from tests.support.runs import Data
from tests.support.toy import toy_frames, write_system

ROUNDING = 1e-12
KERNELS = ("plain", "native")


def run_module(name: str, *arguments: Any, folder: Path, ranks: int = 0) -> str:
    """A module of this folder, on one process or on ``ranks``."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", ranks] if ranks else []
    env = environment() | {"PYTHONPATH": str(ROOT)}
    return call([sys.executable, *launcher, "-m", f"tests.support.{name}", *arguments], folder, env)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what :mod:`tests.support.parallel` writes, of one process and of two."""
    folder = tmp_path_factory.mktemp("parallel")
    kernels = KERNELS if load_kernels() else KERNELS[:1]
    for ranks in (0, 2):
        run_module("parallel", folder, *kernels, folder=folder, ranks=ranks)
    return folder


@pytest.fixture(params=KERNELS)
def whole_and_ranks(request: pytest.FixtureRequest, steps: Path) -> list[dict[str, Any]]:
    """Steps of one process with all batches, and of the two ranks."""
    if not (steps / f"{request.param}-whole.pt").exists():
        pytest.skip("this machine cannot have native kernels")
    return [torch.load(steps / f"{request.param}-{rank}.pt") for rank in ("whole", 0, 1)]


def test_gradients_are_those_of_one_process(whole_and_ranks: list[dict[str, Any]]) -> None:
    """Of batches of different sizes and branches; forces come from a gradient within the forward pass."""
    for expected, *ranks in zip(*(run["gradients"] for run in whole_and_ranks), strict=True):
        scale = max(value.abs().max() for value in expected.values())
        assert scale > 1
        for found in ranks:
            assert found.keys() == expected.keys()
            for name, value in found.items():
                assert (value - expected[name]).abs().max() < ROUNDING * scale, name


def test_a_branch_without_data_gets_no_gradient(whole_and_ranks: list[dict[str, Any]]) -> None:
    """Its own weights stay to the last bit, with weight decay too; those of a branch that waits do in that step."""
    for run in whole_and_ranks:
        for batches, gradients in zip(SCHEDULE, run["gradients"], strict=True):
            trained = {name.split(".")[1] for name in gradients if ".fitting_net." in name}
            # the net of `one` and `two` is listed under `one`
            assert trained == {"one" if batch.branch == "two" else batch.branch for batch in batches}
        same = {name: torch.equal(value, run["end"][name]) for name, value in run["start"].items()}
        private = {name: value for name, value in same.items() if name.startswith("model.idle.") and "fitting" in name}
        assert private and all(private.values())
        assert not same["model.idle.atomic_model.descriptor.type_embedding.adam_type_embedding"]


def test_ranks_stay_together(whole_and_ranks: list[dict[str, Any]]) -> None:
    whole, *ranks = (run["end"] for run in whole_and_ranks)
    for name, value in ranks[0].items():
        assert torch.equal(value, ranks[1][name]), name
        if value.is_floating_point() and value.numel():
            assert (value - whole[name]).abs().max() < ROUNDING, name


@needs_official
@pytest.mark.slow
def test_training_on_two_processes(data: Data, tmp_path: Path) -> None:
    """DeePMD-kit's trainer; ranks draw branches and frames of their own."""
    content = inputs.multi_task(data.train, steps=8, rate=5e-3, film=True, enable_ema=True, ema_decay=0.9)
    small = write_system(tmp_path / "small", toy_frames(3, seed=4))
    content["training"]["data_dict"]["two"]["training_data"] = {"systems": [str(small)], "batch_size": 1}
    content["model"]["model_dict"]["two"]["fitting_net"] = inputs.FITTING | {"dim_case_embd": 2}
    (tmp_path / "input.json").write_text(json.dumps(content))
    printed = run_module("parallel_train", "input.json", folder=tmp_path, ranks=2)
    assert "is built by deepmd-dpa4" in printed
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    saved = torch.load(tmp_path / "model.ckpt-8.pt", weights_only=True)["model"]
    assert first.keys() == second.keys() == saved.keys()
    for name, value in first.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, second[name]) and torch.equal(value, saved[name]), name
