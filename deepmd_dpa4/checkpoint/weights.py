"""Which weights of a training a checkpoint holds: the last ones, or their average."""

from dataclasses import dataclass
from pathlib import Path

from deepmd_dpa4.checkpoint.read import Checkpoint

DECAY = "ema_decay"
"""Key in ``info`` of a model: ``training/ema_decay`` of the training with averaged weights."""
DEFAULT_DECAY = 0.999
"""Value of that option unless the input gives one."""
AVERAGED = "_ema."
"""Part of the names that DeePMD-kit gives to checkpoints of averaged weights."""
LARGEST_SHARE = 0.01
"""Part of the initial weights in an average above which it is not worth using."""


@dataclass(frozen=True)
class Weights:
    """Origin of the weights of a checkpoint.

    Parameters
    ----------
    file : Path
        The file, links followed.
    steps : int or None
        Steps of the training so far.
    averaged : bool
        Whether they are exponential averages over the steps.
    decay : float or None
        Factor per step of that average, where the file tells it.
    """

    file: Path
    steps: int | None
    averaged: bool
    decay: float | None

    @property
    def initial_share(self) -> float:
        """Part of the initial weights in the average, decay^steps; 0 if the file does not tell."""
        if not self.averaged or self.decay is None or self.steps is None:
            return 0.0
        return self.decay**self.steps

    @property
    def text(self) -> str:
        """File, step and kind in a few words, with the file of the averages if it lies beside."""
        step = "" if self.steps is None else f", step {self.steps:,}"
        if self.averaged:
            return f"{self.file.name}{step}, averaged weights"
        other = self.file.with_name(self.file.name.replace(".", AVERAGED, 1))
        return f"{self.file.name}{step}, last weights" + (f" (averaged ones: {other.name})" if other.exists() else "")

    @property
    def warning(self) -> str | None:
        """Warning that the average still holds the start, if it does."""
        if self.initial_share <= LARGEST_SHARE:
            return None
        return (
            f"{self.file.name} holds averaged weights (decay {self.decay:g}), of which the initial ones still make "
            f"{self.initial_share:.0%}: use the last weights, or train for {steps_needed(self.decay or 0.0):,} steps"
        )


def weights_of(checkpoint: Checkpoint) -> Weights:
    """Tell the origin of the weights of a checkpoint."""
    step = checkpoint.train_infos.get("step")
    infos = [params.get("info") or {} for params in checkpoint.branches.values()]
    decay = next((float(info[DECAY]) for info in infos if isinstance(info.get(DECAY), int | float)), None)
    file = checkpoint.path.resolve()
    averaged = AVERAGED in file.name and checkpoint.optimizer is None
    return Weights(file, None if step is None else step + 1, averaged, decay)


def steps_needed(decay: float) -> int:
    """Count the steps after which an average of this decay holds less than :data:`LARGEST_SHARE` of the start."""
    steps, share = 0, 1.0
    while share > LARGEST_SHARE:
        steps, share = steps + 1, share * decay
    return steps
