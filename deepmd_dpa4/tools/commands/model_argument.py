"""What subcommands that draw a model have in common."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any


def add_model(parser: ArgumentParser) -> None:
    """Declare the model and its branch."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="checkpoint .pt, or frozen file .pth or .pt2")
    parser.add_argument("--head", help="branch of a multi-task checkpoint")


def add_output(parser: ArgumentParser, default: str) -> None:
    """Declare the plot."""
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(default), help="plot, .png or .svg; default %(default)s"
    )


def add_charge_spin(parser: ArgumentParser) -> None:
    """Declare the condition of models that are conditioned on charge and spin."""
    parser.add_argument(
        "--charge-spin",
        nargs=2,
        type=float,
        metavar=("CHARGE", "SPIN"),
        help="charge and spin multiplicity, for models that ask for them",
    )


def open_model(options: Namespace) -> Any:
    """Open the model of the command line.

    Raises
    ------
    DataError
        As :func:`deepmd_dpa4.tools.plots.style.check_output`: a plot that cannot be written is refused first.
    FileNotFoundError, ValueError
        As :class:`deepmd_dpa4.inference.evaluator.Evaluator`.
    """
    from deepmd_dpa4.tools.plots.style import check_output

    check_output(options.output)
    from deepmd_dpa4.inference.evaluator import Evaluator

    evaluator = Evaluator(options.model, options.head)
    tell_weights(evaluator)
    return evaluator


def tell_weights(evaluator: Any) -> None:
    """Say on stderr which weights of a checkpoint a model has."""
    if evaluator.weights is not None:
        print(f"model: {evaluator.weights.text}", file=sys.stderr)
        if evaluator.weights.warning is not None:
            print(f"warning: {evaluator.weights.warning}", file=sys.stderr)
