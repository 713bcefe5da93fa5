"""Training on few data, such as 500 molecules or 200 crystals, for ``dpa4 init --task small``."""

from typing import Any

BATCH_SIZE = "auto:60"
"""Frames until there are 60 atoms: four molecules of 15 atoms, one crystal of 60."""
START_LR, STOP_LR = 3e-3, 1e-5
WARM_UP, SHORTEST_PART = 50, 20
"""Steps of the warm-up, and the part of all steps, one of so many, that it may take at most."""


def learning_rate(steps: int) -> dict[str, Any]:
    """Prescribe a short warm-up, a constant rate, and a cosine over 80 % of the steps."""
    return {
        "_comment": "for few data: five times the published rate, and a cosine over 80 % of the steps",
        "type": "wsd",
        "start_lr": START_LR,
        "stop_lr": STOP_LR,
        "warmup_steps": max(1, min(WARM_UP, steps // SHORTEST_PART)),
        "warmup_start_factor": 0.2,
        "decay_phase_ratio": 0.8,
        "decay_type": "cosine",
    }


def optimizer() -> dict[str, Any]:
    """Prescribe AdamW, with the published weight decay."""
    return {"_comment": "for few data: AdamW; published is HybridMuon", "type": "AdamW", "weight_decay": 0.001}
