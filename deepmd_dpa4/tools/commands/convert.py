"""``dpa4 convert``: a checkpoint for the other implementation of DPA4, or one branch of it."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from deepmd_dpa4.checkpoint.newest import newest
from deepmd_dpa4.tools.commands.model_argument import add_branch


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "convert",
        help="rewrite a checkpoint for DeePMD-kit's built-in DPA4 or for this package, or take a branch out of it",
        description="Rewrite a checkpoint .pt: options under the names that the target knows, all of them spelled out; "
        "tensors checked against them; on request one branch, averaged weights, weights only. Nothing in the file is "
        "run, and weights are not changed.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="checkpoint .pt")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="checkpoint to write, .pt")
    parser.add_argument(
        "--to",
        choices=("official", "plugin"),
        default="plugin",
        help="official = DeePMD-kit's built-in DPA4, plugin = this package; default %(default)s",
    )
    add_branch(parser, "keep this branch of a multi-task checkpoint, as a single task")
    parser.add_argument("--ema", action="store_true", help="averaged weights in place of the last ones")
    parser.add_argument(
        "--weights-only", action="store_true", help="leave out the state of the optimizer; fold low-rank updates"
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="compare predictions of FILE and OUT by the two implementations on random structures",
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Convert, telling on stderr what changes, and print the report on stdout if it is asked for.

    Raises
    ------
    FileError
        If the file cannot be read or does not fit its options.
    ConfigError
        If an option of the command or of the model is wrong.
    ValueError
        If the output is the input, or the predictions differ.
    """
    from deepmd_dpa4.checkpoint.convert import Conversion, convert, write
    from deepmd_dpa4.checkpoint.model_kind import require_dpa4
    from deepmd_dpa4.checkpoint.published import identify
    from deepmd_dpa4.checkpoint.read import read_checkpoint
    from deepmd_dpa4.uncertainty.archive_entry import has_any_entry

    options.file = newest(options.file, "FILE")
    wanted = Conversion(options.to, options.head, options.weights_only, options.ema)
    if options.output.suffix != ".pt":
        raise ValueError(f"`--output` is {options.output} but must end in .pt")
    if options.output.exists() and options.output.samefile(options.file):
        raise ValueError(f"`--output` is {options.output}, which is also the checkpoint to read")
    checkpoint = read_checkpoint(options.file)
    known = identify(options.file)
    if known is not None:
        print(f"{options.file} is {known.name}, licence {known.licence}", file=sys.stderr)
    require_dpa4(checkpoint)
    result = convert(checkpoint, wanted)
    write(result.checkpoint, options.output)
    if has_any_entry(options.file):
        print(f"no uncertainties: `dpa4 uncertainty {options.output} DATA` adds them", file=sys.stderr)
    for note in result.notes:
        print(note, file=sys.stderr)
    print(f"{options.output} is for {'DeePMD-kit' if wanted.to == 'official' else 'deepmd-dpa4'}", file=sys.stderr)
    if options.report:
        from deepmd_dpa4.freeze.parity_report import report

        report(options.file, options.output, wanted)
