"""``dpa4 dimer``: energy and force of two atoms."""

import math
from argparse import Namespace
from typing import Any

from deepmd_dpa4.tools.commands.model_argument import add_charge_spin, add_model, add_output, open_to_plot, title_of
from deepmd_dpa4.tools.data.errors import DataError, require_positive


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "dimer",
        help="curve of two atoms, with the ZBL repulsion",
        description="Draw energy and force of two atoms alone against their distance, beside the ZBL repulsion of "
        "their nuclei.",
    )
    add_model(parser)
    parser.add_argument("A", help="type of the first atom")
    parser.add_argument("B", help="type of the second atom")
    parser.add_argument(
        "--from",
        dest="start",
        type=float,
        default=0.3,
        metavar="ANGSTROM",
        help="shortest distance; default %(default)s",
    )
    parser.add_argument("--to", type=float, metavar="ANGSTROM", help="longest distance; default: the cutoff")
    parser.add_argument("--points", type=int, default=300, help="number of distances; default %(default)s")
    add_charge_spin(parser)
    add_output(parser, "dimer.png")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Evaluate and draw; the minimum and the name of the plot on stdout.

    Raises
    ------
    DataError, FileNotFoundError, ValueError
        As :func:`deepmd_dpa4.tools.commands.model_argument.open_to_plot` and
        :func:`deepmd_dpa4.tools.plots.dimer.model_curve`, or if the range is empty.
    """
    if options.points < 2:
        raise DataError(f"`--points` is {options.points} but must be at least 2")
    require_positive("--from", options.start)
    evaluator = open_to_plot(options)
    end = evaluator.rcut if options.to is None else options.to
    if not options.start < end < math.inf:
        raise DataError(f"`--to` is {end:g} but must be above `--from`, which is {options.start:g}")
    import numpy as np

    from deepmd_dpa4.tools.plots.dimer import clamp_zone, draw, model_curve, zbl_curve

    distance = np.linspace(options.start, end, options.points)
    pair = options.A, options.B
    curve = model_curve(evaluator, pair, distance, options.charge_spin)
    zone = clamp_zone(evaluator, pair)
    draw(curve, zbl_curve(pair, distance), zone, evaluator.rcut, options.output, title_of(options, "-".join(pair)))
    if curve.minimum is None:
        print("no bound minimum in this range")
    else:
        print(f"bound minimum: {curve.minimum[1]:.4f} eV at {curve.minimum[0]:.3f} A")
    if curve.hole is not None:
        print(
            f"hole: {curve.hole[1]:.4g} eV at {curve.hole[0]:.3f} A, where the nuclei repel each other: atoms that get "
            f"closer than {curve.core:.2f} A collapse. Zone bridging (bridging_method) replaces this part by ZBL"
        )
    print(options.output)
