"""The laws that :mod:`deepmd_dpa4.testing` offers hold here and for another model of DeePMD-kit, and find errors."""

from typing import Any

import numpy as np
import pytest
import torch
from deepmd.pt.model.model import get_model
from numpy.typing import NDArray

from deepmd_dpa4.model.potential import Potential
from deepmd_dpa4.testing import Array, PotentialLaws, Result
from tests.support.frames import Frame
from tests.support.inputs import SE_A
from tests.support.models import active_potential, evaluate
from tests.support.options import NANO


class TestDPA4(PotentialLaws):
    rcut = 5.0
    passes = 3
    model: Potential

    @classmethod
    def setup_class(cls) -> None:
        cls.model = active_potential(NANO | {"rcut": cls.rcut, "edge_norm": False})

    def calculate(self, positions: Array, types: NDArray[np.int64], cell: Array | None) -> Result:
        box = None if cell is None else torch.tensor(cell)
        found = evaluate(self.model, Frame(torch.tensor(positions), torch.tensor(types), box), self.rcut)
        energy, forces, virial = (value.detach().numpy() for value in found)
        return float(energy), forces, virial


class TestSinglePrecision(TestDPA4):
    rounding, accuracy, step = 1e-4, 1e-2, 5e-3

    @classmethod
    def setup_class(cls) -> None:
        options = NANO | {"rcut": cls.rcut, "edge_norm": False, "precision": "float32"}
        cls.model = active_potential(options, dtype=torch.float32)


class TestSeE2A(PotentialLaws):
    """A smooth descriptor without messages, with random weights."""

    rcut = 4.0
    model: Any

    @classmethod
    def setup_class(cls) -> None:
        descriptor = SE_A | {"rcut": cls.rcut, "rcut_smth": 1.0, "sel": [80, 80], "precision": "float64"}
        fitting = {"neuron": [8, 8], "seed": 1, "precision": "float64"}
        section = {"type_map": ["O", "H"], "descriptor": descriptor, "fitting_net": fitting}
        cls.model = get_model(section).to("cpu").double().eval()

    def calculate(self, positions: Array, types: NDArray[np.int64], cell: Array | None) -> Result:
        box = None if cell is None else torch.tensor(cell).reshape(1, 9)
        found = self.model(torch.tensor(positions)[None], torch.tensor(types)[None], box)
        names = ("energy", "force", "virial")
        energy, forces, virial = (found[name][0].detach().cpu().numpy() for name in names)
        return float(energy[0]), forces, virial.reshape(3, 3)


class Pairs(PotentialLaws):
    """A smooth pair potential, and ways to get it wrong."""

    rcut = 3.5
    power = 4
    jump = 0.0
    defect = ""

    def calculate(self, positions: Array, types: NDArray[np.int64], cell: Array | None) -> Result:
        images = np.zeros((1, 3))
        if cell is not None:
            images = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3), axis=-1).reshape(-1, 3) @ cell
        bond = positions[None, :, None] + images - positions[:, None, None]
        distance = np.linalg.norm(bond, axis=-1)
        near = (distance > 0) & (distance < self.rcut)
        strength = np.where(near, (1.0 + types[:, None] * types)[..., None], 0.0)
        rest = np.where(near, 1.0 - distance / self.rcut, 0.0)
        energy = 0.5 * float((strength * (rest**self.power + self.jump)).sum())
        pull = strength * self.power * rest ** (self.power - 1) / self.rcut / np.where(near, distance, 1.0)
        forces = -(pull[..., None] * bond).sum(axis=(1, 2))
        virial = 0.5 * np.einsum("ijk,ijka,ijkb->ab", pull, bond, bond)
        return self.spoiled(energy, forces, virial, positions, types)

    def spoiled(self, energy: float, forces: Array, virial: Array, positions: Array, types: Any) -> Result:
        if self.defect == "field":
            energy += 1e-6 * positions[:, 0].sum()
        elif self.defect == "direction":
            forces = forces * np.array([1.0, 1.0, 1.0 + 1e-6])
        elif self.defect == "order":
            energy += 1e-6 * float(np.linalg.norm(positions[0] - positions[1]))
        elif self.defect == "forces":
            forces = forces * (1.0 + 1e-5)
        elif self.defect == "virial":
            virial = virial * (1.0 + 1e-5)
        elif self.defect == "first":
            forces = forces.copy()
            forces[0] += 1e-6
        elif self.defect == "total":
            energy += 1e-6 * len(types) ** 2
        return energy, forces, virial


class TestPairs(Pairs):
    pass


@pytest.mark.parametrize(
    ("defect", "law"),
    [
        ("field", Pairs.test_translation),
        ("field", Pairs.test_periodic_images),
        ("direction", Pairs.test_rotation),
        ("order", Pairs.test_permutation),
        ("forces", Pairs.test_forces_are_derivatives),
        ("virial", Pairs.test_virial_is_a_derivative),
        ("first", Pairs.test_no_net_force),
        ("total", Pairs.test_distant_parts_add_up),
        ("total", Pairs.test_size_consistency),
    ],
)
def test_errors_are_found(defect: str, law: Any) -> None:
    laws = Pairs()
    laws.defect = defect
    with pytest.raises(AssertionError):
        law(laws)


@pytest.mark.parametrize(("power", "jump", "what"), [(4, 1e-4, "the energy"), (1, 0.0, "a force")])
def test_jumps_at_the_cutoff_are_found(power: int, jump: float, what: str) -> None:
    laws = Pairs()
    laws.power, laws.jump = power, jump
    with pytest.raises(AssertionError, match=f"{what} jumps"):
        laws.test_smooth_at_the_cutoff()


def test_a_constant_says_nothing() -> None:
    laws = Pairs()
    laws.rcut = 0.5
    with pytest.raises(AssertionError, match="all forces are zero"):
        laws.test_translation()
