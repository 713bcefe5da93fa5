"""Files of frames to DeePMD npy folders."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from deepmd_dpa4.tools.data.checks import Inspector, Kind, Problem, Rejected
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Place
from deepmd_dpa4.tools.data.labels import Keys, Labels
from deepmd_dpa4.tools.data.limits import Limits
from deepmd_dpa4.tools.data.sources import format_of, records
from deepmd_dpa4.tools.data.split import Splitter
from deepmd_dpa4.tools.data.stress import Convention, StressAudit
from deepmd_dpa4.tools.data.writer import Layout, Writer

PROBLEMS = "problems.csv"
AUDIT_EVERY = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """What to do with the frames."""

    layout: Layout = field(default_factory=Layout)
    keys: Keys = field(default_factory=Keys)
    convention: Convention = field(default_factory=Convention)
    limits: Limits = field(default_factory=Limits)
    form: str | None = None
    """Format of all files; ``None``: by their names."""
    drop_bad: bool = False
    """Leave out frames with a problem."""
    check_stress: bool = True
    """Refuse a stress that looks wrong."""
    splitter: Splitter | None = None
    """Chooses the frames for validation; ``None``: no split."""


@dataclass
class Summary:
    """What happened."""

    read: int = 0
    written: int = 0
    problems: Counter[Kind] = field(default_factory=Counter)
    """Frames with a problem."""
    kept: Counter[Kind] = field(default_factory=Counter)
    """Those of them that were written."""
    examples: dict[Kind, tuple[Place, str]] = field(default_factory=dict)
    """The first of each kind."""
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Frames per label and name in the files."""
    folders: dict[str, int] = field(default_factory=dict)
    """Frames per folder."""
    types: list[str] = field(default_factory=list)
    stress_without_cell: int = 0
    half_charged: int = 0
    """Frames with a charge or a spin that are no pair of charge and multiplicity, and are left out."""
    stress_sign_untested: int = 0
    """Frames with a virial whose sign was not tested, because they are too few or of equal volumes."""
    partly_periodic: int = 0


def convert(
    sources: Iterable[Path], output: Path, conversion: Conversion, report: Callable[[Summary], None] = lambda _: None
) -> Summary:
    """Write the frames of all sources to ``output``, and what is wrong with them to ``output/problems.csv``.

    Parameters
    ----------
    sources : iterable of Path
        Files, or folders where the format is one of folders.
    output : Path
        A folder that does not exist; it appears when everything is written.
    conversion : Conversion
        What to do.
    report : callable, optional
        Told the state after each frame.

    Raises
    ------
    DataError
        If a file cannot be read, labels are ambiguous, the stress looks wrong, or nothing can be written.
    FileNotFoundError
        If a source does not exist.
    """
    files = [(path, format_of(path, conversion.form)) for path in sources]
    summary, audit = Summary(), StressAudit()
    labels = Labels(conversion.keys, conversion.convention)
    inspector = Inspector(conversion.limits)
    with Writer(output, conversion.layout) as writer, (writer.partial / PROBLEMS).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["problem", "file", "frame", "detail", "written"])
        for record in (record for path, form in files for record in records(path, form)):
            summary.read += 1
            if isinstance(record, Rejected):
                note(summary, table.writerow, record.place, [record.problem], False)
                continue
            frame = labels.frame(record)
            summary.partly_periodic += any(record.periodic) and not all(record.periodic)
            problems = inspector.problems(frame)
            kept = is_kept(problems, conversion.drop_bad)
            note(summary, table.writerow, frame.place, problems, kept)
            if kept:
                usable = frame.with_finite_labels()
                splitter = conversion.splitter
                writer.add(usable, "" if splitter is None else splitter.side(splitter.unit.of_record(record)))
                summary.written += 1
                audit.add(usable)
            if conversion.check_stress and summary.read % AUDIT_EVERY == 0:
                audit.check()
            report(summary)
        labels.check_named()
        if conversion.check_stress:
            audit.check()
        require_frames(summary)
        if conversion.splitter is not None:
            conversion.splitter.check()
    summary.used, summary.stress_without_cell = labels.used, labels.without_cell
    summary.half_charged = labels.half_charged
    if conversion.check_stress and not audit.shows_trend():
        summary.stress_sign_untested = audit.frames
    summary.folders, summary.types = writer.frames_in_folders, writer.names
    return summary


def is_kept(problems: list[Problem], drop_bad: bool) -> bool:
    """Tell whether a frame with these problems is written."""
    return not any(problem.kind.fatal or (drop_bad and problem.kind.bad) for problem in problems)


def note(
    summary: Summary, write_row: Callable[[list[object]], object], place: Place, problems: list[Problem], kept: bool
) -> None:
    """Count the problems of a frame and list them."""
    for problem in problems:
        summary.problems[problem.kind] += 1
        summary.kept[problem.kind] += kept
        summary.examples.setdefault(problem.kind, (place, problem.detail))
        write_row([problem.kind.value, place.source, place.index, problem.detail, "yes" if kept else "no"])


def require_frames(summary: Summary) -> None:
    """Refuse to write nothing.

    Raises
    ------
    DataError
        With what was wrong.
    """
    if not summary.written:
        reasons = ", ".join(f"{count} with {kind.value}" for kind, count in summary.problems.items())
        if summary.problems.keys() == {Kind.LEARNED}:
            reasons += ", and there is no ab initio frame"
        raise DataError(f"none of {summary.read} frames can be written" + (f": {reasons}" if reasons else ""))
