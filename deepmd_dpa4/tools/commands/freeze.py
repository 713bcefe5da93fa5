"""``dpa4 freeze``: model files for Python and LAMMPS."""

import logging
from argparse import Namespace
from pathlib import Path
from typing import Any

from deepmd_dpa4.checkpoint.newest import newest
from deepmd_dpa4.tools.commands.model_argument import add_branch


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "freeze",
        help="make a model file for Python and LAMMPS, with kernels of your choice",
        description="Make a model file of a checkpoint, as `dp --pt freeze` does, which does not ask for kernels.",
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoint .pt, or the folder of a training: its newest one")
    parser.add_argument(
        "-o",
        "--output",
        default="frozen_model.pth",
        help=".pth = TorchScript, .pt2 = compiled; default %(default)s",
    )
    add_branch(parser)
    parser.add_argument(
        "--kernels",
        choices=("plain", "native", "triton"),
        help="plain = runs anywhere, the default; native = .pth, faster on CPUs, needs their library; triton = .pt2 on "
        "the CUDA device that it will run on, the default there for models with this value of `model/kernels`",
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Freeze a checkpoint; what was written is told in the log, on stderr.

    Raises
    ------
    ValueError
        As :func:`deepmd_dpa4.freeze.freeze.freeze`.
    FileNotFoundError
        If the checkpoint does not exist.
    """
    checkpoint = newest(options.checkpoint, "checkpoint")
    if not checkpoint.exists():
        raise FileNotFoundError(f"`checkpoint` is {checkpoint} but there is no such file")
    from deepmd_dpa4.checkpoint.model_kind import require_dpa4
    from deepmd_dpa4.checkpoint.read import read_checkpoint

    require_dpa4(read_checkpoint(checkpoint))
    log = logging.getLogger("deepmd.dpa4")
    log.setLevel(logging.INFO)
    from deepmd_dpa4.freeze.freeze import freeze

    log.addHandler(logging.StreamHandler())
    freeze(str(checkpoint), options.output, options.head, options.kernels)
