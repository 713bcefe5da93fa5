"""Are pairs of equal atoms and the equations of state of elements sound?

Takes any model file. Pairs: energy and force of two atoms of an element, from 0.9 covalent radii to the cutoff.
Elements: energy of the crystal that ASE lists for an element, scaled by up to 20 % in volume. Results, table
and plot appear beside `--output`; what is there is not computed again.
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.data import atomic_numbers, covalent_radii, reference_states
from ledger import Ledger, Row, table

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.tools.plots.dimer import model_curve
from deepmd_dpa4.tools.plots.eos import energy_volume
from deepmd_dpa4.tools.plots.style import COLOURS, picture

STEP = 0.02
"""Angstrom between two distances of a pair."""
STRAIN, POINTS = 0.2, 21
CUBIC = ("fcc", "bcc", "diamond", "sc")
FLAT = 1e-3
"""Changes of the energy in eV up to which a curve counts as flat, as on the board of Matbench Discovery."""


@dataclass(frozen=True)
class Shape:
    """How smooth a curve with one minimum is."""

    tortuosity: float
    """Total variation of the energy over that of a curve with the same ends and one minimum; 1 at best."""
    turns: int
    """Changes of direction; 1 for a bond, 0 for pure repulsion."""
    jump: float
    """Sum of the steps of the energy at these turns, eV."""


def shape(energy: np.ndarray) -> Shape:
    """Measure a curve; plateaus are no turns."""
    steps = np.diff(energy)
    least = energy.min()
    ideal = abs(energy[0] - least) + abs(energy[-1] - least)
    real = steps[np.abs(steps) > FLAT]
    turns = np.flatnonzero(np.sign(real[1:]) != np.sign(real[:-1]))
    jump = np.abs(real[turns]) + np.abs(real[turns + 1])
    return Shape(float(np.abs(steps).sum() / ideal) if ideal > 0 else 1.0, len(turns), float(jump.sum()))


def pair_row(evaluator: Evaluator, symbol: str) -> Row:
    """Energy and force of two atoms of an element."""
    start = 0.9 * float(covalent_radii[atomic_numbers[symbol]])
    curve = model_curve(evaluator, (symbol, symbol), np.arange(start, evaluator.rcut, STEP))
    slope = -np.gradient(curve.energy, curve.distance, edge_order=2)
    near = curve.minimum
    return {
        **asdict(shape(curve.energy)),
        "bond": near[0] if near else None,
        "depth": -near[1] if near else 0.0,
        "force_beyond_4": float(np.abs(curve.force[curve.distance > 4.0]).max(initial=0.0)),
        "force_minus_slope": float(np.median(np.abs(curve.force - slope))),
        "distance": curve.distance.round(4).tolist(),
        "energy": curve.energy.round(6).tolist(),
    }


def crystal_row(evaluator: Evaluator, symbol: str) -> Row:
    """Equation of state of the crystal of an element, beside its lattice constant by experiment."""
    atoms = bulk(symbol)
    curve = energy_volume(evaluator, atoms, STRAIN, POINTS)
    measured = atoms.get_volume() / len(atoms)
    return {
        **asdict(shape(curve.energy)),
        "volume": curve.v0,
        "volume_measured": float(measured),
        "deviation_percent": 100 * (curve.v0 / measured - 1),
        "bulk_modulus": curve.b0,
        "fit_deviation_mev": 1000 * curve.deviation,
    }


def has_crystal(symbol: str) -> bool:
    """Tell whether ASE builds the crystal of an element with all positions by symmetry."""
    state = reference_states[atomic_numbers[symbol]]
    return state is not None and state["symmetry"] in (*CUBIC, "hcp")


PAIRS = {
    "tortuosity": "tortuosity",
    "turns": "turns",
    "jump": "jump (eV)",
    "bond": "bond (Å)",
    "depth": "depth (eV)",
    "force_beyond_4": "largest force beyond 4 Å (eV/Å)",
}
CRYSTALS = {
    "volume": "volume (Å³/atom)",
    "volume_measured": "by experiment",
    "deviation_percent": "deviation (%)",
    "bulk_modulus": "bulk modulus (GPa)",
    "fit_deviation_mev": "deviation from fit (meV)",
    "turns": "turns",
}


def draw(rows: dict[str, Row], path: Path) -> None:
    """Draw the curves of pairs, at most ten."""
    some = [(name, row) for name, row in rows.items() if "energy" in row][:10]
    with picture(path, size=(6.0, 4.4)) as ((axes,),):
        for index, (name, row) in enumerate(some):
            style = "-" if index < len(COLOURS) else "--"
            axes.plot(row["distance"], row["energy"], style, color=COLOURS[index % len(COLOURS)], label=name)
        axes.set(xlabel="distance (Å)", ylabel="energy of a pair (eV)", yscale="symlog")
        axes.legend(ncols=2)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="checkpoint .pt, or frozen file .pth or .pt2")
    parser.add_argument("--head", help="branch of a multi-task checkpoint")
    parser.add_argument("--elements", nargs="+", help="default: all with training data")
    parser.add_argument("-o", "--output", type=Path, default=Path("elements"), help="results without suffix")
    options = parser.parse_args(arguments)
    evaluator = Evaluator(options.model, options.head)
    elements = options.elements or [name for name in evaluator.type_map if name not in evaluator.untrained.elements]
    settings = {"model": options.model.name, "head": options.head}
    pairs = Ledger(options.output.with_suffix(".pairs.json"), settings).fill(
        elements, lambda symbol: pair_row(evaluator, symbol)
    )
    crystals = Ledger(options.output.with_suffix(".eos.json"), settings).fill(
        [symbol for symbol in elements if has_crystal(symbol)], lambda symbol: crystal_row(evaluator, symbol)
    )
    page = f"## Pairs\n\n{table(pairs, PAIRS, 'element')}\n## Crystals\n\n{table(crystals, CRYSTALS, 'element')}"
    options.output.with_suffix(".md").write_text(page)
    draw(pairs, options.output.with_suffix(".png"))
    print(page)


if __name__ == "__main__":
    main()
