"""Trainings take subnormal numbers, which are slow on some processors, for zero, and nothing else does."""

import platform
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deepmd_dpa4.host.trainer import Guards

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="only there such numbers are slow")


def smallest_product() -> float:
    """A number that fp32 can only hold with fewer digits, or zero."""
    return float(torch.tensor(1e-20) * torch.tensor(1e-20))


class Host:
    """Stands for DeePMD-kit's trainer."""

    rank, start_step, lr_schedule = 1, 0, None
    display_in_training = False
    found = -1.0

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
        self.optimizer = torch.optim.SGD([torch.zeros(1)])
        self.frame_order: Any = SimpleNamespace(step_made=lambda *_: None)

    def run(self) -> None:
        self.found = smallest_product()
        if self.error is not None:
            raise self.error


class Trainer(Guards, Host):
    """With the methods of models of ours."""


def test_while_a_training_runs() -> None:
    assert smallest_product() > 0
    trainer = Trainer(None)
    trainer.run()
    assert trainer.found == 0
    assert smallest_product() > 0


def test_after_a_training_that_failed() -> None:
    trainer = Trainer(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        trainer.run()
    assert trainer.found == 0
    assert smallest_product() > 0
