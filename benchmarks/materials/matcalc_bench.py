"""How well does a model predict geometries, formation energies, elastic moduli and heat capacities of crystals?

MatCalc-Bench by the package `matcalc`, which brings protocol and elemental references: 972 WBM structures that start
0.1 Angstrom off, moduli of a fixed sample of 500 crystals, heat capacities of a fixed sample of 200. Formation
energies refer to elements relaxed by the model itself, which comes first. Takes any model file; what is finished is
not computed again, the crystals of the elements included. A crystal takes seconds with DPA4-Neo on two cores, a heat
capacity minutes.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ledger import Ledger, Row, table

from deepmd_dpa4.tools.plots.style import COLOURS, equal_limits, picture

SEED = 42
"""Of the samples; that of `matcalc`."""


@dataclass(frozen=True)
class Part:
    """One benchmark: class of `matcalc`, file of the data, size of the sample, and values with their units."""

    benchmark: str
    file: str
    sample: int | None
    values: dict[str, str]


PARTS = {
    "equilibrium": Part(
        "EquilibriumBenchmark",
        "wbm-random-pbe52-equilibrium-2025.1.json.gz",
        None,
        {"formation_energy_per_atom": "eV/atom"},
    ),
    "elasticity": Part(
        "ElasticityBenchmark",
        "mp-binary-pbe-elasticity-2025.1.json.gz",
        500,
        {"bulk_modulus_vrh": "GPa", "shear_modulus_vrh": "GPa"},
    ),
    "phonon": Part("PhononBenchmark", "alexandria-binary-pbe-phonon-2025.1.json.gz", 200, {"heat_capacity": "J/mol/K"}),
}
PUBLISHED = {
    "OMat24 TensorNet": (0.315, 52.2, 15.6, 15.5, 5.97),
    "MatPES TensorNet": (0.371, 80.9, 18.0, 14.8, 13.3),
    "MatPES CHGNet": (0.430, 82.2, 23.7, 20.6, 22.8),
    "MPtrj CHGNet": (0.505, 91.7, 17.4, 29.6, 23.6),
}
"""Mean absolute errors in the repository of `matcalc`: fingerprint distance, formation energy in meV/atom, bulk and
shear modulus in GPa, heat capacity in J/mol/K."""


def row_of(truth: Row, predicted: Row, values: dict[str, str]) -> Row:
    """Put reference and prediction side by side."""
    row: Row = {"formula": truth["formula"]}
    for name in values:
        row[f"{name}_DFT"] = float(truth[f"{name}_DFT"])
        row[name] = float(predicted[f"{name}_model"])
        if not math.isfinite(row[name]):
            raise ValueError(f"no {name}")
    return row


def reference_crystals(elements: Iterable[str]) -> dict[str, Any]:
    """Read the crystals of elements that `matcalc` relaxes, small ones first, by names such as ``Fe 0``."""
    import matcalc
    from monty.serialization import loadfn

    known = loadfn(Path(matcalc.__file__).parent / "elemental_refs" / "MP-PBE-Element-Refs.json.gz")
    lists = {element: known[element]["structure"] for element in sorted(elements)}
    crystals = {
        f"{element} {index}": crystal
        for element, found in lists.items()
        for index, crystal in enumerate(found if isinstance(found, list) else [found])
    }
    return dict(sorted(crystals.items(), key=lambda item: len(item[1])))


def lowest_energies(rows: dict[str, Row]) -> dict[str, dict[str, float]]:
    """Take the most stable crystal of each element, in the form that `matcalc` reads.

    The energy of an element all of whose crystals failed is infinite, so that compounds of it fail too.
    """
    lowest: dict[str, dict[str, float]] = {}
    for name, row in rows.items():
        element = lowest.setdefault(name.split()[0], {"energy_per_atom": math.inf})
        element["energy_per_atom"] = min(element["energy_per_atom"], row.get("energy_per_atom", math.inf))
    return lowest


def energetics(bench: Any, calculator: Any, ledger: Ledger) -> Any:
    """Make what computes formation energies, as the benchmark does, but keep each relaxed element."""
    from matcalc import EnergeticsCalc, RelaxCalc

    crystals = reference_crystals({element.symbol for crystal in bench.structures for element in crystal.composition})
    relax = RelaxCalc(calculator, fmax=0.05)

    def compute(name: str) -> Row:
        found = relax.calc(crystals[name])
        return {"energy_per_atom": float(found["energy"]) / len(crystals[name])}

    references = lowest_energies(ledger.fill(crystals, compute))
    return EnergeticsCalc(
        calculator, elemental_refs=references, use_gs_reference=True, fmax=0.05, perturb_distance=0.1, **bench.kwargs
    )


def distance() -> Callable[[Any, Any], float]:
    """Make the distance of two structures by the fingerprints of their sites, as `matcalc` takes it."""
    from matminer.featurizers.site import CrystalNNFingerprint
    from matminer.featurizers.structure import SiteStatsFingerprint

    sites = CrystalNNFingerprint.from_preset("ops", distance_cutoffs=None, x_diff_weight=0)
    fingerprint = SiteStatsFingerprint(sites, stats=("mean", "std_dev", "minimum", "maximum"))

    def between(one: Any, other: Any) -> float:
        difference = np.array(fingerprint.featurize(one)) - np.array(fingerprint.featurize(other))
        return float(np.linalg.norm(difference))

    return between


def mean_errors(rows: dict[str, Row], values: dict[str, str]) -> dict[str, float]:
    """Average the absolute errors over the crystals that did not fail."""
    there = [row for row in rows.values() if "failed" not in row]
    found = {name: float(np.mean([abs(row[name] - row[f"{name}_DFT"]) for row in there])) for name in values}
    if there and "distance" in there[0]:
        found["distance"] = float(np.mean([row["distance"] for row in there]))
    return found


def written(output: Path, part: str) -> Path:
    """Name the results of a part, without suffix."""
    return output.with_name(f"{output.name}_{part}")


def errors_page(output: Path) -> str:
    """Write a table of the errors of all parts that there are results of, those of earlier runs included."""
    lines = ["| part | crystals | failed | mean absolute errors |", "|---|---|---|---|"]
    for name, part in PARTS.items():
        path = written(output, name).with_suffix(".json")
        if path.exists():
            rows = json.loads(path.read_text())["rows"]
            failed = sum("failed" in row for row in rows.values())
            units = part.values | {"distance": ""}
            means = mean_errors(rows, part.values).items()
            text = ", ".join(f"{key.replace('_', ' ')} {value:.4g} {units[key]}".strip() for key, value in means)
            lines.append(f"| {name} | {len(rows)} | {failed} | {text} |")
    return "\n".join(lines)


def draw(rows: dict[str, Row], values: dict[str, str], path: Path) -> None:
    """Draw predictions against the reference."""
    there = [row for row in rows.values() if "failed" not in row]
    with picture(path, len(values), size=(4.4, 4.2)) as grid:
        for axes, (name, unit), colour in zip(grid.flat, values.items(), COLOURS):
            reference, found = (np.array([row[key] for row in there]) for key in (f"{name}_DFT", name))
            axes.plot(reference, found, ".", color=colour)
            equal_limits(axes, reference, found)
            text = name.replace("_", " ")
            axes.set(xlabel=f"{text} by DFT ({unit})", ylabel=f"{text} by the model ({unit})")


def run(part: Part, options: argparse.Namespace, output: Path) -> dict[str, Row]:
    """Carry out one benchmark."""
    import matcalc.benchmark

    from deepmd_dpa4.engines.ase import DPA4Calculator

    sample = options.sample or part.sample
    bench = getattr(matcalc.benchmark, part.benchmark)(
        benchmark_name=options.data / part.file, n_samples=sample, seed=SEED
    )
    of_model = {"model": options.model.name, "head": options.head}
    names = [str(row[bench.index_name]) for row in bench.ground_truth]
    ledger = Ledger(output.with_suffix(".json"), of_model | {"sample": sample, "seed": SEED})
    if all(name in ledger.rows for name in names):
        return {name: ledger.rows[name] for name in names}
    calculator = DPA4Calculator(options.model, head=options.head)
    if "structure" in bench.properties:
        elements = Ledger(written(options.output, "elements").with_suffix(".json"), of_model)
        compute_property, between = energetics(bench, calculator, elements), distance()
    else:
        compute_property, between = bench.get_prop_calc(calculator, **bench.kwargs), None

    def compute(name: str) -> Row:
        index = names.index(name)
        predicted = bench.process_result(compute_property.calc(bench.structures[index]), "model")
        row = row_of(bench.ground_truth[index], predicted, part.values)
        if between is not None:
            row["distance"] = between(predicted["structure_model"], bench.ground_truth[index]["structure_DFT"])
        return row

    return ledger.fill(names, compute)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="checkpoint .pt, or frozen file .pth or .pt2")
    parser.add_argument("--head", help="branch of a multi-task checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder matcalc")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sample", type=int, help="crystals of each part; default: all, 500 and 200")
    parser.add_argument("-o", "--output", type=Path, default=Path("matcalc_bench"), help="results without suffix")
    options = parser.parse_args(arguments)
    for name in options.parts:
        rows = run(PARTS[name], options, written(options.output, name))
        draw(rows, PARTS[name].values, written(options.output, name).with_suffix(".png"))
    heads = ("d", "E_form (meV/atom)", "K (GPa)", "G (GPa)", "C_V (J/mol/K)")
    published = {model: dict(zip(heads, values)) for model, values in PUBLISHED.items()}
    page = errors_page(options.output) + "\n\nPublished:\n\n" + table(published, dict(zip(heads, heads)), "model")
    options.output.with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
