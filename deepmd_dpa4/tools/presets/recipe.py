"""The published training, section by section of an input; what a section is for is told in its ``_comment``."""

import math
from typing import Any

STEPS = {"energy": 2_000_000, "multitask": 1_000_000, "finetune": 50_000, "small": 50_000}
"""Training steps of each task, unless the user says otherwise."""
EMA_DECAY, LARGEST_SHARE = 0.999, 0.01
"""Published decay of the average of the weights, and the part of the initial weights that may remain at the end."""
FINETUNE_LR = 1e-4
"""Learning rate of a fine-tuning: about a quarter of that of a training."""


def learning_rate(start_lr: float) -> dict[str, Any]:
    """Prescribe warm-up, a constant phase, and a cosine down to 1e-6 over the last 65 % of the steps."""
    return {
        "_comment": "published: warm-up from 20 %, constant, then a cosine over 65 % of the steps",
        "type": "wsd",
        "start_lr": start_lr,
        "stop_lr": 1e-6,
        **_warm_up(),
        "decay_phase_ratio": 0.65,
        "decay_type": "cosine",
    }


def finetune_learning_rate() -> dict[str, Any]:
    """Prescribe warm-up, then a cosine from a lower rate."""
    return {
        "_comment": "lower than in a training, falling from the start",
        "type": "cosine",
        "start_lr": FINETUNE_LR,
        "stop_lr": 1e-6,
        **_warm_up(),
    }


def _warm_up() -> dict[str, Any]:
    return {"warmup_ratio": 0.003, "warmup_start_factor": 0.2}


def optimizer() -> dict[str, Any]:
    """Prescribe Muon for matrices, Adam for everything else."""
    return {
        "_comment": "published: HybridMuon; type AdamW takes the same weight decay",
        "type": "HybridMuon",
        "weight_decay": 0.001,
    }


def loss(virial: bool) -> dict[str, Any]:
    """Prescribe absolute errors, with weights that stay; ``virial`` says whether there are labels of it."""
    comment = "published: absolute errors of energy per atom, force vectors and virial per atom, weights 20, 20, 5"
    weights = {"e": 20, "f": 20, "v": 5 if virial else 0}
    return {
        "_comment": comment if virial else comment + "; these data have no virial",
        "type": "ener",
        "loss_func": "mae",
        "f_use_norm": True,
        **{f"{end}_pref_{term}": weight for term, weight in weights.items() for end in ("start", "limit")},
    }


def ema_decay(steps: int) -> float:
    """Choose the decay of the average of the weights, low enough for the start to fade within ``steps``."""
    return min(EMA_DECAY, math.floor(1e4 * LARGEST_SHARE ** (1 / steps)) / 1e4)


def training(steps: int, seed: int, branches: int = 1) -> dict[str, Any]:
    """Prescribe all of the section but the data: gradient clipping, averaged weights, and when something is written.

    Errors of training batches are averages over the steps since the last line, but not with several branches: then
    DeePMD-kit 3.2 would leave out all validation errors, and end with a division by zero at the first line before
    which a branch had no step.
    """
    lower = "" if ema_decay(steps) == EMA_DECAY else f"; decay below the published {EMA_DECAY} for few steps"
    return {
        "_comment": f"published: gradients clipped at 5, averages of the weights (EMA) in their own checkpoints{lower}",
        "numb_steps": steps,
        "gradient_max_norm": 5.0,
        "enable_ema": True,
        "ema_decay": ema_decay(steps),
        "disp_freq": min(1000, max(1, steps // 100)),
        **({"disp_avg": True} if branches == 1 else {}),
        "save_freq": min(2000, max(1, steps // 10)),
        "max_ckpt_keep": 3,
        "seed": seed,
    }
