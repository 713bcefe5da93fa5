"""Tables for the terminal."""

from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.table import Table

from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.tools.presets.sizes import SIZES
from deepmd_dpa4.tools.presets.systems import Contents, in_order

COLUMNS = {"channels": "channels", "lmax": "lmax", "blocks": "n_blocks", "layers": "mixing_layers", "focus": "n_focus"}


def sizes_table() -> Table:
    """Tabulate all sizes, with numbers of parameters."""
    table = Table(title=f"Sizes of dpa4 init; parameters with all {len(ELEMENTS)} elements", title_justify="left")
    table.add_column("size", style="bold", no_wrap=True)
    table.add_column("network")
    for name in (*COLUMNS, "rcut", "parameters"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, size in SIZES.items():
        numbers = [str(size.options[key]) for key in (*COLUMNS.values(), "rcut")]
        table.add_row(name, size.title, *numbers, f"{size.all_elements:,}")
    return table


def data_table(contents: Mapping[str, Mapping[str, Contents]]) -> Table:
    """Tabulate what the data hold, sorted by the option that named them and by branch."""
    table = Table()
    for name, justify in (("data", "left"), ("systems", "right"), ("frames", "right"), ("virial", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("elements")
    for option, parts in contents.items():
        for branch, part in parts.items():
            label = f"{option.removeprefix('--')} {branch}".strip()
            virial = "yes" if "virial" in part.labels else "no"
            table.add_row(
                label, f"{len(part.systems):,}", f"{part.frames:,}", virial, " ".join(in_order(part.elements))
            )
    return table


def show(content: Table, file: TextIO) -> None:
    """Print, as wide as the terminal, or 120 columns where there is none."""
    Console(file=file, highlight=False, markup=False, width=None if file.isatty() else 120).print(content)
