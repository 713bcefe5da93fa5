"""HybridMuon on CPUs needs no compiler, and does what it does with one."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from deepmd.pt.optimizer import HybridMuonOptimizer
from deepmd.pt.utils.env import DEVICE

from deepmd_dpa4.host.muon import run_uncompiled

pytestmark = pytest.mark.skipif(DEVICE.type != "cpu", reason="for CPUs only")


def trainer_of(*shapes: tuple[int, ...]) -> Any:
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for matrix in matrices:
        matrix.grad = torch.randn(matrix.shape, generator=generator)
    # no decay of weights and a rate of one: the matrix moves by the orthogonal factor, times a constant of its shape
    optimizer = HybridMuonOptimizer(matrices, lr=1.0, weight_decay=0.0, magma_muon=False)
    return SimpleNamespace(optimizer=optimizer, opt_type="HybridMuon"), matrices


@pytest.mark.parametrize("sharded", [False, True])
def test_rectangular_matrices_move_by_their_orthogonal_factor(sharded: bool) -> None:
    trainer, matrices = trainer_of((24, 40), (48, 24), (16, 16))
    if not hasattr(trainer.optimizer, "_get_gram_orthogonalizer"):
        pytest.skip("DeePMD-kit has it since 3.2")
    optimizer = trainer.optimizer
    if sharded:
        trainer.optimizer = SimpleNamespace(optim=optimizer)
    run_uncompiled(trainer)
    before = [matrix.detach().clone() for matrix in matrices]
    with torch.compiler.set_stance("fail_on_recompile"):
        optimizer.step()
    for matrix, start in zip(matrices, before, strict=True):
        left, _, right = torch.linalg.svd(matrix.grad, full_matrices=False)
        moved, factor = start - matrix.detach(), left @ right
        scale = float((moved * factor).sum() / factor.square().sum())
        assert scale > 0
        assert float((moved / scale - factor).norm() / factor.norm()) < 0.1


def test_other_optimizers_are_left_alone() -> None:
    matrix = torch.nn.Parameter(torch.ones(2, 3))
    run_uncompiled(SimpleNamespace(optimizer=torch.optim.AdamW([matrix])))
