"""Ziegler-Biersack-Littmark repulsion of screened nuclei (theory 7.3)."""

import torch
from torch import Tensor, nn

from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.config.model import BridgingConfig
from deepmd_dpa4.config.option import ConfigError
from deepmd_dpa4.graph.cutoff import contact_radii, contacts, smooth_step
from deepmd_dpa4.graph.graph import Ends
from deepmd_dpa4.ops.segment import segment_sum

COULOMB = 14.3996
BOHR = 0.5291772109


def atomic_numbers(type_map: list[str]) -> list[int]:
    """Look up the nuclear charges of element symbols.

    Raises
    ------
    ConfigError
        If a type is not the symbol of an element.
    """
    for symbol in type_map:
        if symbol not in ELEMENTS:
            raise ConfigError(f"`type_map` holds {symbol!r} but ZBL needs symbols of chemical elements, such as 'O'")
    return [ELEMENTS.index(symbol) + 1 for symbol in type_map]


class ZBL(nn.Module):
    r"""Universal repulsion, half of each directed edge to its receiver.

    .. math:: V(r) = \frac{14.3996\,Z_i Z_j}{r} \sum_k A_k e^{-B_k r/a}, \quad
              a = \frac{0.88534 \cdot 0.5291772109}{Z_i^{0.23} + Z_j^{0.23}}

    in eV and Angstrom. Without ``start`` there is no switching function: V acts at every distance below ``rcut``, as in
    the reference, so the energy has a step of up to 1 meV per pair at 6 Angstrom. With it a factor with three
    continuous derivatives takes V to 0 (theory 7.4).

    Parameters
    ----------
    type_map : list[str]
        Symbols of the elements.
    rcut : float
        Cutoff in Angstrom.
    start, end : float, optional
        Distances between which V is taken to 0, in Angstrom or in sums of covalent radii; without ``end``, ``rcut``.
    radius : Tensor, optional
        Covalent radius of each type, (ntypes,), if ``start`` and ``end`` are in their sums.
    """

    charge: Tensor
    radius: Tensor | None

    def __init__(
        self,
        type_map: list[str],
        rcut: float,
        start: float | None = None,
        end: float | None = None,
        radius: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.rcut, self.start, self.end = rcut, start, end
        self.register_buffer("radius", radius, persistent=False)
        self.coulomb, self.screening_length = COULOMB, 0.88534 * BOHR
        charges = torch.tensor([*atomic_numbers(type_map), 0], dtype=torch.float64)
        self.register_buffer("charge", charges, persistent=False)
        self.amplitude = [0.18175, 0.50986, 0.28022, 0.028171]
        self.decay = [3.1998, 0.94229, 0.4029, 0.20162]

    def forward(self, node_type: Tensor, ends: Ends, vector: Tensor) -> Tensor:
        """Compute the energy of each owned atom, (N,) float64, in eV, from edge vectors (E, 3) in Angstrom."""
        distance = torch.sqrt((vector * vector).sum(dim=1))
        inside = distance < self.rcut
        distance = torch.where(inside, distance, torch.ones_like(distance))
        charge = self.charge.index_select(0, node_type)
        z_i, z_j = charge.index_select(0, ends.receiver), charge.index_select(0, ends.sender)
        reduced = distance * (z_i**0.23 + z_j**0.23) / self.screening_length
        screening = torch.zeros_like(distance)
        for amplitude, decay in zip(self.amplitude, self.decay):
            screening = screening + amplitude * torch.exp(-decay * reduced)
        pair = 0.5 * self.coulomb * z_i * z_j / distance * screening
        if self.start is not None:
            pair = pair * self.switch(distance, node_type, ends)
        return segment_sum(torch.where(inside, pair, torch.zeros_like(pair)), ends.receiver, ends.n_receivers)

    def switch(self, distance: Tensor, node_type: Tensor, ends: Ends) -> Tensor:
        """Compute the factor of V, from 1 at ``start`` to 0 at ``end``, (E,)."""
        start, end, radius = self.start, self.end, self.radius
        assert start is not None
        unit = torch.ones_like(distance) if radius is None else contacts(radius, node_type, ends)
        first = start * unit
        last = torch.full_like(distance, self.rcut) if end is None else end * unit
        return 1.0 - smooth_step((distance - first) / (last - first))


def repulsion(config: BridgingConfig | None, type_map: list[str], rcut: float) -> ZBL | None:
    """Build the short-range potential of a model; None without zone bridging."""
    if config is None or not config.enabled:
        return None
    start, end = {
        "step": (None, None),
        "cutoff": (config.bridging_r_outer, None),
        "window": (config.bridging_r_inner, config.bridging_r_outer),
    }[config.bridging_end]
    return ZBL(type_map, rcut, start, end, contact_radii(config, type_map))
