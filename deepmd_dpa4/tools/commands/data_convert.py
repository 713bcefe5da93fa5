"""``dpa4 data convert``: files of many programs to DeePMD npy folders."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from deepmd_dpa4.tools.commands.data_limits import add_limits, limits
from deepmd_dpa4.tools.commands.data_split import add_split, splitter, told
from deepmd_dpa4.tools.data.errors import require

STRESS_UNITS = ("eV/A^3", "GPa", "kbar")
LABELS = ("energy", "force", "virial", "stress")


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser: ArgumentParser = commands.add_parser(
        "convert",
        help="extended XYZ, ASE databases, VASP outputs and what dpdata reads, to DeePMD npy folders",
        description="Write the frames of all files to DeePMD npy folders, and list what is wrong with them in "
        "OUTPUT/problems.csv. Frames are read one at a time, and never left out without a word.",
    )
    parser.add_argument(
        "sources", metavar="SRC", nargs="+", type=Path, help="files, or folders of formats that are folders"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder to make; it must not exist")
    parser.add_argument("--format", help="format of all files, also any of dpdata; default: by the name of each file")
    parser.add_argument("--mixed", action="store_true", help="one folder for each number of atoms (mixed types)")
    parser.add_argument(
        "--type-map", nargs="+", metavar="ELEMENT", help="names of types in this order, for every folder"
    )
    parser.add_argument("--set-size", type=int, default=2000, help="frames in a set; default %(default)s")
    parser.add_argument(
        "--buffer", type=int, default=200_000, help="atoms that may wait in memory; default %(default)s"
    )
    labels = parser.add_argument_group("labels", "By default usual names such as energy, REF_energy or dft_forces.")
    for label in LABELS:
        labels.add_argument(f"--{label}-key", metavar="NAME", help=f"name of the {label} in the files")
    labels.add_argument("--stress-unit", choices=STRESS_UNITS, default="eV/A^3", help="default %(default)s")
    labels.add_argument(
        "--flip-virial",
        action="store_true",
        help="the stress of the files is positive under compression (their virials, if there is no stress, have the "
        "opposite sign)",
    )
    labels.add_argument("--no-stress-check", action="store_true", help="take a stress that looks wrong")
    add_split(parser, None)
    checks = add_limits(parser)
    checks.add_argument("--drop-bad", action="store_true", help="leave out duplicates, too close atoms, absurd forces")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Convert data, with progress on stderr and what came out of it on stdout.

    Raises
    ------
    DataError
        As :func:`deepmd_dpa4.tools.data.convert.convert`, or if an option is out of range.
    """
    for package in ("ase", "rich"):
        require(package, "data", "`dpa4 data convert`")
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from deepmd_dpa4.tools.data.convert import Summary, convert

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("")

        def show(summary: Summary) -> None:
            if summary.read % 100 == 0:
                progress.update(task, description=f"{summary.read} frames read, {summary.written} written")

        settings = conversion(options)
        summary = convert(options.sources, options.output, settings, show)
    tell(summary, options.output)
    if settings.splitter is not None:
        print(told(settings.splitter, options.output))


def conversion(options: Namespace) -> Any:
    """Turn the options of the command line into settings.

    Raises
    ------
    DataError
        If a number is out of range.
    """
    from deepmd_dpa4.tools.data.convert import Conversion
    from deepmd_dpa4.tools.data.errors import DataError
    from deepmd_dpa4.tools.data.labels import Keys
    from deepmd_dpa4.tools.data.stress import Convention
    from deepmd_dpa4.tools.data.writer import Layout

    for name in ("set_size", "buffer"):
        value = getattr(options, name)
        if value <= 0:
            raise DataError(f"`--{name.replace('_', '-')}` is {value} but must be positive")
    type_map = options.type_map
    if type_map is not None and len(set(type_map)) < len(type_map):
        raise DataError(f"`--type-map` is {' '.join(type_map)} but must not repeat a name")
    return Conversion(
        layout=Layout(
            mixed=options.mixed,
            type_map=None if type_map is None else tuple(type_map),
            set_size=options.set_size,
            buffer=options.buffer,
        ),
        keys=Keys(**{label: getattr(options, f"{label}_key") for label in LABELS}),
        convention=Convention(unit=options.stress_unit, flip=options.flip_virial),
        limits=limits(options),
        form=options.format,
        drop_bad=options.drop_bad,
        check_stress=not options.no_stress_check,
        splitter=splitter(options),
    )


def tell(summary: Any, output: Path) -> None:
    """Print what was written, from which values, and what is wrong with it."""
    from rich.console import Console
    from rich.table import Table

    from deepmd_dpa4.tools.data.convert import PROBLEMS

    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{summary.written} of {summary.read} frames in {len(summary.folders)} folders of {output}", markup=False
    )
    console.print(f"types: {' '.join(summary.types)}", markup=False)
    for (label, name), frames in sorted(summary.used.items()):
        console.print(f"{label}: {name!r} in {frames} frames", markup=False)
    if summary.partly_periodic:
        console.print(f"{summary.partly_periodic} frames are periodic in some directions only; written as periodic")
    if summary.half_charged:
        console.print(
            f"{summary.half_charged} frames have `charge` or `spin` that are no charge with a multiplicity of "
            "1 or more; both are left out"
        )
    if summary.stress_without_cell:
        console.print(f"{summary.stress_without_cell} frames have a stress but no cell; it is left out")
    if summary.stress_sign_untested:
        console.print(
            f"the sign of the stress in {summary.stress_sign_untested} frames was not tested: that needs more frames, "
            "of volumes that differ"
        )
    if not summary.problems:
        console.print("no problems found")
        return
    table = Table(
        "problem", "frames", "written", "first", title=f"All of them: {output / PROBLEMS}", title_justify="left"
    )
    for kind, count in summary.problems.most_common():
        place, detail = summary.examples[kind]
        first = f"{place}: {detail}" if detail else str(place)
        table.add_row(kind.value, str(count), str(summary.kept[kind]), first)
    console.print(table)
