"""``dpa4 descriptors``: descriptors of whole data sets, and maps of them."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from deepmd_dpa4.tools.commands.model_argument import add_data, add_model, check_frames, open_model, title_of
from deepmd_dpa4.tools.commands.progress import progress_bar
from deepmd_dpa4.tools.data.errors import require, require_name

METHODS = ("pca", "umap")


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "descriptors",
        help="descriptors of data sets, and maps of them",
        description="Write the descriptors that a model has of data, in memory that does not grow with the data, and "
        "draw them as a map coloured by system and by error.",
    )
    add_model(parser)
    add_data(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("descriptors.npy"),
        help="matrix .npy, with a table .csv beside it that says what the rows are; or one table .csv of everything; "
        "default %(default)s",
    )
    parser.add_argument("--atoms", action="store_true", help="a row for each atom; default: the mean over each frame")
    parser.add_argument("--errors", action="store_true", help="add the errors of energies and forces to the table")
    parser.add_argument("--map", metavar="PLOT", type=Path, help="draw a map, .png, .svg or .pdf; includes --errors")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="pca",
        help="plane of the map: principal components, or UMAP (package umap-learn); default %(default)s",
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Write matrix, table and map, and print their names.

    Raises
    ------
    DataError, FileNotFoundError, ValueError
        As :func:`deepmd_dpa4.tools.descriptors.collect.collect` and
        :func:`deepmd_dpa4.tools.descriptors.project.project`.
    """
    require_name(options.output, ".npy", ".csv")
    check_frames(options.frames)
    if options.map is not None:
        from deepmd_dpa4.tools.plots.style import check_output

        check_output(options.map, "--map")
        if options.method == "umap":
            require("umap", "umap", "`--method umap`")
    import numpy as np

    from deepmd_dpa4.files import replacing
    from deepmd_dpa4.tools.descriptors.chart import draw
    from deepmd_dpa4.tools.descriptors.collect import collect
    from deepmd_dpa4.tools.descriptors.project import project
    from deepmd_dpa4.tools.descriptors.rows import write_table

    evaluator = open_model(options)
    errors = options.errors or options.map is not None
    alone = options.output.suffix == ".csv"
    table = options.output.with_suffix(".csv")
    with replacing(table) as partial:
        matrix_file = partial.with_name("matrix.npy")
        with progress_bar("frames") as report:
            rows = collect(evaluator, options.data, matrix_file, options.atoms, options.frames, errors, report)
        matrix = np.load(matrix_file, mmap_mode="r")
        more = {}
        if options.map is not None:
            projection = project(matrix, options.method)
            more["map"] = projection.points
            draw(projection, rows, options.map, title_of(options, " ".join(map(str, options.data))))
        write_table(partial, rows, more | ({"d": matrix} if alone else {}))
        if not alone:
            with replacing(options.output) as place:
                matrix_file.replace(place)
    kind = "atoms" if options.atoms else "frames"
    print(f"{len(rows)} {kind} of {len(rows.systems)} systems, {matrix.shape[1]} numbers each")
    for path in dict.fromkeys([options.output, table, options.map]):
        if path is not None:
            print(path)
