"""The contract with DeePMD-kit and torch: names that they may change without notice, and what each is needed for.

DeePMD-kit promises little beyond its commands and ``deepmd.infer``, torch nothing about names with an underscore. A new
version of either is looked at here first: a name that has vanished is an entry that fails, with its reason beside it.
"""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import deepmd_dpa4

PACKAGE = Path(deepmd_dpa4.__file__).parent
PUBLIC = {"deepmd", "deepmd.__version__", "deepmd.infer.DeepPot"}

DEEPMD = {
    "deepmd.backend.pt_expt.PyTorchExportableBackend.match_filename": "rebound: decides which files `dp` opens how",
    "deepmd.backend.pytorch.PyTorchBackend.deep_eval": "rebound: where `DeepEval` comes from, in Python and `dp test`",
    "deepmd.dpmodel.output_def.FittingOutputDef": "what a fitting net declares",
    "deepmd.dpmodel.output_def.OutputVariableDef": "the same, one quantity",
    "deepmd.pt": "imported first, so that its registries are complete",
    "deepmd.pt.entrypoints.freeze_pt2.is_sezm_checkpoint": "checkpoints that only the built-in freezing can take",
    "deepmd.pt.entrypoints.main": "looks the names below up when a command runs",
    "deepmd.pt.entrypoints.main.freeze": "rebound: `dp --pt freeze`",
    "deepmd.pt.entrypoints.main.get_finetune_rules": "rebound: `--finetune` with another file, and its options",
    "deepmd.pt.entrypoints.main.get_trainer": "rebound: `dp --pt train`, before the model is built",
    "deepmd.pt.entrypoints.main.normalize": "rebound: `dp --pt train`, before data are read",
    "deepmd.pt.entrypoints.main.train": "rebound: `dp --pt train`, before anything is read",
    "deepmd.pt.entrypoints.main.preprocess_shared_params": "rebound: names of shared sections of a multi-task input",
    "deepmd.pt.infer.inference.Tester": "reads the checkpoint that is frozen",
    "deepmd.pt.model.atomic_model.DPAtomicModel": "base class: energy bias, statistics, excluded types",
    "deepmd.pt.model.atomic_model.DPAtomicModel.change_type_map": "extended: fine-tuning with other elements",
    "deepmd.pt.model.atomic_model.DPAtomicModel.compute_or_load_stat": "extended: statistics of the data",
    "deepmd.dpmodel.utils.stat._restore_observed_type_from_file": "elements that an earlier run stored (3.2)",
    "deepmd.dpmodel.utils.stat._save_observed_type_to_file": "stores them (3.2)",
    "deepmd.pt.model.atomic_model.DPAtomicModel.reinit_atom_exclude": "extended: excluded types",
    "deepmd.pt.model.descriptor.base_descriptor.BaseDescriptor": "base class and registry of descriptors",
    "deepmd.pt.model.descriptor.base_descriptor.BaseDescriptor.register": "registration",
    "deepmd.pt.model.model": "where `get_model` looks builders up",
    "deepmd.pt.model.model.dp_model.DPModelCommon": "base class: selection, input statistics",
    "deepmd.pt.model.model.get_sezm_model": "rebound: builder of models called dpa4",
    "deepmd.pt.model.model.get_sezm_spin_model": "rebound: the same with magnetic moments",
    "deepmd.pt.model.model.make_model.make_model": "base class: frames to neighbour tables, and precision",
    "deepmd.pt.model.model.model.BaseModel.register": "registration",
    "deepmd.pt.model.task.base_fitting.BaseFitting.register": "registration",
    "deepmd.pt.model.task.fitting.Fitting": "base class: buffers of frame and atomic parameters",
    "deepmd.pt.train.training": "looks names below up when it trains",
    "deepmd.pt.train.training.SeZMModel": "rebound: which models have low-rank updates",
    "deepmd.pt.train.training.Trainer": "whether its learning rate counts from the first step (3.1)",
    "deepmd.pt.train.training.apply_lora_to_sezm": "rebound: adds low-rank updates",
    "deepmd.pt.train.training.build_merged_state_dict": "rebound: folds low-rank updates into checkpoints",
    "deepmd.pt.utils.env.DEVICE": "the device that DeePMD-kit runs on",
    "deepmd.pt.utils.env.PRECISION_DICT": "names of precisions",
    "deepmd.pt.utils.nlist": "neighbour tables of frozen models, by the three names below",
    "deepmd.pt.utils.nlist.build_neighbor_list": "search; its argument `cap_neighbors` tells 3.2 from 3.1",
    "deepmd.pt.utils.nlist.extend_coord_with_ghosts": "periodic images (3.1)",
    "deepmd.pt.utils.nlist.extend_input_and_build_neighbor_list": "images and search (3.2)",
    "deepmd.pt.utils.nlist.normalize_coord": "atoms into the cell (3.1)",
    "deepmd.pt.utils.stat.compute_output_stats": "fit of the energy of each element (3.1)",
    "deepmd.pt_expt.utils.comm.ensure_comm_registered": "operator that exchanges ghosts between ranks in `.pt2` files",
    "deepmd.utils.argcheck": "tables of options, by the names below",
    "deepmd.utils.argcheck.descrpt_args_plugin": "options of descriptors",
    "deepmd.utils.argcheck.fitting_args_plugin": "options of fitting nets",
    "deepmd.utils.argcheck.model_args_plugin": "options of models",
    "deepmd.utils.argcheck.normalize": "the check of an input, for `dpa4 init`",
    "deepmd.utils.argcheck.validate_no_multitask_lora": "rebound: refuses low-rank updates in multi-task inputs",
    "deepmd.pt.utils.dataloader.DpLoaderSet": "extended: batches before a restart are passed over",
    "deepmd.pt.utils.dataloader.collate_batch": "frames of validation data as a batch, for the table at the end",
    "deepmd.utils.data": "looks `ThreadPoolExecutor` up when it reads a frame; replaced: reading without threads",
    "deepmd.utils.random._RANDOM_GENERATOR": "draws branches; its state is kept in checkpoints",
    "deepmd.utils.data_system.process_systems": "data folders of a training",
    "deepmd.utils.finetune.get_index_between_two_maps": "order of elements in fine-tuning",
    "deepmd.utils.finetune.map_atom_exclude_types": "excluded atoms in fine-tuning",
    "deepmd.utils.finetune.map_pair_exclude_types": "excluded pairs in fine-tuning",
}
LATER = {
    "deepmd.dpmodel.utils.stat._restore_observed_type_from_file",
    "deepmd.dpmodel.utils.stat._save_observed_type_to_file",
    "deepmd.backend.pt_expt.PyTorchExportableBackend.match_filename",
    "deepmd.pt.entrypoints.freeze_pt2.is_sezm_checkpoint",
    "deepmd.pt.model.model.get_sezm_model",
    "deepmd.pt.model.model.get_sezm_spin_model",
    "deepmd.pt.train.training.SeZMModel",
    "deepmd.pt.train.training.apply_lora_to_sezm",
    "deepmd.pt.train.training.build_merged_state_dict",
    "deepmd.pt_expt.utils.comm.ensure_comm_registered",
    "deepmd.utils.argcheck.validate_no_multitask_lora",
}
"""Names that DeePMD-kit has since 3.2 only, and that the package does without in 3.1."""

BY_OBJECT = {
    "deepmd.dpmodel.train.checkpoint.CheckpointStore.prune": "removes old checkpoints, after the new one has its name",
    "deepmd.dpmodel.train.checkpoint.CheckpointStore.publish": "replaced: the link to the newest checkpoint",
    "deepmd.pt.infer.deep_eval.DeepEval.__init__": "rebound: checkpoints in Python and `dp test`",
    "deepmd.pt.infer.deep_eval.DeepEval.eval": "rebound: untrained elements, and frames that cannot be searched",
    "deepmd.pt.optimizer.HybridMuonOptimizer.set_param_names": "which matrices AdamW updates",
    "deepmd.pt.train.training.Trainer._create_lr_scheduler": "tells 3.2 from 3.1: where the learning rate counts from",
    "deepmd.pt.train.training.Trainer._write_checkpoint": "extended: files are renamed when they are complete",
}
"""Names that are reached through objects, and looked for where 3.1 lacks them."""

TORCH = {
    "torch._C._will_engine_execute_node": "which gradients a compiled function has to return",
    "torch._decomp.get_decompositions": "embedding gradients in terms of operators that compiled files know",
    "torch._dispatch.python.enable_python_dispatcher": "tracing with symbolic sizes",
    "torch._dynamo.source.ConstantSource": "names of symbolic sizes",
    "torch._higher_order_ops.triton_kernel_wrap.triton_kernel_wrapper_functional": "kernels written by hand in a graph",
    "torch._guards.TracingContext": "compilation outside of torch.compile",
    "torch._guards.tracing": "the same",
    "torch._inductor.aoti_load_package": "reads a compiled file for its check",
    "torch._inductor.compile_fx.compile_fx": "compiles a traced graph",
    "torch._ops.OpOverload": "operators of a traced graph",
    "torch._inductor.config": "options of the compiler",
    "torch._inductor.config.get_config_copy": "tells which ones there are",
    "torch._inductor.config.patch": "sets them for one graph",
    "torch._inductor.custom_graph_pass.CustomGraphPass": "a pass over a graph that the compiler has simplified",
    "torch._inductor.custom_graph_pass.get_hash_for_files": "tells versions of that pass apart",
    "torch._inductor.inductor_prims.force_stride_order": "stores a tensor before kernels read it",
    "torch._inductor.scheduler.ForeachKernelSchedulerNode": "decides which kernels a card launches together",
    "torch._subclasses.fake_tensor.FakeTensor": "arguments of a traced graph",
    "torch._subclasses.fake_tensor.FakeTensorMode": "tracing without numbers",
}

ORTHOGONALIZER = "deepmd.pt.optimizer.hybrid_muon"
ATTRIBUTES = {
    "_ArgsPlugin__plugin": ("deepmd.utils.argcheck", "ArgsPlugin", "table of options; its official entry is extended"),
    "_compiled_call": (ORTHOGONALIZER, "_GramNewtonSchulzOrthogonalizer", "replaced on CPUs: not compiled (3.2)"),
    "_get_gram_orthogonalizer": ("deepmd.pt.optimizer", "HybridMuonOptimizer", "makes updates orthogonal (3.2)"),
    "_load_set": ("deepmd.utils.data", "DeepmdData", "frames of a data folder, to measure distances"),
    "_modules": ("torch.nn", "Module", "order of submodules; parameters shared between branches"),
    "_parameters": ("torch.nn", "Module", "parameters shared between branches"),
    "_next_index": ("torch.utils.data.dataloader", "_BaseDataLoaderIter", "draws frames without reading them"),
    "_orthogonalize_impl": (ORTHOGONALIZER, "_GramNewtonSchulzOrthogonalizer", "the same, not compiled (3.2)"),
    "_param_name_map": ("deepmd.pt.optimizer", "HybridMuonOptimizer", "names of parameters, by which it updates (3.1)"),
    "_schema": ("torch._ops", "OpOverload", "which operators return views"),
    "_shutdown_workers": (
        "torch.utils.data.dataloader",
        "_MultiProcessingDataLoaderIter",
        "ends the processes that load data, before multiprocessing waits for them",
    ),
    "_store_out_stat": ("deepmd.pt.model.atomic_model", "DPAtomicModel", "keeps the fitted energies (3.1)"),
    "_topological_sort_nodes": ("torch._inductor.scheduler", "Scheduler", "kernels that need nothing of each other"),
}
"""Private attributes of objects of others: class and reason."""


class Names(ast.NodeVisitor):
    """Full names of what a module uses of DeePMD-kit and torch; imports count within their function."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.scopes: list[dict[str, str]] = [{}]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.scopes.append({})
        for part in ast.walk(node):  # an import counts above the line it stands in too
            if isinstance(part, ast.Import | ast.ImportFrom):
                self.visit(part)
        self.generic_visit(node)
        self.scopes.pop()

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            top = alias.name.split(".")[0]
            if top in ("deepmd", "torch"):
                self.scopes[-1][alias.asname or top] = alias.name if alias.asname else top
                self.found.add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module and node.module.split(".")[0] in ("deepmd", "torch"):
            for alias in node.names:
                self.scopes[-1][alias.asname or alias.name] = f"{node.module}.{alias.name}"
                self.found.add(f"{node.module}.{alias.name}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts, value = [node.attr], node.value
        while isinstance(value, ast.Attribute):
            parts, value = [value.attr, *parts], value.value
        if isinstance(value, ast.Name):
            for scope in reversed(self.scopes):
                if value.id in scope:
                    self.found.add(".".join([scope[value.id], *parts]))
                    break
        self.generic_visit(node)


def trees() -> Iterator[ast.Module]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ast.parse(path.read_text(encoding="utf-8"))


def used() -> set[str]:
    names: set[str] = set()
    for tree in trees():
        visitor = Names()
        visitor.visit(tree)
        names |= visitor.found
    return names


def private_attributes() -> set[str]:
    """Attributes with one underscore of objects other than ``self``, that this package does not define itself."""
    read, defined = set(), set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                (defined if own and isinstance(node.ctx, ast.Store) else read).add(node.attr)
    return read - defined


USED = used()


def resolve(name: str) -> Any:
    """The object of a full name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def covered(name: str, table: dict[str, str]) -> bool:
    """Whether a name is in the table, or leads to one there, or goes on from one there."""
    return any(name == entry or entry.startswith(f"{name}.") or name.startswith(f"{entry}.") for entry in table)


def test_every_name_of_the_host_is_listed() -> None:
    names = {name for name in USED if name.split(".")[0] == "deepmd"} - PUBLIC
    assert {name for name in names if not covered(name, DEEPMD)} == set()


def test_every_private_name_of_torch_is_listed() -> None:
    names = {name for name in USED if name.startswith("torch.") and "._" in name.replace(".__", ".")}
    assert {name for name in names if not covered(name, TORCH)} == set()


def test_every_private_attribute_is_listed() -> None:
    namedtuple = {"_replace"}
    in_names = {part for name in USED for part in name.split(".")}
    assert private_attributes() - in_names - namedtuple == set(ATTRIBUTES)


@pytest.mark.parametrize("name", [*DEEPMD, *TORCH])
def test_listed_names_are_used_and_exist(name: str) -> None:
    assert any(used == name or used.startswith(f"{name}.") for used in USED), "not used any more: remove the entry"
    try:
        resolve(name)
    except AttributeError:
        if name not in LATER or resolve("deepmd.__version__") >= "3.2":
            raise
        pytest.skip("DeePMD-kit has it since 3.2")


@pytest.mark.parametrize("name", BY_OBJECT)
def test_names_reached_through_objects_exist(name: str) -> None:
    assert any(f".{name.rpartition('.')[2]}" in path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")) or (
        f'"{name.rpartition(".")[2]}"' in (PACKAGE / "host" / "compat.py").read_text(encoding="utf-8")
    ), "not used any more: remove the entry"
    if resolve("deepmd.__version__") < "3.2":
        pytest.skip("DeePMD-kit has it since 3.2")
    resolve(name)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_private_attributes_exist(name: str) -> None:
    module, owner, _ = ATTRIBUTES[name]
    described = getattr(importlib.import_module(module), owner)
    if owner == "HybridMuonOptimizer":
        instance = described([torch.nn.Parameter(torch.ones(2, 2))])
    else:
        described = torch.ops.aten.clone.default if owner == "OpOverload" else described
        made = owner in ("Module", "ArgsPlugin", "_GramNewtonSchulzOrthogonalizer")
        instance = described() if made else described
    assert hasattr(instance, name)
