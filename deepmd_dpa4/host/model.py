"""The DPA4 energy model of DeePMD-kit: every input becomes edges, then one forward path."""

import json
import logging
import warnings
from typing import Any

import torch
from deepmd.pt.model.model.dp_model import DPModelCommon
from deepmd.pt.model.model.make_model import make_model
from deepmd.pt.utils.env import DEVICE
from torch import Tensor

from deepmd_dpa4.checkpoint.trained_elements import trained_types, untrained_elements
from deepmd_dpa4.compiled.energies import CompiledEnergies
from deepmd_dpa4.config.model import ExecutionConfig
from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.graph.neighbors import Scatter, check_types, from_table, sort_edges
from deepmd_dpa4.host.atomic_model import AtomicModelDPA4
from deepmd_dpa4.host.compat import ModelMethods
from deepmd_dpa4.host.conditions import ConditionMethods
from deepmd_dpa4.host.export_graphs import ExportMethods
from deepmd_dpa4.host.graph_inputs import GraphMethods
from deepmd_dpa4.host.lora import fold_on_loading
from deepmd_dpa4.host.losses import check_loss
from deepmd_dpa4.host.state import both_dialects, store_nuclei, strict_loading
from deepmd_dpa4.host.statistics import bias_table, preset_shift
from deepmd_dpa4.model.conditions import Conditions
from deepmd_dpa4.ops.backends import backend_of, use_backend
from deepmd_dpa4.type_names import EDGE_SCHEMA_TYPES

log = logging.getLogger("deepmd.dpa4")

_HostModel = make_model(AtomicModelDPA4)


class ModelDPA4(GraphMethods, ConditionMethods, ExportMethods, ModelMethods, DPModelCommon, _HostModel):  # type: ignore[misc, valid-type]
    """Energy, forces and virial of a batch of frames.

    Built by :func:`deepmd_dpa4.host.build.build_model`.

    Parameters
    ----------
    *args, execution, backend, compiled, model_type_name
        Of the atomic model; how to run; the implementation of operations, whose library has to be loaded then;
        whether to compile; the name that the model was asked for by.
    """

    model_type = "ener"
    elements_unchecked: bool
    untrained: list[str]

    def __init__(
        self,
        *args: Any,
        execution: ExecutionConfig | None = None,
        backend: str = "plain",
        compiled: bool = False,
        model_type_name: str = "dpa4",
        **kwargs: Any,
    ) -> None:
        DPModelCommon.__init__(self)
        _HostModel.__init__(self, *args, **kwargs)
        execution = execution or ExecutionConfig()
        self.enable_tf32 = execution.enable_tf32
        self.elements_unchecked, self.untrained = False, [""] * len(self.get_type_map())
        self.edge_schema = model_type_name.lower() in EDGE_SCHEMA_TYPES
        both_dialects(self)
        fold_on_loading(self)
        strict_loading(self)
        store_nuclei(self, self.nuclear_charges)
        use_backend(self, backend, DEVICE)
        if compiled:
            self.atomic_model.compiled = CompiledEnergies(memory=execution.activation_memory)

    @torch.jit.unused
    def trained_types(self) -> list[int]:
        """Return the types that the training data held, as far as the model tells."""
        return trained_types(*self._training())

    @torch.jit.unused
    def untrained_elements(self) -> list[str]:
        """List the elements of the type map that the training data lacked."""
        return untrained_elements(*self._training())

    @torch.jit.unused
    def _training(self) -> tuple[dict[str, Any], list[float]]:
        return json.loads(self.model_def_script), self.get_out_bias().flatten().tolist()

    @torch.jit.unused
    def nuclear_charges(self) -> Tensor | None:
        """Return the charge of each type, (ntypes,), if the model has zone bridging."""
        zbl = self.atomic_model.zbl
        return None if zbl is None else zbl.charge[:-1]

    @torch.jit.unused
    def fold_isolated_atoms(self) -> None:
        """Evaluate once what energies are referred to, if they are; see theory 6.4."""
        self.atomic_model.fold_isolated_atoms()

    def set_active_mode_from_loss(self, loss_type: str) -> None:
        """Refuse losses that need another head.

        Raises
        ------
        ValueError
            If the loss is not one of energies, forces and virials.
        """
        check_loss(loss_type)

    def translated_output_def(self) -> dict[str, Any]:
        """Define the outputs by the names that users see."""
        data = self.model_output_def().get_data()
        return {
            "atom_energy": data["energy"],
            "energy": data["energy_redu"],
            "force": data["energy_derv_r"],
            "virial": data["energy_derv_c_redu"],
            "atom_virial": data["energy_derv_c"],
            "mask": data["mask"],
        }

    @torch.jit.export
    def get_sel(self) -> list[int]:
        """Return the neighbour capacity hint, which Python inference asks a frozen model for."""
        return self.atomic_model.get_sel()

    @torch.jit.export
    def use_self_built_nlist(self) -> bool:
        """Tell whether Python inference should call ``forward``; a frozen model is handed the edges instead."""
        return not (torch.jit.is_scripting() and self.edge_schema)

    def forward(
        self,
        coord: Tensor,
        atype: Tensor,
        box: Tensor | None = None,
        fparam: Tensor | None = None,
        aparam: Tensor | None = None,
        do_atomic_virial: bool = False,
        charge_spin: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Predict frames.

        Parameters
        ----------
        coord : Tensor
            Positions (frames, atoms * 3) or (frames, atoms, 3), Angstrom.
        atype : Tensor
            Types (frames, atoms); negative for padding atoms.
        box : Tensor, optional
            Cells (frames, 9), one vector after the other; None without periodicity.
        fparam, aparam : Tensor, optional
            Frame and atomic parameters.
        do_atomic_virial : bool
            Return the virial of each atom too.
        charge_spin : Tensor, optional
            Charge and spin multiplicity, (frames, 2).

        Returns
        -------
        dict[str, Tensor]
            ``energy`` (frames, 1), ``atom_energy`` (frames, atoms, 1), ``force`` (frames, atoms, 3), ``virial``
            (frames, 9), ``mask`` (frames, atoms) and on request ``atom_virial`` (frames, atoms, 9).
        """
        frames, atoms = atype.shape
        self.warn_of_elements(atype)
        graph, scatter = self.graph_of(coord.view(frames, atoms, 3), atype, box)
        conditions = self.conditions(fparam, aparam, charge_spin, frames, graph.vector)
        result = self.atomic_model.derive(graph, scatter, frames, conditions, self.training, do_atomic_virial)
        predicted = {
            "atom_energy": result["atom_energy"].view(frames, atoms, 1),
            "energy": result["energy"].unsqueeze(1),
            "force": result["force"].view(frames, atoms, 3),
            "virial": result["virial"],
            "mask": (atype >= 0).to(torch.int32),
        }
        if do_atomic_virial:
            predicted["atom_virial"] = result["atom_virial"].view(frames, atoms, 9)
        if self.recording():
            self.record(self.forward_embedding(coord, atype, box, fparam, aparam, charge_spin))
        return predicted

    def warn_of_elements(self, atype: Tensor) -> None:
        """Warn of elements without training data, in the first evaluation of a frozen file.

        ``untrained`` holds their names, and an empty text for each other type.
        """
        if self.elements_unchecked and atype.numel() > 0:
            self.elements_unchecked = False
            found: list[str] = []
            types: list[int] = torch.unique(atype).tolist()
            for index in types:
                if index >= 0 and self.untrained[index] != "":
                    found.append(self.untrained[index])
            if len(found) > 0:
                warnings.warn(  # noqa: B028  (TorchScript knows no level)
                    "the model had no training data with "
                    + ", ".join(found)
                    + ": what it predicts for structures that hold it is meaningless"
                )

    @torch.jit.unused
    def set_matmul_precision(self, device: torch.device) -> None:
        """Set TF32 in training on a CUDA device, full precision otherwise; the backward pass follows the setting."""
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high" if self.training and self.enable_tf32 else "highest")

    @torch.jit.export
    def forward_lower(
        self,
        extended_coord: Tensor,
        extended_atype: Tensor,
        nlist: Tensor,
        mapping: Tensor | None = None,
        fparam: Tensor | None = None,
        aparam: Tensor | None = None,
        do_atomic_virial: bool = False,
        comm_dict: dict[str, Tensor] | None = None,
        charge_spin: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Predict owned atoms from the neighbour table of an MD engine; derivatives go to ghosts too.

        Ghosts whose owner is known (``mapping``) are folded onto it; otherwise their features come through the
        communication tables ``comm_dict``. Neighbours beyond the cutoff are dropped, none is truncated.
        """
        descriptor = self.atomic_model.descriptor
        self.warn_of_elements(extended_atype)
        frames = nlist.shape[0]
        coord = extended_coord.view(frames, -1, 3)
        graph, scatter = from_table(
            coord,
            extended_atype,
            nlist,
            mapping,
            comm_dict,
            descriptor.rcut,
            descriptor.ntypes,
            descriptor.excluded,
        )
        conditions = self.conditions(fparam, aparam, charge_spin, frames, graph.vector)
        result = self.atomic_model.derive(graph, scatter, frames, conditions, self.training, do_atomic_virial)
        nloc, nall = nlist.shape[1], coord.shape[1]
        predicted = {
            "atom_energy": result["atom_energy"].view(frames, nloc, 1),
            "energy": result["energy"].unsqueeze(1),
            "extended_force": result["force"].view(frames, nall, 3),
            "virial": result["virial"],
        }
        if do_atomic_virial:
            predicted["extended_virial"] = result["atom_virial"].view(frames, nall, 9)
        return predicted

    @torch.jit.export
    def forward_common_lower(
        self,
        coord: Tensor,
        atype: Tensor,
        edge_index: Tensor,
        edge_vec: Tensor,
        edge_scatter_index: Tensor,
        edge_mask: Tensor,
        fparam: Tensor | None = None,
        aparam: Tensor | None = None,
        charge_spin: Tensor | None = None,
        input_prec: int | None = None,
    ) -> dict[str, Tensor]:
        """Predict from edges that the caller has found; the interface of DeePMD-kit for models of this type.

        Parameters
        ----------
        coord, atype : Tensor
            Atoms that receive derivatives (frames, nall, 3), and owned types (frames, nloc).
        edge_index : Tensor
            Sender and receiver among the owned atoms of all frames, (2, E).
        edge_vec : Tensor
            Edge vectors, (E, 3).
        edge_scatter_index : Tensor
            Sender and receiver among the atoms that receive derivatives, (2, E).
        edge_mask : Tensor
            Which edges count, (E,).
        fparam, aparam, charge_spin : Tensor, optional
            Conditions.
        input_prec : int, optional
            Precision of the caller's input; results are always float64.

        Returns
        -------
        dict[str, Tensor]
            DeePMD-kit's internal names.
        """
        frames = atype.shape[0]
        self.warn_of_elements(atype)
        edges: Tensor | None = None
        if torch.jit.is_scripting():
            check_types(atype, self.atomic_model.descriptor.ntypes)
            edges = sort_edges(edge_mask.to(torch.bool).nonzero().flatten(), edge_index[1])
        elif self.sorts_edges():
            # in a traced graph no size and no branch may depend on values
            edges = torch.argsort(edge_index[1], stable=True)
        if edges is not None:
            edge_index, edge_vec = edge_index.index_select(1, edges), edge_vec.index_select(0, edges)
            edge_scatter_index = edge_scatter_index.index_select(1, edges)
            edge_mask = edge_mask.index_select(0, edges)
        nall = coord.view(frames, -1, 3).shape[1]
        graph = self.graph_of_edges(atype, edge_index, edge_vec, edge_mask)
        scatter = Scatter(edge_scatter_index[0], edge_scatter_index[1], frames * nall)
        traced = not torch.jit.is_scripting()
        conditions = self.conditions(fparam, aparam, charge_spin, frames, graph.vector, traced)
        return self.derive_common(graph, scatter, atype, conditions)

    @torch.jit.unused
    def sorts_edges(self) -> bool:
        """Tell whether operations want edges sorted by receiver."""
        return backend_of(self) != "plain"

    @torch.jit.export
    def forward_systems(
        self,
        atype: Tensor,
        system: Tensor,
        systems: int,
        edge_index: Tensor,
        edge_vec: Tensor,
        fparam: Tensor | None = None,
        aparam: Tensor | None = None,
        charge_spin: Tensor | None = None,
        do_atomic_virial: bool = False,
        last_layer: bool = False,
    ) -> dict[str, Tensor]:
        """Predict systems of different sizes from their edges.

        Parameters
        ----------
        atype, system : Tensor
            Type and system of every atom, (N,).
        systems : int
            Number of systems.
        edge_index, edge_vec : Tensor
            Sender and receiver of every edge, (2, E), sorted by receiver, and edge vectors (E, 3).
        fparam, aparam, charge_spin : Tensor, optional
            Conditions: (systems, .), (N, .), (systems, 2).
        do_atomic_virial : bool
            Return the virial of each atom too.
        last_layer : bool
            Return what the last layer of the fitting network is linear in.

        Returns
        -------
        dict[str, Tensor]
            As :meth:`~deepmd_dpa4.model.potential.PotentialMethods.derive`.
        """
        graph = self.graph_of_systems(atype, system, edge_index, edge_vec)
        scatter = Scatter(graph.ends.sender, graph.ends.receiver, graph.ends.n_receivers)
        conditions = self.conditions(fparam, aparam, charge_spin, systems, graph.vector)
        return self.atomic_model.derive(
            graph, scatter, systems, conditions, False, do_atomic_virial, last_layer=last_layer
        )

    @torch.jit.export
    def edge_gradient_of_systems(
        self,
        atype: Tensor,
        system: Tensor,
        systems: int,
        edge_index: Tensor,
        edge_vec: Tensor,
        fparam: Tensor | None = None,
        aparam: Tensor | None = None,
        charge_spin: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Differentiate the energy of systems by their edge vectors, so that the result can be differentiated again.

        Parameters as of :meth:`forward_systems`. Returns ``energy`` (N,) of the atoms, ``gradient`` (E, 3) with its
        history, and ``vector`` (E, 3), what it is differentiated by; eV and Angstrom.
        """
        graph = self.graph_of_systems(atype, system, edge_index, edge_vec)
        conditions = self.conditions(fparam, aparam, charge_spin, systems, graph.vector)
        energy, gradient, vector, _ = self.atomic_model.evaluate(graph, conditions, True, False)
        return {"energy": energy.detach(), "gradient": gradient, "vector": vector}

    def derive_common(self, graph: Graph, scatter: Scatter, atype: Tensor, conditions: Conditions) -> dict[str, Tensor]:
        """Evaluate energy and derivatives under DeePMD-kit's internal names."""
        # a traced graph must not depend on the number of edges of the sample it is traced with
        tiled = torch.jit.is_scripting()
        frames, atoms = atype.shape
        result = self.atomic_model.derive(graph, scatter, frames, conditions, self.training, True, tiled)
        receivers = scatter.n_atoms // frames
        return {
            "energy": result["atom_energy"].view(frames, atoms, 1),
            "energy_redu": result["energy"].unsqueeze(1),
            "energy_derv_r": result["force"].view(frames, receivers, 1, 3),
            "energy_derv_c": result["atom_virial"].view(frames, receivers, 1, 9),
            "energy_derv_c_redu": result["virial"].unsqueeze(1),
            "mask": (atype >= 0).to(torch.int32),
        }

    @torch.jit.export
    def forward_embedding(
        self,
        coord: Tensor,
        atype: Tensor,
        box: Tensor | None = None,
        fparam: Tensor | None = None,
        aparam: Tensor | None = None,
        charge_spin: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute descriptor, last hidden features and their sum over atoms, as ``dp eval-desc`` asks for them."""
        frames, atoms = atype.shape
        graph, _ = self.graph_of(coord.view(frames, atoms, 3), atype, box)
        conditions = self.conditions(fparam, aparam, charge_spin, frames, graph.vector)
        with torch.no_grad():
            values = self.atomic_model.predict(graph, conditions)
        features, hidden = values["features"], values["last_hidden"]
        counted = self.atomic_model.counted.index_select(0, graph.node_type[: graph.ends.n_receivers])
        hidden = hidden.view(frames, atoms, hidden.shape[1])
        pooled = (hidden * counted.view(frames, atoms, 1).to(hidden.dtype)).sum(dim=1)
        return {
            "descriptor": features.view(frames, atoms, features.shape[1]),
            "atomic_feature": hidden,
            "structural_feature": pooled,
        }

    def change_out_bias(self, merged: Any, bias_adjust_mode: str = "change-by-statistic") -> None:
        """Fit the bias of each element to data, except preset ones, and tell what it was and is."""
        atomic, preset = self.atomic_model, self.atomic_model.preset_out_bias
        before = self.get_out_bias().flatten().tolist()
        if preset is not None and bias_adjust_mode == "change-by-statistic":
            # the host takes the preset for the value of the shift, and would add it once more at every fit
            atomic.preset_out_bias = preset_shift(preset, before)
        try:
            _HostModel.change_out_bias(self, merged, bias_adjust_mode)
        finally:
            atomic.preset_out_bias = preset
        after = self.get_out_bias().flatten().tolist()
        log.info("output bias:\n%s", bias_table(atomic.type_map, before, after, preset))

    def predict_atomic_outputs_for_stat(
        self,
        coord: Tensor,
        atype: Tensor,
        box: Tensor | None,
        fparam: Tensor | None = None,
        aparam: Tensor | None = None,
        charge_spin: Tensor | None = None,
        spin: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Predict all, short-range repulsion included, from which the host fits a shift of the bias."""
        charge_spin = None if charge_spin is None else torch.as_tensor(charge_spin)
        training = self.training
        self.eval()
        try:
            result = self.forward(coord, atype, box, fparam, aparam, False, charge_spin)
        finally:
            self.train(training)
        return {"energy": result["atom_energy"].detach(), "mask": result["mask"]}
