"""``dpa4 log``: learning curves for Weights & Biases, MLflow and TensorBoard."""

from argparse import Namespace
from pathlib import Path
from typing import Any

PROGRAMS = ("wandb", "mlflow", "tensorboard")


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "log",
        help="hand a learning curve to wandb, mlflow or tensorboard",
        description="Hand the learning curve of a training, finished or running, to a program that keeps experiments.",
    )
    parser.add_argument("curve", metavar="FOLDER", type=Path, help="folder of a training, or its lcurve.out")
    parser.add_argument("--to", required=True, choices=PROGRAMS, help="program; it has to be installed")
    parser.add_argument("--follow", action="store_true", help="go on until the training has ended")
    parser.add_argument("--project", default="deepmd-dpa4", help="collection of trainings; default %(default)s")
    parser.add_argument("--name", help="name of this training; default: that of its folder")
    parser.add_argument("--offline", action="store_true", help="write into FOLDER only, to no server")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Hand over, and print how many rows there were.

    Raises
    ------
    DataError
        If the program is not installed, or the file holds no rows.
    FileNotFoundError
        If there is no learning curve and none is waited for.
    """
    from deepmd_dpa4.tools.data.errors import DataError
    from deepmd_dpa4.tools.logs.follow import follow
    from deepmd_dpa4.tools.logs.reader import CurveReader
    from deepmd_dpa4.tools.logs.targets import TARGETS

    path = options.curve / "lcurve.out" if options.curve.is_dir() else options.curve
    if not path.parent.is_dir() or not (options.follow or path.is_file()):
        raise FileNotFoundError(f"`FOLDER` is {options.curve} but there is no file {path}")
    target = TARGETS[options.to](
        path.parent, options.project, options.name or path.parent.resolve().name, options.offline
    )
    try:
        count = follow(CurveReader(path), target, options.follow)
    except KeyboardInterrupt:
        print("no longer followed")
        return
    finally:
        target.close()
    if not count:
        raise DataError(f"`FOLDER` is {options.curve} but {path} has no finished step")
    print(f"{count} rows of {path}")
