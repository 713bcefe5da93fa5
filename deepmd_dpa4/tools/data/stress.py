"""Units and signs of stress, and what gives a wrong one away."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Frame

# In eV/Angstrom^3.
UNITS = {"eV/A^3": 1.0, "GPa": 1 / 160.21766208, "kbar": 1 / 1602.1766208}
# One part in 500: files are written with few digits.
TOLERANCE = 2e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """What the stress of the files means."""

    unit: str = "eV/A^3"
    """One of :data:`UNITS`."""
    flip: bool = False
    """Stress is positive under compression, or the virial is plus the derivative with respect to the strain."""

    def virial(self, stress: np.ndarray, volume: float) -> np.ndarray:
        r"""Turn stress (3, 3) into virial in eV: :math:`W = -V \sigma`, with :math:`\sigma` positive under tension."""
        return (1 if self.flip else -1) * volume * UNITS[self.unit] * stress

    def __str__(self) -> str:
        return f"{self.unit}, positive under {'compression' if self.flip else 'tension'}"


def matrix(values: np.ndarray) -> np.ndarray:
    """Make a (3, 3) of nine values, of a matrix, or of six in the order xx, yy, zz, yz, xz, xy.

    Raises
    ------
    ValueError
        If there are other numbers of values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 9:
        return values.reshape(3, 3)
    if values.shape == (6,):
        xx, yy, zz, yz, xz, xy = values
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    raise ValueError(f"shape {values.shape} is neither (3, 3) nor (9,) nor (6,)")


def agree(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two matrices are the same up to rounding in the file."""
    scale = max(float(np.abs(one).max()), float(np.abs(other).max()))
    return float(np.abs(one - other).max()) <= TOLERANCE * scale + 1e-6


def explain(virial: np.ndarray, stress: np.ndarray, volume: float) -> Convention | None:
    """Find the convention under which a stress is the virial of the same frame, if there is one."""
    for unit, flip in product(UNITS, (False, True)):
        convention = Convention(unit=unit, flip=flip)
        if agree(virial, convention.virial(stress, volume)):
            return convention
    return None


@dataclass(slots=True)
class Trend:
    """Running means and products of deviations of log volume x and mean stress y of one composition."""

    count: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    def add(self, x: float, y: float) -> None:
        self.count += 1
        dx, dy = x - self.x, y - self.y
        self.x += dx / self.count
        self.y += dy / self.count
        self.xx += dx * (x - self.x)
        self.yy += dy * (y - self.y)
        self.xy += dx * (y - self.y)


@dataclass
class StressAudit:
    r"""Looks at the stress of many frames for a wrong sign or unit.

    Matter resists compression: at a fixed composition the mean stress :math:`\sigma = \mathrm{tr}\,\sigma_{ab}/3`,
    positive under tension, grows with the volume, and its slope is the bulk modulus

    .. math:: B = d\sigma / d\ln V,

    at most 3 eV/Angstrom^3 (diamond). A clearly negative correlation means that the sign is wrong, a slope above
    ``STIFFEST``, or a stress beyond ``LARGEST`` in most frames, that the unit is not eV/Angstrom^3. Frames at one
    volume tell nothing about the sign. Memory is bounded: compositions after the first 10,000 are not looked at.
    """

    STIFFEST = 6.0
    LARGEST = 3.0
    ENOUGH = 20
    SPREAD = 0.01
    CORRELATED = 0.6
    COMPOSITIONS = 10_000

    trends: dict[tuple[tuple[str, int], ...], Trend] = field(default_factory=dict)
    frames: int = 0
    large: int = 0

    def add(self, frame: Frame) -> None:
        """Take a frame into account, if it has a cell and a virial."""
        volume = frame.volume
        if frame.cell is None or frame.virial is None or not 0 < volume < np.inf:
            return
        stress = -float(np.trace(frame.virial)) / 3 / volume
        if not np.isfinite(stress):
            return
        self.frames += 1
        self.large += abs(stress) > self.LARGEST
        composition = frame.composition
        if composition in self.trends or len(self.trends) < self.COMPOSITIONS:
            self.trends.setdefault(composition, Trend()).add(float(np.log(volume)), stress)

    def complaints(self) -> Iterator[str]:
        """List what looks wrong so far; a trend is judged only where :meth:`shows_trend`."""
        if 2 * self.large > self.frames:
            yield (
                f"{self.large} of {self.frames} frames have a mean stress beyond {self.LARGEST:g} eV/A^3 (480 GPa); it "
                "seems to be in GPa or kbar: give `--stress-unit`"
            )
        if not self.shows_trend():
            return
        xx, yy, xy = self.deviations()
        correlation, modulus = xy / np.sqrt(xx * yy), xy / xx
        if correlation < -self.CORRELATED:
            yield (
                f"stress falls when the volume grows (correlation {correlation:.2f} within compositions, {self.frames} "
                "frames), so its sign seems to be opposite: give `--flip-virial`"
            )
        if correlation > self.CORRELATED and modulus > self.STIFFEST:
            yield (
                f"the stress grows with the volume as if the bulk modulus were {modulus / UNITS['GPa']:.0f} GPa; the "
                "stress seems to be in GPa or kbar: give `--stress-unit`"
            )

    def deviations(self) -> tuple[float, float, float]:
        """Sum the products of deviations within compositions: of log volume, of stress, of both."""
        xx, yy, xy = (sum(getattr(trend, name) for trend in self.trends.values()) for name in ("xx", "yy", "xy"))
        return xx, yy, xy

    def shows_trend(self) -> bool:
        """Tell whether there are enough frames, of volumes that differ, to see the stress change with the volume."""
        freedom = sum(trend.count - 1 for trend in self.trends.values())
        xx, yy, _ = self.deviations()
        return freedom >= self.ENOUGH and xx >= freedom * self.SPREAD**2 and yy > 0

    def check(self) -> None:
        """Refuse data that look wrong.

        Raises
        ------
        DataError
            With all complaints, and how to insist.
        """
        if complaints := "; ".join(self.complaints()):
            raise DataError(f"the stress cannot be right: {complaints}, or `--no-stress-check` if it is right as it is")
