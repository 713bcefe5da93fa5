"""Benchmarks of materials: their formulas, and that they go on where they were."""

import gzip
import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from deepmd_dpa4.inference.evaluator import Evaluator
from tests.support.commands import ROOT
from tests.support.runs import Run

FOLDER = ROOT / "benchmarks" / "materials"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts find each other as when they are run."""
    monkeypatch.syspath_prepend(str(FOLDER))


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


class TestCombinedScore:
    def test_published_rows(self) -> None:
        module = script("combined_score")
        assert len(module.PUBLISHED) == 4
        for entry in module.PUBLISHED:
            assert round(module.score(entry.f1, entry.srme, entry.rmsd), 3) == entry.published, entry.model

    def test_ends_of_the_scale(self) -> None:
        score = script("combined_score").score
        assert score(1, 0, 0) == pytest.approx(1)
        assert score(0, 2, 0.15) == score(0, 5, 1) == pytest.approx(0)

    @pytest.mark.parametrize("parts", [(1.1, 0, 0), (0.5, -1, 0), (0.5, 0, float("nan"))])
    def test_wrong_numbers(self, parts: tuple[float, float, float]) -> None:
        with pytest.raises(ValueError, match="must be"):
            script("combined_score").score(*parts)


class TestLedger:
    def test_goes_on(self, tmp_path: Path) -> None:
        """What is there is not computed again, and a failure stays with its reason."""
        done = []

        def compute(name: str) -> dict[str, float]:
            done.append(name)
            if name == "Rn":
                raise ValueError("no data")
            return {"value": float(len(name))}

        ledger = script("ledger").Ledger
        ledger(tmp_path / "a.json", {"model": "a"}).fill(["H", "Rn"], compute)
        rows = ledger(tmp_path / "a.json", {"model": "a"}).fill(["H", "Rn", "He"], compute)
        assert done == ["H", "Rn", "He"]
        assert (rows["He"]["value"], rows["Rn"]["failed"]) == (2.0, "ValueError: no data")

    def test_another_model(self, tmp_path: Path) -> None:
        ledger = script("ledger").Ledger
        ledger(tmp_path / "a.json", {"model": "a"}).fill(["H"], lambda name: {})
        with pytest.raises(ValueError, match="move it away"):
            ledger(tmp_path / "a.json", {"model": "b"})

    def test_table(self) -> None:
        text = script("ledger").table({"Si": {"a": 1.23456, "b": "x"}, "C": {}}, {"a": "A", "b": "B"}, "element")
        assert text.splitlines() == ["| element | A | B |", "|---|---|---|", "| Si | 1.235 | x |", "| C | - | - |"]


class TestElements:
    def test_shape_of_a_bond(self) -> None:
        r = np.linspace(0.7, 6, 300)
        found = script("curves_of_elements").shape((1 - np.exp(-2 * (r - 1.2))) ** 2 - 1)
        assert (found.tortuosity, found.turns) == (pytest.approx(1), 1)

    def test_shape_with_a_bump(self) -> None:
        """Down by 3, up by 1, down by 1, up by 2: 7 where 3 + 2 would do."""
        energy = np.concatenate(
            [np.linspace(3, 0, 31), np.linspace(0, 1, 11)[1:], np.linspace(1, 0, 11)[1:], np.linspace(0, 2, 21)[1:]]
        )
        found = script("curves_of_elements").shape(energy)
        assert (found.tortuosity, found.turns, found.jump) == (pytest.approx(7 / 5), 3, pytest.approx(0.6))

    def test_pair_of_a_model(self, trained: Run) -> None:
        row = script("curves_of_elements").pair_row(Evaluator(trained.checkpoint), "O")
        assert row["tortuosity"] >= 1 - 1e-6
        assert len(row["energy"]) == len(row["distance"])
        assert row["force_minus_slope"] < 0.05 * max(1.0, np.ptp(row["energy"]))


class TestConductivity:
    def of(self, modes: list[list[float]], frequencies: list[list[float]] | None = None) -> object:
        module = script("conductivity")
        values = np.array(modes)
        return module.Conductivity(values.sum() / 8, values, np.array(frequencies or np.ones_like(values)))

    def test_errors(self) -> None:
        """Errors of modes that cancel in the sum count in SRME alone."""
        errors = script("conductivity").errors
        reference = self.of([[4.0, 0, 2], [1, 1, 0]])
        assert errors(reference, reference, 8) == (0, 0)
        assert errors(self.of([[2.0, 2, 2], [1, 1, 0]]), reference, 8) == (0, pytest.approx(2 * 4 / 16))
        assert errors(self.of([[12.0, 0, 6], [3, 3, 0]]), reference, 8) == (pytest.approx(1), pytest.approx(1))

    def test_imaginary(self) -> None:
        acoustic = [[-5e-3, 0, 1e-3, 4], [1, 2, 3, 4]]
        modes = np.ones((2, 4)).tolist()
        assert not self.of(modes, acoustic).imaginary  # type: ignore[attr-defined]
        for place, value in (((0, 0), -2e-2), ((0, 3), -1e-3), ((1, 0), -1e-6)):
            frequencies = np.array(acoustic)
            frequencies[place] = value
            assert self.of(modes, frequencies.tolist()).imaginary  # type: ignore[attr-defined]

    def test_references(self, tmp_path: Path) -> None:
        columns = {
            "name": {"0": "ZnS", "1": "ZnS"},
            "symm.no": {"0": 216, "1": 186},
            "mode_kappa_TOT_ave": {"0": [[[8.0, 16.0]]], "1": [[[8.0, 0.0]]]},
            "frequencies": {"0": [[1.0, 2.0]], "1": [[1.0, 2.0]]},
            "kappa_TOT_ave": {"0": [3.0], "1": [1.0]},
        }
        with gzip.open(tmp_path / "k.json.gz", "wt") as file:
            json.dump(columns, file)
        found = script("conductivity").references(tmp_path / "k.json.gz")
        assert {name: item.total for name, item in found.items()} == {"ZnS-zincblende": 3.0, "ZnS-wurtzite": 1.0}
        assert found["ZnS-zincblende"].modes.tolist() == [[8.0, 16.0]]

    def test_aluminium_by_embedded_atoms(self) -> None:
        """The modes add up, the crystal is stable, and a relaxed crystal keeps its symmetry."""
        pytest.importorskip("phono3py")
        from ase.build import bulk
        from ase.calculators.emt import EMT

        module = script("conductivity")
        atoms = bulk("Al", cubic=True)
        atoms.calc = EMT()
        assert module.relax(atoms)

        def forces(structures: list) -> list[np.ndarray]:
            for structure in structures:
                structure.calc = EMT()
            return [structure.get_forces() for structure in structures]

        twice = np.diag([2, 2, 2])
        settings = {
            "fc2_supercell": twice,
            "fc3_supercell": twice,
            "primitive_matrix": [[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]],
            "q_mesh": [5, 5, 5],
        }
        found = module.conductivity(atoms, settings, forces)
        assert not found.imaginary
        assert found.modes.shape == found.frequencies.shape
        assert found.modes.sum() / 125 == pytest.approx(found.total)
        assert 1 < found.total < 100


class TestMatcalc:
    def test_row(self) -> None:
        module = script("matcalc_bench")
        truth = {"formula": "NaCl", "bulk_modulus_vrh_DFT": 24.0, "mp_id": "mp-22862"}
        row = module.row_of(truth, {"bulk_modulus_vrh_model": 25.5}, {"bulk_modulus_vrh": "GPa"})
        assert row == {"formula": "NaCl", "bulk_modulus_vrh_DFT": 24.0, "bulk_modulus_vrh": 25.5}
        with pytest.raises(ValueError, match="no bulk_modulus_vrh"):
            module.row_of(truth, {"bulk_modulus_vrh_model": float("nan")}, {"bulk_modulus_vrh": "GPa"})

    def test_most_stable_crystals(self) -> None:
        rows = {"Fe 0": {"energy_per_atom": -8.0}, "Fe 1": {"energy_per_atom": -8.2}, "Fe 2": {"failed": "no"}}
        rows |= {"B 0": {"failed": "no"}}
        found = script("matcalc_bench").lowest_energies(rows)
        assert found == {"Fe": {"energy_per_atom": -8.2}, "B": {"energy_per_atom": np.inf}}

    def test_elements_are_kept(self, tmp_path: Path) -> None:
        """A second run relaxes no crystal of an element again, and finds the same formation energies."""
        matcalc = pytest.importorskip("matcalc")
        from types import SimpleNamespace

        from ase.build import bulk
        from ase.calculators.emt import EMT

        bench = SimpleNamespace(structures=[matcalc.utils.to_pmg_structure(bulk("Cu"))], kwargs={})
        module, ledger = script("matcalc_bench"), script("ledger").Ledger
        first = module.energetics(bench, EMT(), ledger(tmp_path / "e.json", {})).elemental_refs
        second = module.energetics(bench, None, ledger(tmp_path / "e.json", {})).elemental_refs
        assert first == second
        assert first["Cu"]["energy_per_atom"] == pytest.approx(0, abs=0.02)

    def test_failures_do_not_enter_the_mean(self) -> None:
        rows = {"a": {"k_DFT": 1.0, "k": 2.0}, "b": {"failed": "no"}, "c": {"k_DFT": 1.0, "k": -2.0}}
        assert script("matcalc_bench").mean_errors(rows, {"k": "GPa"}) == {"k": 2.0}

    def test_page_has_parts_of_earlier_runs(self, tmp_path: Path) -> None:
        rows = {"a": {"heat_capacity_DFT": 20.0, "heat_capacity": 23.0}, "b": {"failed": "no"}}
        (tmp_path / "mine_phonon.json").write_text(json.dumps({"rows": rows}))
        head, _, row = script("matcalc_bench").errors_page(tmp_path / "mine").splitlines()
        assert row == "| phonon | 2 | 1 | heat capacity 3 J/mol/K |"
        assert head.count("|") == row.count("|")
