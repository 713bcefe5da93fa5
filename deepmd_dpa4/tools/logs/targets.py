"""Programs that keep experiments, each behind the same two methods."""

import json
from pathlib import Path
from typing import Any, Protocol

from deepmd_dpa4.tools.data.errors import require


class Target(Protocol):
    """Takes the rows of one training."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Take the values of a step."""

    def close(self) -> None:
        """Finish; nothing follows."""


class WandbTarget:
    """Weights & Biases.

    Parameters
    ----------
    folder : Path
        Of the training; files of the program go there too.
    project : str
        Name of the collection of trainings.
    name : str
        Name of this one.
    offline : bool
        Write to the folder only, for ``wandb sync``.
    """

    def __init__(self, folder: Path, project: str, name: str, offline: bool) -> None:
        require("wandb", "wandb", "`--to wandb`")
        import wandb

        mode: Any = {"mode": "offline"} if offline else {}
        self.run = wandb.init(project=project, name=name, dir=str(folder), config=input_of(folder), **mode)

    def log(self, step: int, values: dict[str, float]) -> None:
        self.run.log(values, step=step)

    def close(self) -> None:
        self.run.finish()


class MlflowTarget:
    """MLflow: a database in the folder of the training, or the server that ``MLFLOW_TRACKING_URI`` names.

    Parameters
    ----------
    folder, project, name, offline
        As of :class:`WandbTarget`; ``offline`` prefers the folder to a server.
    """

    def __init__(self, folder: Path, project: str, name: str, offline: bool) -> None:
        require("mlflow", "mlflow", "`--to mlflow`")
        import mlflow

        if offline or not mlflow.is_tracking_uri_set():
            mlflow.set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
        self.client = mlflow.MlflowClient()
        found = self.client.get_experiment_by_name(project)
        artifacts = (folder.resolve() / "mlartifacts").as_uri() if offline else None
        experiment = found.experiment_id if found else self.client.create_experiment(project, artifacts)
        self.run = self.client.create_run(experiment, run_name=name).info.run_id
        self.client.log_dict(self.run, input_of(folder), "input.json")

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, name, value, step=step)

    def close(self) -> None:
        self.client.set_terminated(self.run)


class TensorboardTarget:
    """TensorBoard: files in ``log`` of the training's folder, as those of DeePMD-kit's own option.

    Parameters
    ----------
    folder, name
        As of :class:`WandbTarget`.
    project, offline
        Not used: there is neither a collection nor a server.
    """

    def __init__(self, folder: Path, project: str, name: str, offline: bool) -> None:
        require("tensorboard", "tensorboard", "`--to tensorboard`")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "log" / name))

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


TARGETS: dict[str, Any] = {"wandb": WandbTarget, "mlflow": MlflowTarget, "tensorboard": TensorboardTarget}


def input_of(folder: Path) -> dict[str, Any]:
    """Read the complete training input that ``dp`` writes into its folder; empty where it is not there."""
    try:
        found: dict[str, Any] = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
