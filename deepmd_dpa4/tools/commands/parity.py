"""``dpa4 parity``: predictions against labels."""

import math
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from deepmd_dpa4.tools.commands.model_argument import (
    add_data,
    add_model,
    add_output,
    check_frames,
    open_to_plot,
    title_of,
)
from deepmd_dpa4.tools.commands.progress import progress_bar
from deepmd_dpa4.tools.data.errors import DataError, require

MOSTLY = 0.5
"""Part of the energy error that may remain where a shift of the zero is worth a word."""

if TYPE_CHECKING:
    from deepmd_dpa4.breakdown import Breakdown
    from deepmd_dpa4.tools.plots.parity import Comparison
    from deepmd_dpa4.tools.plots.subsets import SubsetError


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "parity",
        help="errors of a model on data, and parity plots",
        description="Evaluate a model on data; print the errors of energy per atom, force components and virial "
        "per atom, and draw predictions against labels.",
    )
    add_model(parser)
    add_data(parser)
    parser.add_argument(
        "--by", metavar="KEY", help="key in the files, such as config_type: errors of each of its values"
    )
    add_output(parser, "parity.png")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Evaluate, draw and print a table.

    Raises
    ------
    DataError, FileNotFoundError, ValueError
        As :func:`deepmd_dpa4.tools.commands.model_argument.open_to_plot` and
        :func:`deepmd_dpa4.tools.plots.parity.compare`.
    """
    require("rich", "plot", "`dpa4 parity`")
    check_frames(options.frames)
    evaluator = open_to_plot(options)
    from rich.console import Console
    from rich.table import Table

    from deepmd_dpa4.breakdown import Breakdown
    from deepmd_dpa4.tools.plots.parity import compare, draw

    breakdown = Breakdown()
    with progress_bar("frames") as report:
        comparisons = compare(
            evaluator,
            options.data,
            options.frames,
            report,
            breakdown,
            options.by,
        )
    if not comparisons:
        raise DataError(f"`DATA` is {', '.join(map(str, options.data))} but must have labels")
    table = Table("quantity", "values", "RMSE", "MAE", "largest", "unit", "frames without")
    for item in comparisons:
        largest = float(abs(item.errors).max())
        figures = [f"{1000 * value:.4g}" for value in (item.rmse, item.mae, largest)]
        table.add_row(item.name, str(len(item.errors)), *figures, f"m{item.unit}", str(item.missing))
    console = Console(highlight=False)
    console.print(table)
    if (text := shift_text(comparisons[0], breakdown)) is not None:
        console.print(text, soft_wrap=True)
    # names of folders stay in one piece
    console.width = max(console.width, 80 + max(map(len, breakdown.systems)))
    console.print(parts_table(breakdown))
    if options.by is not None:
        from deepmd_dpa4.tools.plots.subsets import subset_errors

        console.print(subset_table(options.by, subset_errors(comparisons), [item.name for item in comparisons]))
    # last: where the plot cannot be written, the tables have been printed
    draw(comparisons, options.output, title_of(options, " ".join(map(str, options.data))))
    print(options.output)


def shift_text(energy: "Comparison", breakdown: "Breakdown") -> str | None:
    """Tell by which constants energies differ, if these make most of the error."""
    shift = breakdown.shift()
    if shift is None or shift.rmse > MOSTLY * energy.rmse:
        return None
    listed = ", ".join(f"{name} {value:+.4g}" for name, value in shift.constants.items())
    return (
        "Most of the energy error is a constant for each element: model and labels have another zero. With "
        f"{listed} eV added for each atom, as a fine-tuning fits them, the RMSE is {1000 * shift.rmse:.4g} and the "
        f"MAE {1000 * shift.mae:.4g} meV/atom."
    )


def parts_table(breakdown: Any) -> Any:
    """Tabulate the errors of elements and systems."""
    from rich.table import Table

    from deepmd_dpa4.breakdown import QUANTITIES

    table = Table("", "", "frames", "atoms", "energy", "force", "virial", title="RMSE, meV/atom and meV/Å")
    for kind, name, sums in breakdown.rows():
        figures = ["" if math.isnan(value) else f"{1000 * value:.4g}" for value in map(sums.rmse, QUANTITIES)]
        table.add_row(kind, name, str(sums.frames), str(sums.atoms), *figures)
    hidden = len(breakdown.elements) + len(breakdown.systems) - table.row_count
    if hidden:
        table.caption = f"{hidden} systems with smaller force errors are left out"
    return table


def subset_table(key: str, errors: "list[SubsetError]", quantities: list[str]) -> Any:
    """Tabulate the mean absolute errors of subsets, and their geometric means over all subsets.

    A subset without some label is left out of the mean of that quantity.
    """
    from rich.markup import escape
    from rich.table import Table

    from deepmd_dpa4.tools.plots.style import UNITS
    from deepmd_dpa4.tools.plots.subsets import geometric_mean

    table = Table(escape(key), "frames", *(f"{name} MAE (m{UNITS[name]})" for name in quantities))
    for item in errors:
        values = [f"{1000 * item.mae[name]:.4g}" if name in item.mae else "-" for name in quantities]
        table.add_row(escape(item.name), str(item.frames), *values)
    means = [geometric_mean(item.mae[name] for item in errors if name in item.mae) for name in quantities]
    total = str(sum(item.frames for item in errors))
    table.add_row("geometric mean", total, *(f"{1000 * value:.4g}" for value in means))
    return table
