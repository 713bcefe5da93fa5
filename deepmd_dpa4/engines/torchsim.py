"""Model for torch-sim: molecular dynamics and relaxation of many systems at once."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.graph.systems import find_edges, join
from deepmd_dpa4.inference.batched import Batched, as_written
from deepmd_dpa4.inference.evaluator import Evaluator

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
except ImportError as error:
    raise ImportError(
        "deepmd_dpa4.engines.torchsim needs torch-sim and Python 3.11 or newer: pip install 'deepmd-dpa4[torchsim]'"
    ) from error


class DPA4Model(ModelInterface):
    r"""Energies, forces and stresses of all systems of a state, as one graph on the device of the state.

    Parameters
    ----------
    model : str or Path
        Checkpoint ``.pt`` or frozen file ``.pth`` of this package.
    head : str, optional
        Branch of a multi-task checkpoint.
    device : str or torch.device, optional
        Where to run; by default on a GPU if there is one.
    dtype : torch.dtype
        Precision of states and results; the model has its own.
    compute_forces, compute_stress : bool
        Whether results have ``forces`` and ``stress``, which cost the same.

    Raises
    ------
    FileNotFoundError, ValueError
        As :class:`~deepmd_dpa4.inference.evaluator.Evaluator`, and if the file cannot evaluate systems as a graph.
    """

    def __init__(
        self,
        model: str | Path,
        head: str | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float64,
        *,
        compute_forces: bool = True,
        compute_stress: bool = True,
    ) -> None:
        super().__init__()
        evaluator = Evaluator(model, head=head, device=None if device is None else str(device))
        if not isinstance(evaluator.backend, Batched):
            raise ValueError(f"`model` is '{model}' but must be a .pt or .pth file of a model of this package")
        for name in ("fparam", "aparam"):
            if evaluator.widths[name] > 0:
                raise ValueError(f"`model` is '{model}' but must be one without `{name}`, which states do not have")
        self._device, self._dtype = evaluator.device, dtype
        self._compute_forces, self._compute_stress = compute_forces, compute_stress
        # the default of torch-sim divides by the volume of the cell, which molecules do not have
        self._memory_scales_with = "n_atoms"
        self.rcut, self.charged = evaluator.rcut, evaluator.widths["charge_spin"] > 0
        self.potential, self.type_map = evaluator.backend.model, evaluator.type_map
        self.default: Tensor | None = self.potential.get_default_chg_spin() if self.charged else None
        self.untrained = evaluator.untrained
        numbers = {symbol: number for number, symbol in enumerate(ELEMENTS, start=1)}
        type_of_number = torch.full([len(ELEMENTS) + 1], -1, dtype=torch.int64)
        for index, symbol in enumerate(self.type_map):
            if symbol in numbers:
                type_of_number[numbers[symbol]] = index
        self.register_buffer("type_of_number", type_of_number.to(self._device), persistent=False)

    @property
    def compute_forces(self) -> bool:
        """Whether results have ``forces``."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, compute_forces: bool) -> None:
        self._compute_forces = compute_forces

    @property
    def compute_stress(self) -> bool:
        """Whether results have ``stress``."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, compute_stress: bool) -> None:
        self._compute_stress = compute_stress

    def forward(self, state: Any, **kwargs: Any) -> dict[str, Tensor]:
        r"""Evaluate a state.

        Parameters
        ----------
        state : SimState or dict
            Systems of any sizes, or the attributes of a state. Models with charge and spin read them from the extras
            ``charge`` and ``spin`` (the multiplicity) of the systems, where torch-sim has extras, and use their
            default otherwise, with a warning; also for systems where both are 0, which torch-sim fills in.
        **kwargs
            None.

        Returns
        -------
        dict[str, Tensor]
            ``energy`` (systems,) in eV, ``forces`` (atoms, 3) in eV/A and ``stress`` :math:`-W/V` (systems, 3, 3) in
            eV/A^3, zero for systems without periodicity.

        Raises
        ------
        ValueError
            If there is an element that the model does not know, a charge without a spin, or a multiplicity below 1.
        """
        if kwargs:
            raise TypeError(f"arguments {', '.join(kwargs)} are given but there must be none besides the state")
        if isinstance(state, dict):
            state = SimState(**{"masses": torch.ones_like(state["atomic_numbers"]), **state})
        systems = self._systems(state)
        batch = join(systems)
        edges = torch.stack([batch.ends.sender, batch.ends.receiver])
        with as_written(batch.vector.device):
            result = self.potential.forward_systems(
                *(batch.node_type, batch.frame, len(systems), edges, batch.vector),
                *(None, None, self._charge_spin(state), False),
            )
        found = {"energy": result["energy"]}
        if self.compute_forces:
            found["forces"] = result["force"]
        if self.compute_stress:
            volume = torch.linalg.det(state.cell.to(torch.float64)).abs()
            stress = -result["virial"].view(-1, 3, 3) / volume.clamp(min=1e-300)[:, None, None]
            found["stress"] = torch.where((volume > 0)[:, None, None] & _periodic(state).any(), stress, 0.0)
        return {name: value.to(self.dtype) for name, value in found.items()}

    def _systems(self, state: SimState) -> list[Graph]:
        """Edges of each system."""
        atype = self.type_of_number[state.atomic_numbers]
        if bool((atype < 0).any()):
            symbol = ELEMENTS[int(state.atomic_numbers[atype < 0][0]) - 1]
            raise ValueError(f"the state has an atom {symbol!r} but must have those of the model: {self.type_map}")
        self.untrained.warn_of_types(atype.cpu())
        sizes = torch.bincount(state.system_idx, minlength=state.cell.shape[0]).tolist()
        _warn_of_lost_slabs(state)
        periodic = _periodic(state).tolist()
        return [
            find_edges(coord, types, cell, periodic, self.rcut, len(self.type_map))
            for coord, types, cell in zip(state.positions.split(sizes), atype.split(sizes), state.row_vector_cell)
        ]

    def _charge_spin(self, state: SimState) -> Tensor | None:
        """Charge and spin multiplicity of each system, (systems, 2)."""
        if not self.charged:
            return None
        charge, spin = getattr(state, "charge", None), getattr(state, "spin", None)
        if charge is None and spin is None:
            warnings.warn(
                "the state has no `charge` and `spin`, which this version of torch-sim may not hand over from "
                "`atoms.info`: the default of the model is used",
                stacklevel=3,
            )
            return None
        if charge is None or spin is None:
            raise ValueError("the state has one of `charge` and `spin` but must have both")
        given = torch.stack([charge, spin], dim=1).to(torch.float64)
        # no multiplicity is 0: versions of torch-sim fill in zeros where nothing was given
        absent = (given == 0).all(dim=1)
        wrong = (given[:, 1] < 1) & ~absent
        if bool(wrong.any()):
            raise ValueError(
                f"a system has charge and spin {given[wrong][0].tolist()} but spin must be a multiplicity, 1 or more"
            )
        if not bool(absent.any()):
            return given
        if bool(absent.all()):
            return None
        if self.default is None:
            raise ValueError("a system has charge and spin 0 but must have a multiplicity: the model has no default")
        return torch.where(absent[:, None], self.default.to(given), given)


def _warn_of_lost_slabs(state: SimState) -> None:
    """Warn where a version of torch-sim with one periodicity for all directions may have dropped that of a slab."""
    if isinstance(state.pbc, bool) and not state.pbc and bool((state.cell != 0).any()):
        warnings.warn(
            "the state has a cell but is not periodic: this version of torch-sim drops the periodicity of slabs and "
            "wires, which are evaluated as open clusters without stress; use version 0.4 or newer, or pbc = T T T with "
            "vacuum",
            stacklevel=4,
        )


def _periodic(state: SimState) -> Tensor:
    """Periodicity along each cell vector, (3,); older versions of torch-sim have one value for all."""
    return torch.as_tensor(state.pbc, device=state.positions.device).expand(3)
