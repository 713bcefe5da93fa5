"""Many structures of different sizes in one call."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Prediction, Structure
from tests.support import inputs
from tests.support.commands import dp
from tests.support.official import needs_charge_spin
from tests.support.predict import SINGLE, deep_pot, difference
from tests.support.runs import Data, Run, train
from tests.support.toy import toy_frames

CELL = np.array([[6.2, 0.0, 0.0], [0.4, 6.0, 0.0], [-0.3, 0.5, 5.8]])


@pytest.fixture(scope="module", params=["checkpoint", "frozen"])
def path(request: pytest.FixtureRequest, trained: Run) -> Path:
    return getattr(trained, request.param)


@pytest.fixture(scope="module")
def evaluator(path: Path) -> Evaluator:
    return Evaluator(path)


def structures(count: int = 9) -> list[Structure]:
    """Random ones of 1 to 8 atoms, every third without a cell."""
    rng = np.random.default_rng(3)
    made = []
    for number in range(count):
        symbols = rng.choice(["O", "H"], size=number % 8 + 1)
        made.append(Structure(symbols, rng.uniform(0, 6, (len(symbols), 3)), CELL if number % 3 else None))
    return made


def by_deep_pot(potential: Any, structure: Structure) -> Prediction:
    types = [["O", "H"].index(symbol) for symbol in structure.symbols]
    cell = None if structure.cell is None else np.asarray(structure.cell).reshape(1, 9)
    found = potential.eval(np.asarray(structure.positions)[None], cell, types, atomic=True)
    energy, force, virial, atom_energy, atom_virial = (value[0] for value in found[:5])
    return Prediction(energy[0], force, virial.reshape(3, 3), atom_energy[:, 0], atom_virial.reshape(-1, 3, 3))


def assert_equal(found: Prediction, expected: Prediction, limit: float = SINGLE) -> None:
    assert (found.atom_virials is None) == (expected.atom_virials is None)
    for name, value in vars(expected).items():
        if value is None:
            continue
        assert np.shape(getattr(found, name)) == np.shape(value), name
        scale = np.abs(value).max(initial=1e-2)
        assert np.abs(getattr(found, name) - value).max(initial=0) <= limit * scale, name


def test_same_as_deep_pot_one_by_one(path: Path, evaluator: Evaluator) -> None:
    made, potential = structures(), deep_pot(path)
    for structure, found in zip(made, evaluator.evaluate(made, atomic=True), strict=True):
        assert_equal(found, by_deep_pot(potential, structure))


def test_deterministic_and_independent_of_the_batch(
    path: Path, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = structures()
    first, again = (evaluator.evaluate(made, atomic=True) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        # TorchScript optimises, and rounds otherwise, after its first calls
        assert_equal(one, other, limit=SINGLE if path.suffix == ".pth" else 0.0)
    monkeypatch.setattr("deepmd_dpa4.inference.batched.TILE_EDGES", 30)
    for one, other in zip(first, evaluator.evaluate(made[::-1], atomic=True)[::-1], strict=True):
        assert_equal(one, other)


def test_one_call_for_a_batch(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    predict = evaluator.backend._evaluate
    monkeypatch.setattr(evaluator.backend, "_evaluate", lambda *args: calls.append(len(args[1])) or predict(*args))
    evaluator.evaluate(structures(20))
    assert calls == [20]


def test_no_structures_and_no_atoms(evaluator: Evaluator) -> None:
    assert evaluator.evaluate([]) == []
    made = [Structure([], np.zeros((0, 3)), CELL), structures(3)[2]]
    nothing, something = evaluator.evaluate(made)
    assert nothing.energy == 0
    assert nothing.forces.shape == (0, 3)
    assert_equal(something, evaluator.evaluate(made[1:])[0])
    assert nothing.atom_virials is None


def test_attributes(evaluator: Evaluator) -> None:
    assert evaluator.type_map == ["O", "H"]
    assert evaluator.rcut == 4.0
    assert evaluator.precision == "float32"


class TestPartialPeriodicity:
    """A slab or a wire is the same as a cell with enough vacuum, whatever its third vector."""

    def check(self, evaluator: Evaluator, pbc: tuple[bool, bool, bool], cell: np.ndarray, full: np.ndarray) -> None:
        rng = np.random.default_rng(1)
        positions = rng.uniform(0, 4, (5, 3)) + 20
        symbols = ["O", "H", "H", "O", "H"]
        made = [Structure(symbols, positions, cell, pbc), Structure(symbols, positions, full)]
        found, expected = evaluator.evaluate(made, atomic=True)
        assert_equal(found, expected)
        assert np.abs(expected.forces).max() > 1e-2

    @pytest.mark.parametrize("third", [(0, 0, 0), (0, 0, 2.0), (1.0, 2.0, 3.0)])
    def test_slab(self, evaluator: Evaluator, third: tuple[float, ...]) -> None:
        cell = np.array([[5.0, 1.0, 0.3], [0.2, 4.5, -0.4], third])
        full = np.array([cell[0], cell[1], [0, 0, 60.0]])
        self.check(evaluator, (True, True, False), cell, full)

    def test_wire(self, evaluator: Evaluator) -> None:
        cell = np.array([[0, 0, 0], [0.2, 4.5, -0.4], [0, 0, 1.0]])
        full = np.array([[50.0, 0, 0], cell[1], [0, 0, 60.0]])
        self.check(evaluator, (False, True, False), cell, full)

    def test_cell_without_periodicity(self, evaluator: Evaluator) -> None:
        one = structures(2)[1]
        open_, none = evaluator.evaluate(
            [Structure(one.symbols, one.positions, CELL, (False,) * 3), Structure(one.symbols, one.positions)]
        )
        assert_equal(open_, none)


class TestErrors:
    def test_unknown_element(self, evaluator: Evaluator) -> None:
        made = [structures(1)[0], Structure(["O", "Xe"], np.zeros((2, 3)))]
        with pytest.raises(ValueError, match=r"structure 1 has an atom 'Xe' but must have those of .*: O, H"):
            evaluator.evaluate(made)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"cell": np.zeros((3, 3))}, "structure 0: `box` of frame 0 has volume 0"),
            ({"cell": np.diag([3, 0, 3.0]), "pbc": (True, True, False)}, "neither zero nor parallel"),
            ({"pbc": (True, False, False)}, r"`pbc` is \(True, False, False\) but there is no cell"),
            ({"fparam": [1.0]}, "structure 0 has `fparam` but .* knows no such condition"),
            ({"charge_spin": [1.0, 1.0]}, "structure 0 has `charge_spin` but .* knows no such condition"),
        ],
    )
    def test_bad_structures(self, evaluator: Evaluator, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            evaluator.evaluate([Structure(["O"], np.zeros((1, 3)), **arguments)])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"positions": np.zeros((2, 3))}, r"`positions` has shape \(2, 3\) but must have \(1, 3\)"),
            ({"positions": np.full((1, 3), np.nan)}, "`positions` holds numbers that are not finite"),
            ({"positions": np.zeros((1, 3)), "cell": np.eye(2)}, r"`cell` has shape \(2, 2\)"),
            ({"positions": np.zeros((1, 3)), "pbc": (True,)}, "must hold three booleans"),
            *(
                ({"positions": np.zeros((1, 3)), "charge_spin": state}, "must hold an integer charge from -100 to 99")
                for state in ([0.5, 1], [-0.99, 1], [1, 1.9], [0, 0], [100, 1], [-101, 1], [0, 100])
            ),
        ],
    )
    def test_malformed_structures(self, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Structure(["O"], **arguments)

    def test_files_and_heads(self, trained: Run, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="but there is no such file"):
            Evaluator(tmp_path / "model.pth")
        with pytest.raises(ValueError, match=r"must end in one of .pt, .pth, .pt2"):
            Evaluator(tmp_path / "model.pb")
        with pytest.raises(ValueError, match="`head` is 'one' but must be None"):
            Evaluator(trained.checkpoint, head="one")


@pytest.mark.parametrize("multi", [False], indirect=True)
def test_heads(multi: Run) -> None:
    one, two = (Evaluator(multi.checkpoint, head=head).evaluate(structures(3)) for head in ("one", "two"))
    assert one[2].energy != two[2].energy
    for head in (None, "three"):
        with pytest.raises(ValueError, match=f"`head` is {head!r}.*one.*two"):
            Evaluator(multi.checkpoint, head=head)


@pytest.fixture(scope="module")
def conditioned(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model that asks for everything, and has a default for charge and spin."""
    content = {
        "model": inputs.model(
            {"add_chg_spin_ebd": True, "default_chg_spin": [0.0, 1.0]}, {"numb_fparam": 1, "numb_aparam": 1}
        )
    } | inputs.training(data.train, data.valid, 10, 1e-2)
    run = train(tmp_path_factory.mktemp("conditioned"), content)
    dp("freeze", "-o", "model.pth", folder=run.folder)
    return run


@needs_charge_spin
@pytest.mark.parametrize("kind", ["checkpoint", "frozen"])
def test_conditions(conditioned: Run, kind: str) -> None:
    """Each structure has its own, and charge and spin of the second one are the defaults."""
    path = getattr(conditioned, kind)
    rng = np.random.default_rng(2)
    frames = toy_frames(3, seed=4)
    charges = [[1.0, 2.0], None, [0.0, 1.0]]
    made = [
        Structure(list("OHHOHH"), frames.coord[i], frames.cell[i], None, rng.random(1), rng.random((6, 1)), charges[i])
        for i in range(3)
    ]
    potential = deep_pot(path)
    for one, found in zip(made, Evaluator(path).evaluate(made), strict=True):
        charge = None if one.charge_spin is None else np.asarray(one.charge_spin)[None]
        conditions = {"fparam": np.asarray(one.fparam)[None], "aparam": np.asarray(one.aparam)[None]}
        expected = potential.eval(
            one.positions[None], one.cell.reshape(1, 9), [0, 1, 1, 0, 1, 1], charge_spin=charge, **conditions
        )
        assert found.energy == pytest.approx(expected[0][0, 0], rel=1e-6)
        assert difference(found.forces, expected[1][0]) < SINGLE
    bare = Structure(made[0].symbols, made[0].positions)
    with pytest.raises((ValueError, torch.jit.Error), match=r"needs `[fa]param`"):
        Evaluator(path).evaluate([bare])
    short = Structure(made[0].symbols, made[0].positions, fparam=[1.0, 2.0], aparam=made[0].aparam)
    with pytest.raises(ValueError, match=r"`fparam` of structure 0 has shape \(2,\) but must have \(1,\)"):
        Evaluator(path).evaluate([short])


def test_files_of_other_models(data: Data, tmp_path: Path) -> None:
    """They go through DeePMD-kit, structures of one size together."""
    section = {"type_map": ["O", "H"], "descriptor": inputs.SE_A, "fitting_net": {"neuron": [8], "seed": 1}}
    run = train(tmp_path, {"model": section} | inputs.training(data.train))
    dp("freeze", "-o", "model.pth", folder=tmp_path)
    made = structures()
    slab = Structure(["O", "H"], [[0, 0, 0], [1, 0.2, 3.0]], np.diag([4.0, 5.0, 0.0]), (True, True, False))
    for path in (run.checkpoint, run.frozen):
        potential = deep_pot(path)
        *found, last = Evaluator(path).evaluate([*made, slab], atomic=True)
        for one, prediction in zip(made, found, strict=True):
            assert_equal(prediction, by_deep_pot(potential, one))
        full = Structure(slab.symbols, slab.positions, np.diag([4.0, 5.0, 30.0]))
        assert_equal(last, by_deep_pot(potential, full))


def test_scripts_run_as_written_on_cpus(trained: Run) -> None:
    """Optimising one takes the first two calls ten seconds or more."""
    evaluator, optimised = Evaluator(trained.frozen), []
    model = evaluator.backend.model

    class Noting:
        def __getattr__(self, name: str) -> Any:
            optimised.append(torch._C._get_graph_executor_optimize())
            return getattr(model, name)

    evaluator.backend.model = Noting()
    with torch.jit.optimized_execution(True):
        evaluator.evaluate(structures(3))
    assert optimised and set(optimised) == {evaluator.device.type != "cpu"}
