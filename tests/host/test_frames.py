"""Frames that end the process in DeePMD-kit's neighbour search are refused for frozen models."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from deepmd.infer import DeepPot
from deepmd.pt.infer.deep_eval import DeepEval
from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4.host.loading import checking_frames
from tests.support.runs import Run


@pytest.mark.parametrize(("rcut", "refused"), [(4.0, True), (None, False)])
def test_a_cell_that_is_no_number(rcut: float | None, refused: bool) -> None:
    evaluate = checking_frames(lambda *_: "evaluated")
    evaluator = SimpleNamespace() if rcut is None else SimpleNamespace(rcut_of_search=rcut)
    coords, cells = np.zeros((2, 3)), np.stack([4 * np.eye(3).ravel(), np.full(9, math.nan)])
    if refused:
        with pytest.raises(ValueError, match="`box` of frame 1 has volume nan"):
            evaluate(evaluator, coords, cells, [0])
    else:
        assert evaluate(evaluator, coords, cells, [0]) == "evaluated"
    assert evaluate(evaluator, coords[:1], cells[:1], [0]) == "evaluated"


@pytest.mark.parametrize(("rcut", "optimised"), [(4.0, DEVICE.type != "cpu"), (None, True)])
def test_scripts_of_ours_run_as_written_on_cpus(rcut: float | None, optimised: bool) -> None:
    evaluate = checking_frames(lambda *_: torch._C._get_graph_executor_optimize())
    evaluator = SimpleNamespace() if rcut is None else SimpleNamespace(rcut_of_search=rcut)
    with torch.jit.optimized_execution(True):
        assert evaluate(evaluator, np.zeros((1, 2, 3)), 4 * np.eye(3).reshape(1, 9), [0]) is optimised
        assert torch._C._get_graph_executor_optimize()


def test_deeppot_of_a_frozen_file(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    potential, optimised = DeepPot(str(trained.frozen)), []
    evaluate = DeepEval._eval_model

    def noted(*arguments: object, **options: object) -> object:
        optimised.append(torch._C._get_graph_executor_optimize())
        return evaluate(*arguments, **options)

    monkeypatch.setattr(DeepEval, "_eval_model", noted)
    coords, cells = np.array([[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]]), 8 * np.eye(3).reshape(1, 9)
    with torch.jit.optimized_execution(True):
        potential.eval(coords, cells, [0, 1])
    assert optimised == [DEVICE.type != "cpu"]
    with pytest.raises(ValueError, match="`box` of frame 0 has volume nan"):
        potential.eval(coords, np.full((1, 9), math.nan), [0, 1])
