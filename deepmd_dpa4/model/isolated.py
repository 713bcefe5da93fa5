"""Energies of atoms without neighbours, to which those of other atoms are referred (theory 6.4)."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deepmd_dpa4.config.elements import multiplicity
from deepmd_dpa4.config.option import ConfigError
from deepmd_dpa4.fitting.energy import EnergyFitting
from deepmd_dpa4.graph.graph import Ends, Graph
from deepmd_dpa4.model.tiles import TiledMethods


def ground_states(type_map: list[str]) -> Tensor:
    """Charge 0 and spin multiplicity of the neutral atom of each type, (ntypes, 2) float64.

    Raises
    ------
    ConfigError
        If a type is not the symbol of an element.
    """
    states: list[list[float]] = []
    for symbol in type_map:
        spin = multiplicity(symbol)
        if spin is None:
            raise ConfigError(
                f"`type_map` holds {symbol!r} but `fitting_net/vacuum_ref` with `descriptor/add_chg_spin_ebd` needs "
                "symbols of chemical elements, such as 'O'"
            )
        states.append([0.0, float(spin)])
    return torch.tensor(states, dtype=torch.float64)


class IsolatedMethods(TiledMethods):
    """Reference atoms of a potential, one of each type; see :class:`deepmd_dpa4.model.potential.PotentialMethods`."""

    # TorchScript reads the annotations of a class, so these exist for the type checker alone.
    if TYPE_CHECKING:
        fitting_net: EnergyFitting
        out_bias: Tensor
        ground_states: Tensor | None
        folded_features: Tensor | None
        folded_energies: Tensor | None
        refers_to_isolated_atoms: bool
        register_buffer: Any

    @torch.jit.unused
    def refer_to_isolated_atoms(self, referred: bool, states: Tensor | None) -> None:
        """Choose whether energies are referred to isolated atoms, of these charges and multiplicities (ntypes, 2)."""
        self.refers_to_isolated_atoms = referred
        self.register_buffer("ground_states", states, persistent=False)
        self.register_buffer("folded_features", None, persistent=False)
        self.register_buffer("folded_energies", None, persistent=False)

    @torch.jit.unused
    def fold_isolated_atoms(self) -> None:
        """Evaluate the isolated atoms once, for weights that do not change any more.

        Their energies are stored, or their features where the fitting network depends on parameters of frames or atoms.
        The bias stays what it is.
        """
        if not self.evaluates_isolated_atoms():
            return
        with torch.no_grad():
            features = self.isolated_features()
            if self.fitting_net.n_frame + self.fitting_net.n_atomic > 0:
                self.folded_features = features
            else:
                self.folded_energies = self.fitting_net.evaluate(features, None, None)[0]

    def evaluates_isolated_atoms(self) -> bool:
        """Tell whether a stage of the evaluation is that of the isolated atoms."""
        return self.refers_to_isolated_atoms and self.folded_features is None and self.folded_energies is None

    def isolated_features(self) -> Tensor:
        """Evaluate the network for one atom of each type without edges, each a frame of its own, (ntypes, C)."""
        ntypes, device = self.out_bias.shape[1], self.out_bias.device
        kind, frame = torch.arange(ntypes, device=device), torch.arange(ntypes, device=device)
        edges = torch.zeros([2, 0], dtype=torch.int64, device=device)
        vector = torch.zeros([0, 3], dtype=torch.float64, device=device)
        return self.descriptor.features(
            Graph(kind, frame, Ends(edges[0], edges[1], ntypes), vector, None), self.ground_states
        )

    def isolated_energies(
        self, isolated: Tensor | None, node_type: Tensor, fparam: Tensor | None, aparam: Tensor | None
    ) -> Tensor:
        """Compute the energy without bias that each atom would have alone, under its own parameters, (N,) float64, eV.

        Parameters
        ----------
        isolated : Tensor, optional
            Features of the isolated atoms, (ntypes, C); None where they are folded.
        node_type : Tensor
            Types of the atoms, (N,).
        fparam, aparam : Tensor, optional
            Parameters of the atoms, (N, .).
        """
        kind = node_type.clamp(max=self.out_bias.shape[1] - 1)
        energies, features = self.folded_energies, self.folded_features
        if energies is not None:
            return energies.index_select(0, kind)
        if features is not None:
            isolated = features
        assert isolated is not None
        if self.fitting_net.n_frame + self.fitting_net.n_atomic > 0:
            return self.fitting_net.evaluate(isolated.index_select(0, kind), fparam, aparam)[0]
        return self.fitting_net.evaluate(isolated, None, None)[0].index_select(0, kind)
