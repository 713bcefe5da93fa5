"""The optimizer HybridMuon on CPUs."""

from typing import Any

from deepmd.pt.utils.env import DEVICE


def run_uncompiled(trainer: Any) -> None:
    """Let HybridMuon make its updates orthogonal without torch's compiler, if it runs on CPUs.

    DeePMD-kit compiles that function at the first step, which takes a minute and needs a C++ compiler. On CPUs the
    compiled one is no faster: its time goes into matrix products. Results differ by rounding in half precision.
    """
    optimizer = getattr(trainer.optimizer, "optim", trainer.optimizer)  # with sharded states it is inside of another
    if DEVICE.type == "cpu" and hasattr(optimizer, "_get_gram_orthogonalizer"):
        orthogonalizer = optimizer._get_gram_orthogonalizer()
        orthogonalizer._compiled_call = orthogonalizer._orthogonalize_impl
