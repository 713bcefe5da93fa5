"""Laws that the energy of atoms obeys, as tests that the suite of any potential can inherit.

A subclass that pytest collects says how energy, forces and virial are computed::

    class TestMyPotential(PotentialLaws):
        rcut = 6.0

        def calculate(self, positions, types, cell):
            return energy, forces, virial
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deepmd_dpa4.freeze.random_structures import RandomStructure, random_structure

Array = NDArray[np.float64]
Result = tuple[float, Array, Array]

WEIGHTS = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
"""Of the central difference of sixth order."""


class PotentialLaws:
    """Tests of a potential on random structures, one of them periodic.

    The potential need not be trained, but its weights should be random: a law about zeros says nothing. Atoms keep at
    least 1.4 Angstrom from each other.

    Attributes
    ----------
    rcut : float
        Distance in Angstrom beyond which no atom acts on another; for a network that passes messages, of one pass.
    passes : int
        How many times the energy of an atom reaches ``rcut`` farther than the atom: 1 without messages.
    types : sequence of int
        Types that the structures hold.
    atoms : int
        Atoms of a structure.
    rounding : float
        Allowed difference of what is equal in exact arithmetic, relative to the largest entry.
    accuracy : float
        Allowed difference between derivatives and differences of energies, relative to the largest entry.
    step : float
        Displacement in Angstrom, and strain, of the differences.
    """

    rcut: float
    passes: int = 1
    types: Sequence[int] = (0, 1)
    atoms: int = 7
    rounding: float = 1e-11
    accuracy: float = 1e-7
    step: float = 1e-3

    def calculate(self, positions: Array, types: NDArray[np.int64], cell: Array | None) -> Result:
        """Compute what the laws are about.

        Parameters
        ----------
        positions : array
            (n, 3), Angstrom.
        types : array
            (n,).
        cell : array or None
            Cell vectors in rows, (3, 3), Angstrom; None without periodicity.

        Returns
        -------
        energy : float
            eV.
        forces : array
            (n, 3), eV/Angstrom.
        virial : array
            Minus the derivative of the energy by the strain, (3, 3), eV.
        """
        raise NotImplementedError

    def test_translation(self) -> None:
        """Move everything: nothing changes."""
        for structure in self.structures():
            moved = replace(structure, coord=structure.coord + np.array([0.3, -1.1, 2.7]))
            self.assert_same(self.predict(moved), self.predict(structure))

    def test_periodic_images(self) -> None:
        """Move one atom by cell vectors: nothing changes."""
        structure = self.structure(periodic=True)
        assert structure.cell is not None
        coord = structure.coord.copy()
        coord[0] += structure.cell[0] - 2 * structure.cell[2]
        self.assert_same(self.predict(replace(structure, coord=coord)), self.predict(structure))

    def test_rotation(self) -> None:
        """Rotate everything: the energy stays, forces and virial turn."""
        turn = rotation()
        for structure in self.structures():
            cell = None if structure.cell is None else structure.cell @ turn.T
            energy, forces, virial = self.predict(structure)
            turned = self.predict(replace(structure, coord=structure.coord @ turn.T, cell=cell))
            self.assert_same(turned, (energy, forces @ turn.T, turn @ virial @ turn.T))

    def test_permutation(self) -> None:
        """Write the atoms in another order: the forces follow."""
        order = np.random.default_rng(5).permutation(self.atoms)
        for structure in self.structures():
            energy, forces, virial = self.predict(structure)
            shuffled = replace(structure, coord=structure.coord[order], types=structure.types[order])
            self.assert_same(self.predict(shuffled), (energy, forces[order], virial))

    def test_forces_are_derivatives(self) -> None:
        """Compare the forces with differences of the energy along random displacements of all atoms."""
        for structure in self.structures():
            _, forces, _ = self.predict(structure)
            for shift in directions(structure.coord.shape):
                found = -self.slope(structure, shift, np.zeros((3, 3)))
                expected = float((forces * shift).sum())
                assert abs(found - expected) <= self.accuracy * np.linalg.norm(forces), f"{found} is not {expected}"

    def test_virial_is_a_derivative(self) -> None:
        """Compare the virial with differences of the energy along random strains."""
        for structure in self.structures():
            _, forces, virial = self.predict(structure)
            scale = max(float(np.linalg.norm(virial)), float(np.linalg.norm(forces)))
            for strain in directions((3, 3)):
                found = -self.slope(structure, np.zeros_like(structure.coord), strain)
                expected = float((virial * strain).sum())
                assert abs(found - expected) <= self.accuracy * scale, f"{found} is not {expected}"

    def test_no_net_force(self) -> None:
        """Add up the forces: they cancel."""
        for structure in self.structures():
            _, forces, _ = self.predict(structure)
            assert np.abs(forces.sum(axis=0)).max() <= self.rounding * self.atoms * np.abs(forces).max()

    def test_smooth_at_the_cutoff(self) -> None:
        """Let an atom cross the cutoff: neither energy nor forces jump."""
        cluster = self.structure(periodic=False)
        first = int(cluster.coord[:, 0].argmax())
        outside, inside = (self.with_visitor(cluster, first, self.rcut + gap) for gap in (1e-5, -1e-5))
        (energy, forces, virial), found = self.predict(outside), self.predict(inside)
        limit = max(1e-5, self.rounding) * np.abs(forces).max()
        jump = abs(found[0] - energy)
        assert jump <= max(limit, self.rounding * abs(energy)), f"the energy jumps by {jump} eV"
        jump = float(np.abs(found[1] - forces).max())
        assert jump <= limit, f"a force jumps by {jump} eV/Angstrom"
        assert np.abs(found[2] - virial).max() <= limit * self.rcut

    def test_distant_parts_add_up(self) -> None:
        """Put two structures far apart: energy, forces and virial are those of the parts."""
        one, other = (self.structure(periodic=False, seed=seed) for seed in (1, 2))
        gap = np.ptp(one.coord, axis=0).max() + np.ptp(other.coord, axis=0).max() + (self.passes + 1) * self.rcut
        both = replace(
            one,
            coord=np.concatenate([one.coord, other.coord + np.array([gap, 0.0, 0.0])]),
            types=np.concatenate([one.types, other.types]),
        )
        parts = self.predict(one), self.predict(other)
        expected = (
            parts[0][0] + parts[1][0],
            np.concatenate([parts[0][1], parts[1][1]]),
            parts[0][2] + parts[1][2],
        )
        self.assert_same(self.predict(both), expected)

    def test_size_consistency(self) -> None:
        """Double the cell: energy and virial double, and the forces stay."""
        structure = self.structure(periodic=True)
        assert structure.cell is not None
        energy, forces, virial = self.predict(structure)
        double = replace(
            structure,
            coord=np.concatenate([structure.coord, structure.coord + structure.cell[1]]),
            types=np.tile(structure.types, 2),
            cell=structure.cell * np.array([[1.0], [2.0], [1.0]]),
        )
        self.assert_same(self.predict(double), (2 * energy, np.tile(forces, (2, 1)), 2 * virial))

    def structure(self, periodic: bool, seed: int = 1) -> RandomStructure:
        """Draw a structure."""
        return random_structure(self.atoms, self.types, periodic, seed)

    def structures(self) -> Iterator[RandomStructure]:
        """Draw a periodic structure and one that is not."""
        for periodic in (True, False):
            yield self.structure(periodic)

    def with_visitor(self, structure: RandomStructure, host: int, distance: float) -> RandomStructure:
        """Add an atom along x, at a distance in Angstrom from the atom ``host``."""
        place = structure.coord[host] + np.array([distance, 0.0, 0.0])
        return replace(
            structure, coord=np.vstack([structure.coord, place]), types=np.append(structure.types, self.types[0])
        )

    def predict(self, structure: RandomStructure) -> Result:
        """Calculate, and check what came out."""
        energy, forces, virial = self.calculate(structure.coord, structure.types, structure.cell)
        assert np.shape(forces) == structure.coord.shape
        assert np.shape(virial) == (3, 3)
        assert np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(virial).all()
        assert np.abs(forces).max() > 0.0, "all forces are zero: the laws say nothing about such a potential"
        return float(energy), np.asarray(forces), np.asarray(virial)

    def assert_same(self, found: Result, expected: Result) -> None:
        """Compare energy, forces and virial up to rounding."""
        scale = float(np.max(np.abs(expected[1])))
        for index, name in enumerate(("energy", "forces", "virial")):
            one, other = np.asarray(found[index]), np.asarray(expected[index])
            off, limit = np.abs(one - other).max(), self.rounding * max(scale, np.abs(other).max())
            assert off <= limit, f"{name} differ by {off:.3g}, allowed are {limit:.3g}"

    def slope(self, structure: RandomStructure, shift: Array, strain: Array) -> float:
        """Differentiate the energy numerically along displacements (n, 3) and a strain (3, 3) of everything."""

        def energy(size: float) -> float:
            deformation = np.eye(3) + size * strain
            cell = None if structure.cell is None else structure.cell @ deformation
            coord = (structure.coord + size * shift) @ deformation
            return self.predict(replace(structure, coord=coord, cell=cell))[0]

        steps = [(weight, count * self.step) for count, weight in WEIGHTS.items()]
        return sum(weight * (energy(size) - energy(-size)) for weight, size in steps) / self.step


def rotation() -> Array:
    """Return a rotation without special angles, (3, 3), of determinant 1."""
    turn, _ = np.linalg.qr(np.random.default_rng(11).normal(size=(3, 3)))
    return turn * np.sign(np.linalg.det(turn))


def directions(shape: tuple[int, ...]) -> list[Array]:
    """Draw three directions of length 1."""
    drawn = np.random.default_rng(7).normal(size=(3, *shape))
    return [direction / np.linalg.norm(direction) for direction in drawn]
