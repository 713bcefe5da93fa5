"""Draw how the deviation of the committee grows with the temperature: ``deviation.png``.

Run ``python draw.py`` after ``committee.py`` and the LAMMPS run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

HERE = Path(__file__).resolve().parent
LARGEST = 4
"""Column of the largest deviation of a force, in the outputs of LAMMPS and of ``dp model-devi``."""


def by_temperature(path: Path) -> dict[int, np.ndarray]:
    """Largest deviation of a force in each frame, eV/A, by the temperature that names the data set."""
    found: dict[int, list[float]] = {}
    values: list[float] = []
    for line in path.read_text().splitlines():
        words = line.removeprefix("#").split()
        if not line.startswith("#"):
            values.append(float(words[LARGEST]))
        elif len(words) == 1:
            values = found.setdefault(int(Path(words[0]).name.removesuffix("K")), [])
    return {temperature: np.array(found[temperature]) for temperature in sorted(found)}


def draw_frames(axes: Axes) -> None:
    """Means over frames that no model was trained on, with the errors of the means."""
    for name, label, color in (("deviation", "deviation", "C0"), ("error", "true error, rms over the models", "0.5")):
        frames = by_temperature(HERE / f"{name}.out")
        means = [values.mean() for values in frames.values()]
        errors = [values.std() / np.sqrt(len(values)) for values in frames.values()]
        axes.errorbar(list(frames), means, errors, fmt="o-", capsize=3, color=color, label=label)
        for temperature, mean in zip(frames, means, strict=True):
            print(f"{name} at {temperature} K: {mean:.3f} eV/A")
    axes.axvline(300, color="k", linestyle=":", label="training data")
    axes.set(xlabel="temperature of the frames (K)", ylabel="largest in a frame, mean (eV/Å)", ylim=(0, None))
    axes.legend(frameon=False)


def draw_dynamics(axes: Axes) -> None:
    """Deviation and temperature along the trajectory."""
    deviation, temperature = (np.loadtxt(HERE / name, ndmin=2) for name in ("md.out", "temperature.out"))
    shown = np.isin(deviation[:, 0], temperature[:, 0])
    axes.plot(temperature[:, 1], deviation[shown, LARGEST], ".", color="C0")
    axes.set(xlabel="temperature in LAMMPS (K)", ylabel="largest deviation of a force (eV/Å)", ylim=(0, None))


def main() -> None:
    """Draw."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    draw_frames(left)
    draw_dynamics(right)
    figure.savefig(HERE / "deviation.png", dpi=150)


if __name__ == "__main__":
    main()
