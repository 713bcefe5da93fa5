"""Ab initio steps of VASP's OUTCAR, parsed by ASE out of files that it would stumble over."""

import re
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, cast

from deepmd_dpa4.tools.data.checks import Kind, Problem

STEP_ENDS = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
FREE = re.compile(r"TOTEN\s*=\s*(\S+)")
EXTRAPOLATED = re.compile(r"energy\(sigma->0\)\s*=\s*(\S+)")
# Lines after the end of a step within which both energies stand, whatever corrections are printed between them.
ENERGY_LINES = 20


class AbInitioLines:
    """Lines of an OUTCAR without those of machine-learned force fields, and with both energies where ASE expects them.

    ASE ends a step at every ``FREE ENERGIE``, and reads the energies two and four lines below; runs with ``ML_LMLFF``
    write such blocks for machine-learned steps too, and dispersion corrections write text between the energies.

    Parameters
    ----------
    lines : iterator of str
        Those of the file.
    name : str
        Path, beside which ASE looks for constraints.
    """

    def __init__(self, lines: Iterator[str], name: str) -> None:
        self.lines, self.name = lines, name
        self.learned = 0
        """Machine-learned steps that nobody has asked for yet."""
        self.ready: deque[str] = deque()
        self.in_learned_stress = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while not self.ready:
            self.take(next(self.lines))
        return self.ready.popleft()

    def take(self, line: str) -> None:
        """Sort out a line."""
        if "FORCE on cell" in line:
            self.in_learned_stress = "ML FORCE" in line
        if STEP_ENDS in line:
            if f"ML {STEP_ENDS}" in line:
                self.learned += 1
            else:
                self.ready.extend(energy_block(line, self.lines))
            return
        learned_forces = "TOTAL-FORCE" in line and "(ML)" in line
        learned_stress = self.in_learned_stress and "in kB" in line
        if not (learned_forces or learned_stress):
            self.ready.append(line)

    def take_learned(self) -> int:
        """Return the number of machine-learned steps since the last call."""
        count, self.learned = self.learned, 0
        return count


def energy_block(first: str, lines: Iterator[str]) -> list[str]:
    """Take the lines up to the energies, and put these where ASE looks for them; without them nothing is changed."""
    following = []
    for line in islice(lines, ENERGY_LINES):
        following.append(line)
        if EXTRAPOLATED.search(line):
            break
    free = next((found for line in following if (found := FREE.search(line))), None)
    extrapolated = next((found for line in following if (found := EXTRAPOLATED.search(line))), None)
    if free is None or extrapolated is None:
        return [first, *following]
    energies = f" energy without entropy= {free[1]} energy(sigma->0) = {extrapolated[1]}\n"
    return [first, " ---\n", f" free energy TOTEN = {free[1]} eV\n", "\n", energies, *following]


def steps(path: Path) -> Iterator[Any]:
    """Yield an ``ase.Atoms`` for each ab initio step, and a :class:`Problem` for every other.

    Raises
    ------
    ase.io.ParseError
        If the file has no head, or no step.
    """
    from ase.io import ParseError
    from ase.io.formats import open_with_compression
    from ase.io.vasp_parsers.vasp_outcar_parsers import outcarchunks

    with open_with_compression(str(path), "rt") as file:
        lines = AbInitioLines(iter(file), str(path))
        try:
            for chunk in outcarchunks(cast(TextIO, lines)):
                yield from learned(lines)
                yield parsed(chunk)
        except ParseError:
            # without an electronic iteration ASE takes the file for incomplete
            if not lines.learned:
                raise
        yield from learned(lines)


def learned(lines: AbInitioLines) -> Iterator[Problem]:
    """Yield a problem for each machine-learned step that was passed over."""
    return (Problem(Kind.LEARNED) for _ in range(lines.take_learned()))


def parsed(chunk: Any) -> Any:
    """Parse one step, or say why it cannot be."""
    try:
        return chunk.build()
    # ASE raises whatever it stumbles over, and the other steps may be good
    except Exception as error:
        return Problem(Kind.UNREADABLE, f"{type(error).__name__}: {error}")
