"""``pair_style deepmd`` on several ranks equals one rank: first step and dynamics, both kernels, with tiles."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.freeze.freeze import save_script
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.model.potential import PotentialMethods
from deepmd_dpa4.ops.native.load import load
from deepmd_dpa4.tools.presets.robust import DESCRIPTOR, bridging
from tests.support import inputs
from tests.support.backends import set_native
from tests.support.commands import BIN, lammps
from tests.support.lammps import orthogonal, write_box
from tests.support.official import needs_charge_spin
from tests.support.runs import Run
from tests.support.scenes import SCENES, STRESS, Outcome, Scene, repeated, run_scenes, session
from tests.support.weights import perturb

pytestmark = pytest.mark.slow

GRIDS = {1: "processors 1 1 1", 2: "processors 2 1 1", 4: "processors 2 2 1"}
DOUBLE = 1e-10
FORCE = 1e-5
"""Allowed difference of forces in single precision, eV/A."""
FEW = {name: SCENES[name] for name in ("small", "tilted", "edge")}


def save(model: Any, path: Path, native: bool) -> Path:
    if native and not load():
        pytest.skip("this machine cannot have native kernels")
    set_native(model.eval(), native)
    save_script(SimpleNamespace(model=model, modifier=None), path, native)
    return path


def double(trained: Run) -> Any:
    """The trained model in double precision."""
    double = {"precision": "float64"}
    model = build_model(inputs.model(inputs.DESCRIPTOR | double, double, kernels="plain"))
    state = torch.load(trained.checkpoint, weights_only=True)["model"]
    prefix = "model.Default."
    model.load_state_dict({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    return model


def shaken(descriptor: inputs.Section, fitting: inputs.Section | None = None, **others: Any) -> Any:
    """A small model with random weights."""
    double = {"precision": "float64"}
    model = build_model(inputs.model(descriptor | double, (fitting or {}) | double, kernels="plain", **others))
    perturb(model, scale=0.1)
    return model


@dataclass
class Sessions:
    """LAMMPS runs by model file and number of ranks, each made once."""

    folder: Path
    done: dict[tuple[str, int], dict[str, Outcome]] = field(default_factory=dict)

    def run(self, path: Path, ranks: int, scenes: Mapping[str, Scene] = SCENES, **options: str) -> dict[str, Outcome]:
        if ranks > 1 and not (BIN / "mpiexec").exists():
            pytest.skip("needs the mpich wheel")
        key = (path.stem, ranks)
        if key not in self.done:
            before = f"{GRIDS[ranks]}\n{options.pop('before', '')}"
            self.done[key] = run_scenes(self.folder / f"{path.stem}-{ranks}", path, scenes, ranks, before, **options)
        return self.done[key]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    return Sessions(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def plain(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(double(trained), tmp_path_factory.mktemp("plain") / "plain.pth", False)


@pytest.fixture(scope="module")
def native(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(double(trained), tmp_path_factory.mktemp("native") / "native.pth", True)


@pytest.fixture(scope="module")
def tiles(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that evaluates more than 60 edges in tiles: some ranks do, others in the same step do not."""
    with pytest.MonkeyPatch.context() as patch:
        # a script keeps the defaults of the functions that it is made of
        derive = PotentialMethods.derive
        defaults = {
            name: one.default
            for name, one in inspect.signature(derive).parameters.items()
            if one.default is not inspect.Parameter.empty
        }
        assert defaults["tile_edges"] == 32768
        patch.setattr(derive, "__defaults__", tuple((defaults | {"tile_edges": 60}).values()))
        return save(double(trained), tmp_path_factory.mktemp("tiles") / "tiles.pth", True)


def assert_equal(found: Outcome, expected: Outcome, limit: float = DOUBLE, force: float | None = None) -> None:
    """Thermodynamics, positions, forces, energies and virials of atoms, of the first and the last step."""
    scale = np.abs(expected.thermo).max(axis=0)
    assert np.all(np.abs(found.thermo - expected.thermo) <= limit * np.maximum(scale, 1.0)), "thermo"
    for step, reference in ((found.first, expected.first), (found.last, expected.last)):
        assert np.array_equal(step["id"], reference["id"])
        for name in ("x", "y", "z", "fx", "fy", "fz", "c_energy", *STRESS):
            allowed = limit * max(float(np.abs(reference[name]).max()), 1.0)
            if force is not None and name.startswith("f"):
                allowed = force
            assert np.abs(step[name] - reference[name]).max() <= allowed, name


RUNS = [("plain", ranks, name) for ranks in (2, 4) for name in SCENES]
RUNS += [("native", 2, name) for name in SCENES] + [("native", 4, name) for name in FEW]
RUNS += [("tiles", 2, name) for name in SCENES]


@pytest.mark.parametrize(("file", "ranks", "name"), RUNS)
def test_equals_one_rank(
    sessions: Sessions, plain: Path, file: str, ranks: int, name: str, request: pytest.FixtureRequest
) -> None:
    """By plain kernels; more ranks than cores wait for each other, so four of them run native kernels briefly."""
    scenes = FEW if (file, ranks) == ("native", 4) else SCENES
    found = sessions.run(request.getfixturevalue(file), ranks, scenes)[name]
    assert_equal(found, sessions.run(plain, 1)[name])


def owners(step: dict[str, np.ndarray]) -> set[int]:
    return set(step["proc"].astype(int).tolist())


@pytest.mark.parametrize("ranks", [2, 4])
def test_scenes_are_what_they_are_for(sessions: Sessions, plain: Path, ranks: int) -> None:
    outcomes = sessions.run(plain, ranks)
    assert owners(outcomes["liquid"].first) == set(range(ranks))
    migrating = outcomes["migrating"]
    assert np.count_nonzero(migrating.first["proc"] != migrating.last["proc"]) >= 3
    for name in ("droplet", "edge"):
        assert len(owners(outcomes[name].first)) == 1
    assert len(owners(outcomes["slab"].first)) < ranks


def test_map_and_newton_change_nothing(sessions: Sessions, plain: Path) -> None:
    """With a map LAMMPS tells the owners of ghosts too."""
    path = plain.with_stem("map")
    path.write_bytes(plain.read_bytes())
    found = sessions.run(path, 2, FEW, before="atom_modify map yes\nnewton on")
    for name in FEW:
        assert_equal(found[name], sessions.run(plain, 1)[name])


SINGLE = {"liquid": SCENES["liquid"]}


def test_single_precision(sessions: Sessions, trained: Run) -> None:
    one, two = (sessions.run(trained.frozen, ranks, SINGLE) for ranks in (1, 2))
    for name in SINGLE:
        assert_equal(two[name], one[name], 1e-4, FORCE)


WINDOWS = bridging(("O", "H")) | {"bridging_r_outer": 1.2}
BRIDGING = {"bridging_method": "zbl", "bridging_r_inner": 0.8, "bridging_r_outer": 1.4}
ISOLATED = {"preset_out_bias": {"energy": [-432.1, -13.6]}}
CONDITIONS = "fparam 0.4 aparam 0.7 charge_spin 1 2"
VARIANTS: dict[str, tuple[Callable[[], Any], str]] = {
    "zbl": (lambda: shaken(inputs.SMALL, **BRIDGING), ""),
    "robust": (
        lambda: shaken(inputs.SMALL | DESCRIPTOR, {"vacuum_ref": True}, **WINDOWS, **ISOLATED),
        "",
    ),
    "conditions": (
        lambda: shaken(inputs.SMALL | {"add_chg_spin_ebd": True}, {"numb_fparam": 1, "numb_aparam": 1}),
        CONDITIONS,
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_charge_spin if name == "conditions" else ()) for name in VARIANTS]
)
def test_variants(sessions: Sessions, name: str, tmp_path: Path) -> None:
    """The source gate of zone bridging is completed across ranks; conditions reach every atom."""
    make, options = VARIANTS[name]
    path = save(make(), tmp_path / f"{name}.pth", False)
    one, two = (sessions.run(path, ranks, FEW, options=options) for ranks in (1, 2))
    for scene in FEW:
        assert_equal(two[scene], one[scene])
        assert np.abs(one[scene].first["fx"]).max() > 1e-3


def test_another_style_of_communication_is_refused(native: Path, tmp_path: Path) -> None:
    """DeePMD-kit would take its tables for others; a message says what to write, and no step is made."""
    scene = Scene(repeated(orthogonal(), (2, 3, 3)))
    write_box(tmp_path / "liquid.data", scene.box, 3)
    script = session(native, GRIDS[1]) + "comm_style tiled\n" + scene.script("liquid")
    assert "in LAMMPS use `comm_style brick`" in lammps(script, tmp_path, fails=True)
    assert not (tmp_path / "liquid.first.dump").exists()
