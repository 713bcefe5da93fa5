"""The torch-sim model: its validator, and agreement with ASE, one system at a time."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100, molecule

from deepmd_dpa4.engines.ase import DPA4Calculator
from tests.engines.conftest import MakeModel
from tests.engines.test_ase import alloy_cell
from tests.support.commands import dp
from tests.support.official import needs_charge_spin

ts = pytest.importorskip("torch_sim", reason="needs torch-sim (extra `torchsim`, Python 3.11 or newer)")

from torch_sim.models.interface import validate_model_outputs  # noqa: E402

from deepmd_dpa4.engines.torchsim import DPA4Model  # noqa: E402

NEW = hasattr(ts, "Integrator")
"""Whether integrators and optimizers are members of enumerations, as since version 0.4, or functions."""

NVE = ts.Integrator.nve if NEW else ts.nve
CPU = torch.device("cpu")


def systems() -> list[Atoms]:
    """Different sizes, shapes and compositions."""
    return [alloy_cell(), bulk("Cu", a=3.7), bulk("Al", a=4.1, cubic=True) * (2, 1, 1)]


@pytest.fixture(scope="module")
def model(alloy: Path) -> DPA4Model:
    return DPA4Model(alloy, device="cpu")


def state_of(atoms: list[Atoms]) -> "ts.SimState":
    return ts.io.atoms_to_state(atoms, CPU, torch.float64)


def batcher(model: DPA4Model) -> "ts.InFlightAutoBatcher":
    """One of our two systems at a time."""
    return ts.InFlightAutoBatcher(model, memory_scales_with="n_atoms", max_memory_scaler=8, max_iterations=None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_validator_of_torch_sim(make_model: MakeModel, dtype: torch.dtype) -> None:
    everything = make_model(("Si", "Fe", "Mg", "C", "H"))
    validate_model_outputs(DPA4Model(everything, device=CPU, dtype=dtype), CPU, dtype)


def test_same_as_ase(alloy: Path, model: DPA4Model) -> None:
    made = systems()
    found = model(state_of(made))
    calculator = DPA4Calculator(alloy)
    forces = found["forces"].split([len(atoms) for atoms in made])
    for index, atoms in enumerate(made):
        atoms.calc = calculator
        assert float(found["energy"][index]) == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
        np.testing.assert_allclose(forces[index], atoms.get_forces(), atol=1e-9)
        np.testing.assert_allclose(found["stress"][index], atoms.get_stress(voigt=False), atol=1e-9)


def test_frozen_file(alloy: Path, model: DPA4Model) -> None:
    dp("freeze", "-c", alloy.name, "-o", "model.pth", folder=alloy.parent)
    state = state_of(systems())
    frozen, expected = DPA4Model(alloy.with_name("model.pth"), device="cpu")(state), model(state)
    for name, value in expected.items():
        torch.testing.assert_close(frozen[name], value)


def test_one_call_of_the_network(model: DPA4Model, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, forward = [], model.potential.forward_systems
    spy = SimpleNamespace(forward_systems=lambda *args: calls.append(args[2]) or forward(*args))
    monkeypatch.setitem(model._modules, "potential", None)
    monkeypatch.setitem(model.__dict__, "potential", spy)
    model(state_of(systems()))
    assert calls == [3]


def test_switches(alloy: Path) -> None:
    model = DPA4Model(alloy, compute_forces=False, compute_stress=False)
    state = state_of(systems())
    assert set(model(state)) == {"energy"}
    model.compute_stress = model.compute_forces = True
    assert set(model(state)) == {"energy", "forces", "stress"}


def test_molecules_have_no_stress(make_model: MakeModel) -> None:
    model = DPA4Model(make_model(("O", "H")), device="cpu")
    assert float(model(state_of([molecule("H2O")]))["stress"].abs().max()) == 0


# the last state has neither charge nor spin
@pytest.mark.filterwarnings("ignore:the state has no `charge` and `spin`:UserWarning")
@needs_charge_spin
def test_charge_and_spin(make_model: MakeModel) -> None:
    """Extras of the state, each system with its own."""
    path = make_model(("O", "H"), add_chg_spin_ebd=True, default_chg_spin=[0.0, 1.0])
    model, water = DPA4Model(path, device="cpu"), molecule("H2O")
    state = state_of([water, water])
    neutral = model(state)["energy"]
    extras = {"charge": torch.tensor([1.0, 0.0]), "spin": torch.tensor([2.0, 1.0])}
    if NEW:
        state.system_extras.update(extras)
    else:
        vars(state).update(extras)
    found = model(state)["energy"]
    water.info = {"charge": 1, "spin": 2}
    water.calc = DPA4Calculator(path)
    assert float(found[0]) == pytest.approx(water.get_potential_energy(), rel=1e-10)
    assert found[0] != neutral[0]
    assert float(found[1]) == pytest.approx(float(neutral[1]), rel=1e-10)


def with_extras(state: "ts.SimState", charge: list[float], spin: list[float]) -> "ts.SimState":
    extras = {"charge": torch.tensor(charge), "spin": torch.tensor(spin)}
    if NEW:
        state.system_extras.update(extras)
    else:
        vars(state).update(extras)
    return state


@needs_charge_spin
def test_zeros_are_no_spin(make_model: MakeModel) -> None:
    """Versions of torch-sim fill them in; the default of the model stands for them."""
    path = make_model(("O", "H"), add_chg_spin_ebd=True, default_chg_spin=[0.0, 1.0])
    model, water = DPA4Model(path, device="cpu"), molecule("H2O")
    water.calc = DPA4Calculator(path)
    neutral = water.get_potential_energy()
    water.info = {"charge": 1, "spin": 2}
    charged = water.get_potential_energy()
    for charge, spin, expected in (
        ([0.0, 0.0], [0.0, 0.0], [neutral, neutral]),
        ([1.0, 0.0], [2.0, 0.0], [charged, neutral]),
    ):
        found = model(with_extras(state_of([water, water]), charge, spin))["energy"]
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    with pytest.raises(ValueError, match="spin must be a multiplicity, 1 or more"):
        model(with_extras(state_of([water]), [1.0], [0.0]))
    water.info = {"charge": 0, "spin": 0}
    with pytest.raises(ValueError, match="an integer spin multiplicity from 1 to 99"):
        water.get_potential_energy()


@needs_charge_spin
@pytest.mark.skipif(NEW, reason="states carry charge and spin")
def test_conditions_that_do_not_arrive_are_warned_of(make_model: MakeModel) -> None:
    model = DPA4Model(make_model(("O", "H"), add_chg_spin_ebd=True, default_chg_spin=[0.0, 1.0]), device="cpu")
    water = molecule("H2O")
    water.info = {"charge": 1, "spin": 2}
    with pytest.warns(UserWarning, match="the default of the model is used"):
        model(state_of([water]))


@pytest.mark.parametrize("vacuum", [8.0, None])
def test_slabs(vacuum: float | None, alloy: Path, model: DPA4Model, recwarn: pytest.WarningsRecorder) -> None:
    """The energy of ASE, or a warning where torch-sim has dropped the periodicity."""
    slab = fcc100("Cu", (2, 2, 3), vacuum=vacuum)
    slab.rattle(0.05, seed=1)
    found = float(model(state_of([slab]))["energy"])
    warned = [str(item.message) for item in recwarn if "drops the periodicity of slabs" in str(item.message)]
    slab.calc = DPA4Calculator(alloy)
    if warned:
        slab.pbc = False
    assert found == pytest.approx(slab.get_potential_energy(), rel=1e-10)
    recwarn.clear()
    model(state_of([Atoms("Cu2", [[0, 0, 0], [2.4, 0, 0]])]))
    model(state_of(systems()))
    assert not [item for item in recwarn if "drops the periodicity" in str(item.message)]


def test_molecules_in_automatic_batches(model: DPA4Model) -> None:
    """They have no volume, by which torch-sim would divide; results are those of one molecule at a time."""
    made = [Atoms(f"Cu{n}", [[2.4 * k, 0.1 * k * k, 0] for k in range(n)]) for n in (3, 5, 8)]
    options = {"memory_scales_with": model.memory_scales_with, "max_memory_scaler": 9}
    ts.InFlightAutoBatcher(model, **options).load_states(state_of(made))
    batches = ts.BinningAutoBatcher(model, **options)
    batches.load_states(state_of(made))
    states = [batch[0] if isinstance(batch, tuple) else batch for batch in batches]
    assert len(states) == 2
    together = torch.cat([model(state)["energy"] for state in states]).sort().values
    alone = torch.cat([model(state_of([one]))["energy"] for one in made]).sort().values
    torch.testing.assert_close(together, alone)


def test_energy_is_conserved(model: DPA4Model) -> None:
    """By two systems at once, in 40 steps of 0.5 fs; heat flows between kinetic and potential energy meanwhile."""
    totals, kinetic = [], []
    for steps in (1, 40):
        torch.manual_seed(0)
        state = ts.integrate(systems()[:2], model, integrator=NVE, n_steps=steps, temperature=200.0, timestep=5e-4)
        kinetic.append(torch.stack([0.5 * (one.momenta**2 / one.masses[:, None]).sum() for one in state.split()]))
        totals.append(state.energy + kinetic[-1])
    flow = (kinetic[1] - kinetic[0]).abs()
    assert float(flow[0]) > 1e-2
    assert bool(((totals[1] - totals[0]).abs() < 0.02 * flow[0]).all())


@pytest.mark.filterwarnings("ignore:.*reached (the maximum number of|max) steps")
def test_relaxation_in_batches(model: DPA4Model) -> None:
    """Cells too, and the memory of a batch limited."""
    made = [alloy_cell(), alloy_cell() * (2, 1, 1)]
    before = model(state_of(made))
    arguments = {"optimizer": ts.Optimizer.fire, "init_kwargs": {"cell_filter": ts.CellFilter.frechet}} if NEW else {}
    state = ts.optimize(
        made, model, **(arguments or {"optimizer": ts.frechet_cell_fire}), max_steps=10, autobatcher=batcher(model)
    )
    assert bool((state.energy < before["energy"] - 1e-3).all())
    assert not torch.allclose(state.cell, state_of(made).cell)


def test_errors(make_model: MakeModel, model: DPA4Model) -> None:
    with pytest.raises(ValueError, match=r"has an atom 'Fe' but must have those of the model: .*'Cu', 'Al'"):
        model(state_of([bulk("Fe")]))
    with pytest.raises(ValueError, match="must be one without `fparam`"):
        DPA4Model(make_model(fitting={"numb_fparam": 1}))
    with pytest.raises(TypeError, match="arguments skin are given"):
        model(state_of(systems()), skin=1)
