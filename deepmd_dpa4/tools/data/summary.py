"""Statistics of data sets as tables, for the terminal and for a page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deepmd_dpa4.tools.data.frame import by_element
from deepmd_dpa4.tools.data.statistics import ElementEnergies, Outlier, Statistics, outliers

SHOWN_OUTLIERS = 20
PERCENTILES = (0, 1, 50, 99, 100)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What there is to say about data sets."""

    statistics: Statistics
    energies: ElementEnergies
    threshold: float
    """Robust standard deviations from which a frame is an outlier."""

    def quantities(self) -> dict[str, np.ndarray]:
        """Return the numbers for each frame, by name and unit."""
        column = self.statistics.column
        return {
            "atoms": column("atoms"),
            "energy (eV/atom)": column("energy"),
            "energy without elements (eV/atom)": self.energies.residual,
            "largest force component (eV/Å)": column("max_force"),
            "pressure (GPa)": column("pressure"),
            "volume (Å³/atom)": column("volume"),
            "shortest distance (Å)": column("distance"),
        }

    def outliers(self) -> list[Outlier]:
        """List the frames that stand out in a quantity; forces are compared by their logarithm."""
        values = self.quantities()
        force = values.pop("largest force component (eV/Å)")
        del values["atoms"], values["energy (eV/atom)"]
        with np.errstate(divide="ignore"):
            values["log10 of the largest force component"] = np.where(force > 0, np.log10(force), np.nan)
        found = [
            item for name, array in values.items() for item in outliers(name, array, self.statistics, self.threshold)
        ]
        return sorted(found, key=lambda item: -item.score)

    def tables(self) -> Iterator[Table]:
        """List all tables that have a row."""
        tables = (self.overview(), self.elements(), self.spread(), self.distances(), self.problems(), self.far())
        return (table for table in tables if table.rows)

    def overview(self) -> Table:
        """Tabulate sizes, and what is missing."""
        statistics = self.statistics
        rows = [
            ("frames", str(statistics.frames)),
            ("compositions", str(len(statistics.compositions))),
            ("atoms", str(sum(statistics.elements.values()))),
        ]
        rows += [(f"frames without {name}", str(count)) for name, count in sorted(statistics.missing.items())]
        rows += [("stress", complaint) for complaint in statistics.stress.complaints()]
        return Table("Data", ("", ""), rows)

    def elements(self) -> Table:
        """Tabulate atoms and fitted energy of each element."""
        counts, energies = self.statistics.elements, self.energies.energies
        rows = [(name, str(counts[name]), f"{energies[name]:.4f}") for name in by_element(set(counts))]
        return Table("Elements", ("element", "atoms", "fitted energy (eV)"), rows)

    def spread(self) -> Table:
        """Tabulate the range of each quantity over the frames."""
        rows = []
        for name, values in self.quantities().items():
            known = values[np.isfinite(values)]
            if len(known):
                figures = (f"{value:.6g}" for value in np.percentile(known, PERCENTILES))
                rows.append((name, str(len(known)), *figures))
        return Table("Frames", ("quantity", "frames", "smallest", "1 %", "median", "99 %", "largest"), rows)

    def distances(self) -> Table:
        """Tabulate the shortest distance of each pair of elements."""
        found = sorted(self.statistics.nearest.items(), key=lambda item: item[1][0])
        rows = [("-".join(pair), f"{distance:.4f}", str(place)) for pair, (distance, place) in found]
        return Table(f"Shortest distances below {self.statistics.cutoff:g} Å", ("pair", "distance (Å)", "in"), rows)

    def problems(self) -> Table:
        """Tabulate kinds of problems, with the first frame of each."""
        rows = []
        for kind, count in self.statistics.problems.most_common():
            place, detail = self.statistics.examples[kind]
            rows.append((kind.value, str(count), f"{place}: {detail}" if detail else str(place)))
        return Table("Problems", ("problem", "frames", "first"), rows)

    def far(self) -> Table:
        """Tabulate the furthest outliers."""
        found = self.outliers()
        rows = [(item.quantity, f"{item.value:.6g}", f"{item.score:.1f}", str(item.place)) for item in found]
        title = f"Outliers: {len(found)} values beyond {self.threshold:g} robust standard deviations from the median"
        if len(found) > SHOWN_OUTLIERS:
            title += f", the first {SHOWN_OUTLIERS} of them"
        return Table(title, ("quantity", "value", "deviations", "in"), rows[:SHOWN_OUTLIERS])
