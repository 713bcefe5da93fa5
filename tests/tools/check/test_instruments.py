"""Every instrument passes a sound potential and finds the fault that it is for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deepmd_dpa4.inference.structure import Structure
from deepmd_dpa4.tools.check.choice import choose_pairs
from deepmd_dpa4.tools.check.curvature import Curvature
from deepmd_dpa4.tools.check.cutoff import CutoffContinuity
from deepmd_dpa4.tools.check.dynamics import Dynamics
from deepmd_dpa4.tools.check.extensivity import SizeConsistency
from deepmd_dpa4.tools.check.force_errors import ForceErrors
from deepmd_dpa4.tools.check.hill_climb import HillClimb
from deepmd_dpa4.tools.check.instrument import Context, Outcome, Sample, Verdict
from deepmd_dpa4.tools.check.pairs import PairSurvey
from deepmd_dpa4.tools.check.samples import generated_samples
from deepmd_dpa4.tools.check.suite import ALL
from deepmd_dpa4.tools.check.symmetry import Symmetry
from deepmd_dpa4.tools.check.trimers import Trimers
from tests.tools.check.analytic import Analytic

COPPER = 2.64
"""Distance at rest of two copper atoms, Angstrom."""


def sound(*elements: str, **faults: Any) -> Analytic:
    return Analytic(list(elements or ("Cu",)), **faults)


def context(*elements: str, **changes: Any) -> Context:
    names = list(elements or ("Cu",))
    pairs = choose_pairs(names, 24)
    samples = generated_samples(names, pairs, seed=1)[::2]
    return replace(Context(names, pairs, samples, steps=40), **changes)


def dimer(distance: float, symbol: str = "Cu") -> Sample:
    return Sample("stretched", Structure([symbol, symbol], [[0, 0, 0], [0, 0, distance]]))


def assert_fails(outcome: Outcome, *words: str) -> None:
    assert outcome.verdict is Verdict.FAIL
    for word in words:
        assert any(word in text for text in outcome.found), (word, outcome.found)


@pytest.mark.parametrize("instrument", ALL, ids=lambda instrument: instrument.name)
@pytest.mark.parametrize("elements", [("Cu",), ("O", "H")], ids="-".join)
def test_a_sound_potential_passes(instrument: Any, elements: tuple[str, ...]) -> None:
    model, given = sound(*elements), context(*elements)
    labelled = [
        replace(sample, forces=found.forces + np.random.default_rng(0).normal(scale=0.1, size=found.forces.shape))
        for sample, found in zip(given.samples, model.evaluate([sample.structure for sample in given.samples]))
    ]
    outcome = instrument.run(model, replace(given, labelled=labelled))
    assert outcome.verdict is Verdict.PASS, outcome.found
    assert outcome.numbers and all(np.isfinite(value) for value in outcome.numbers.values())
    assert outcome.plots


# numpy warns of the numbers that are planted here
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("instrument", ALL, ids=lambda instrument: instrument.name)
def test_numbers_that_are_not_finite_fail(instrument: Any) -> None:
    given = context(samples=[dimer(2.5)], labelled=[replace(dimer(2.5), forces=np.zeros((2, 3)))])
    assert instrument.run(sound(broken=True), given).verdict is Verdict.FAIL


@pytest.mark.parametrize("instrument", ALL, ids=lambda instrument: instrument.name)
def test_nothing_to_run_on(instrument: Any) -> None:
    outcome = instrument.run(sound(), Context([], [], []))
    assert outcome.verdict is Verdict.NOT_RUN
    assert outcome.found


class TestPairs:
    def run(self, model: Analytic, *elements: str) -> Outcome:
        return PairSurvey(step=0.01).run(model, context(*elements, samples=[]))

    def test_hole(self) -> None:
        """Named with pair and depth, and nothing is said about the other pairs."""
        height = -1.0e3
        model = sound("O", "H", bump=(height, 0.4, 0.05), bumped=frozenset("OH"))
        outcome = self.run(model, "O", "H")
        assert_fails(outcome, "O-H: hole of")
        assert all(text.startswith("O-H") for text in outcome.found)
        r = np.arange(0.3, 7.0, 0.01)
        pairs = [Structure(["O", "H"], [[0, 0, 0], [0, 0, x]]) for x in r]
        energy = np.array([found.energy for found in model.evaluate(pairs)])
        depth = energy[r >= 0.6 * 0.97].min() - energy[r < 0.6 * 0.97].min()
        assert outcome.numbers["deepest hole (eV)"] == pytest.approx(depth, rel=1e-6)
        assert outcome.numbers["pairs with holes"] == outcome.numbers["pairs with faults"] == 1

    def test_extra_minimum(self) -> None:
        assert_fails(self.run(sound(bump=(-1.0, 3.6, 0.1))), "Cu-Cu: 2 minima, at 2.5")

    def test_collapse(self) -> None:
        """An energy that falls towards the shortest distance is a minimum there."""
        assert_fails(self.run(sound(bump=(-1e5, 0.0, 0.4))), "at 0.30 A")

    def test_hump_and_force_in_the_tail(self) -> None:
        model = sound(bump=(10.0, 4.3, 0.05))
        assert_fails(self.run(model), "eV in the tail, at 4.4", "where two unit charges have")

    def test_hydrogen_molecule(self) -> None:
        assert_fails(self.run(sound("H", bump=(-1.5, 0.74, 0.5)), "H"), "H-H: the molecule is")

    def test_unbound(self) -> None:
        assert_fails(self.run(sound(depth=1e-3)), "Cu-Cu: no minimum")

    def test_reference_is_drawn(self) -> None:
        from deepmd_dpa4.tools.check.instrument import Reference

        reference = {("H", "O"): Reference(np.array([1.0, 2.0]), np.array([-4.0, -1.0]))}
        given = context("O", "H", samples=[], references=reference)
        plots = PairSurvey(step=0.05).run(sound("O", "H"), given).plots
        named = {plot.title.split(",")[0]: [line.name for line in plot.lines] for plot in plots}
        assert named["O-H"] == ["model", "ZBL", "reference"]
        assert named["O-O"] == ["model", "ZBL"]


def test_trimers() -> None:
    assert_fails(Trimers().run(sound(three=-1e6), context()), "Cu-Cu with Cu at 90 degrees")


def test_curvature() -> None:
    """A ripple of a width that no bond has."""
    assert_fails(Curvature().run(sound(bump=(0.5, 2.5, 0.01)), context()), "crystal of Cu", "eV/A^2")


def test_hill_climb() -> None:
    """A needle beside the structure, which the structure itself does not feel."""
    given = context(samples=[dimer(2.8)])
    assert HillClimb().run(sound(), given).numbers["largest factor"] < 3
    assert_fails(HillClimb().run(sound(bump=(2.0, 2.85, 0.01)), given), "stretched: largest force grows")


class TestErrors:
    def run(self, *errors: float) -> Outcome:
        model, sample = sound(), dimer(2.5)
        exact = model.evaluate([sample.structure])[0].forces
        labelled = []
        for number, error in enumerate(errors):
            forces = exact.copy()
            forces[0] += error
            labelled.append(replace(sample, name=f"frame {number}", forces=forces))
        return ForceErrors().run(model, context(labelled=labelled))

    def test_needle(self) -> None:
        outcome = self.run(*[0.1] * 20, 200.0)
        assert_fails(outcome, "frame 20, atom 0 (Cu): error 346.4 eV/A", "RMSE/MAE is")
        assert outcome.numbers["largest error of an atom (eV/A)"] == pytest.approx(200 * 3**0.5)

    def test_ratio(self) -> None:
        outcome = self.run(*[0.1] * 50, 5.0)
        assert_fails(outcome, "RMSE/MAE is")
        rmse = np.sqrt((50 * 0.01 + 25) / 102)
        assert outcome.numbers["force RMSE (eV/A)"] == pytest.approx(rmse)
        assert outcome.numbers["force MAE (eV/A)"] == pytest.approx(10 / 102)


class TestDynamics:
    def test_forces_that_are_no_gradient(self) -> None:
        across = Sample("turning", Structure(["Cu", "Cu"], [[0, 0, 0], [2.6, 0, 0]]))
        assert_fails(Dynamics().run(sound(twist=0.05), context(samples=[across], steps=300)), "total energy drifts")

    def test_collapse(self) -> None:
        model = sound(bump=(-200.0, 2.2, 0.2))
        assert_fails(Dynamics().run(model, context(samples=[dimer(2.75)], steps=400)), "force of")

    def test_longer_steps_for_heavier_atoms(self) -> None:
        given = context(samples=[dimer(2.6), dimer(0.74, "H")], steps=4, temperatures=(300.0,))
        energies = Dynamics().run(sound("Cu", "H"), given).plots[0]
        assert sorted(line.x[-1] for line in energies.lines) == pytest.approx([1.0, 4.0])


def test_size() -> None:
    assert_fails(SizeConsistency().run(sound(crowd=1e-6), context()), "twice the system")


@pytest.mark.parametrize(("fault", "kind"), [("slant", "rotation"), ("order", "permutation")])
def test_symmetry(fault: str, kind: str) -> None:
    outcome = Symmetry().run(sound(**{fault: 1e-4}), context())
    assert_fails(outcome, f"{kind} changes energies")
    (other,) = {"rotation", "permutation"} - {kind}
    assert not any(other in text for text in outcome.found)


def test_cutoff() -> None:
    """A pair potential that is cut off, with its energy of 2 exp(-2 (5 - 2.64)) eV."""
    outcome = CutoffContinuity().run(sound(cut=True), context())
    assert_fails(outcome, "Cu-Cu: steps of")
    assert outcome.numbers["largest step of the energy (meV)"] == pytest.approx(
        2000 * np.exp(-2 * (5 - COPPER)), rel=0.2
    )
