"""eSEN (package fairchem-core), by its command `fairchem`.

Settings: the conserving small model, configs/esen/uma_sm_conserving_omol_4M.yaml with the backbone K4L2 of
https://github.com/facebookresearch/fairchem, whose batches of 1,400 atoms on each of 32 GPUs become `batch` frames.
Training from an own configuration: https://facebookresearch.github.io/fairchem/training.
"""

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from programs import Job, Program, type_names
from splits import DATA

from deepmd_dpa4.config.elements import ELEMENTS

STEP = re.compile(r"step_(\d+)")
LARGEST = 100
"""Elements of the table of energies."""


class ESEN(Program):
    """A configuration of hydra; checkpoints are folders named by steps, the last one is called final."""

    name = "esen"
    package = "fairchem-core"
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "k4l2": {"sphere_channels": 128, "lmax": 2, "mmax": 2, "num_layers": 4, "r_max": 6.0, "batch": 5}
    }

    def command(self, job: Job) -> list[Any]:
        """Write the input, which is YAML that JSON is a part of, or take that of the last checkpoint."""
        path = (job.folder / "input.yaml").resolve()
        if job.resume is not None:
            path = (job.folder / job.resume / "resume.yaml").resolve()
        else:
            path.write_text(json.dumps(self.section(job), indent=1))
        return [self.python.with_name("fairchem"), "-c", path]

    def section(self, job: Job) -> dict[str, Any]:
        """Write the input."""
        kind = kind_of(job.task.data)
        tasks, batches = self._tasks(job, kind), self.batches(job.frames, self.batch(job.task))
        steps = job.epochs * batches
        unit = "fairchem.core.units.mlip_unit.mlip_unit"
        return {
            "job": {
                **{"device_type": "CPU", "run_dir": str(job.folder.resolve()), "timestamp_id": "run"},
                **{"run_name": job.task.name, "seed": job.task.seed, "scheduler": {"mode": "LOCAL"}},
            },
            "runner": {
                "_target_": "fairchem.core.components.train.train_runner.TrainEvalRunner",
                "train_dataloader": self._loader(job, job.training, kind, tasks, True),
                "eval_dataloader": self._loader(job, job.validation, kind, tasks, False),
                "train_eval_unit": {
                    "_target_": f"{unit}.MLIPTrainEvalUnit",
                    "job_config": "${job}",
                    "tasks": tasks,
                    "model": self._model(job, kind),
                    "optimizer_fn": {
                        "_target_": "torch.optim.AdamW",
                        **{"_partial_": True, "lr": 8e-4, "weight_decay": 1e-3},
                    },
                    "cosine_lr_scheduler_fn": {
                        "_target_": f"{unit}._get_consine_lr_scheduler",
                        **{"_partial_": True, "warmup_factor": 0.2, "warmup_epochs": 0.01, "lr_min_factor": 0.01},
                        **{"epochs": None, "steps": steps},
                    },
                    **{"print_every": batches, "clip_grad_norm": 100, "bf16": False},
                },
                **{"max_epochs": None, "max_steps": steps, "max_eval_steps_per_epoch": 1},
                "callbacks": [
                    {
                        "_target_": "fairchem.core.components.train.train_runner.TrainCheckpointCallback",
                        **{"checkpoint_every_n_steps": job.every * batches, "max_saved_checkpoints": 1000},
                    }
                ],
            },
        }

    def _loader(self, job: Job, path: Path, kind: str, tasks: list[dict[str, Any]], shuffle: bool) -> dict[str, Any]:
        largest = self.batch(job.task) * largest_frame(path)
        return {
            "_target_": "fairchem.core.components.common.dataloader_builder.get_dataloader",
            "dataset": {
                "_target_": "fairchem.core.datasets.mt_concat_dataset.create_concat_dataset",
                "dataset_configs": {
                    kind: {
                        "splits": {"train": {"src": str(database(path, kind).resolve())}},
                        "format": "ase_db",
                        "a2g_args": {
                            **{"molecule_cell_size": 120.0, "r_energy": True, "r_forces": True, "r_edges": False},
                            **{"radius": self.settings[job.task.network]["r_max"], "max_neigh": 300},
                        },
                        "key_mapping": {"energy": f"{kind}_energy", "forces": f"{kind}_forces"},
                        "transforms": {"common_transform": {"dataset_name": kind}},
                    }
                },
                "combined_dataset_config": {"sampling": {"type": "temperature", "temperature": 1.0}},
            },
            "batch_sampler_fn": {
                "_target_": "fairchem.core.datasets.samplers.max_atom_distributed_sampler."
                "MaxAtomDistributedBatchSampler",
                **{"_partial_": True, "max_atoms": largest, "min_atoms": 0, "shuffle": shuffle, "seed": job.task.seed},
            },
            "num_workers": 0,
            "collate_fn": {
                "_target_": "fairchem.core.units.mlip_unit.mlip_unit.mt_collater_adapter",
                **{"tasks": tasks, "exclude_keys": []},
            },
        }

    def _model(self, job: Job, kind: str) -> dict[str, Any]:
        settings = self.settings[job.task.network]
        return {
            "_target_": "fairchem.core.models.base.HydraModel",
            "backbone": {
                "model": "fairchem.core.models.uma.escn_moe.eSCNMDMoeBackbone",
                **{"moe_dropout": 0.05, "moe_layer_type": "pytorch", "num_experts": 0},
                **{"use_composition_embedding": True, "use_global_embedding": False, "max_num_elements": LARGEST},
                **{key: settings[key] for key in ("sphere_channels", "lmax", "mmax", "num_layers")},
                **{"otf_graph": True, "max_neighbors": 300, "use_pbc": True, "use_pbc_single": True},
                **{"cutoff": settings["r_max"], "edge_channels": 128, "distance_function": "gaussian"},
                **{"num_distance_basis": 64, "regress_forces": True, "regress_stress": False, "direct_forces": False},
                **{"hidden_channels": 128, "norm_type": "rms_norm_sh", "act_type": "gate", "ff_type": "spectral"},
                **{"chg_spin_emb_type": "rand_emb", "cs_emb_grad": True, "dataset_list": [kind]},
            },
            "pass_through_head_outputs": True,
            "heads": {
                "energyandforcehead": {
                    "module": "fairchem.core.models.uma.escn_moe.DatasetSpecificSingleHeadWrapper",
                    "head_cls": "fairchem.core.models.uma.escn_md.MLP_EFS_Head",
                    "head_kwargs": {"wrap_property": False},
                    "dataset_names": [kind],
                }
            },
        }

    def _tasks(self, job: Job, kind: str) -> list[dict[str, Any]]:
        energies, spread = statistics(job.training, type_names(job.task))
        normalizer = {
            "_target_": "fairchem.core.modules.normalization.normalizer.Normalizer",
            **{"mean": 0.0, "rmsd": spread},
        }
        loss, references = "fairchem.core.modules.loss", "fairchem.core.modules.normalization.element_references"
        common = {"_target_": "fairchem.core.units.mlip_unit.mlip_unit.Task", "datasets": [kind]}
        return [
            {
                **common,
                **{"name": f"{kind}_energy", "level": "system", "property": "energy", "normalizer": normalizer},
                "loss_fn": {
                    "_target_": f"{loss}.DDPMTLoss",
                    **{"loss_fn": {"_target_": f"{loss}.PerAtomMAELoss"}, "coefficient": 10},
                },
                "out_spec": {"dim": [1], "dtype": "float32"},
                "element_references": {
                    "_target_": f"{references}.ElementReferences",
                    "element_references": {"_target_": "torch.DoubleTensor", "_args_": [energies]},
                },
                "metrics": ["mae", "per_atom_mae"],
            },
            {
                **common,
                **{"name": f"{kind}_forces", "level": "atom", "property": "forces", "normalizer": normalizer},
                "loss_fn": {
                    "_target_": f"{loss}.DDPMTLoss",
                    **{"loss_fn": {"_target_": f"{loss}.L2NormLoss"}, "reduction": "mean", "coefficient": 5},
                },
                "out_spec": {"dim": [3], "dtype": "float32"},
                **{"train_on_free_atoms": True, "eval_on_free_atoms": True, "metrics": ["mae"]},
            },
        ]

    def checkpoints(self, folder: Path) -> list[str]:
        """List folders with a network for inference, but that before the first step."""
        found = [path.parent for path in (folder / "run" / "checkpoints").glob("*/inference_ckpt.pt")]
        return [f"run/checkpoints/{path.name}" for path in found if path.name != "step_0"]

    def epoch(self, mark: str) -> int | None:
        """Not told by a name; see :meth:`step`."""
        return None

    def step(self, folder: Path, mark: str) -> int:
        """Tell the step."""
        found = STEP.fullmatch(Path(mark).name)
        return int(found[1]) if found else super().step(folder, mark)


def kind_of(data: str) -> str:
    """Name the kind of data as fairchem does: molecules or materials."""
    return "omol" if DATA[data].atoms else "omat"


def database(path: Path, kind: str) -> Path:
    """Write an extended XYZ file as a database of ASE, which fairchem reads, unless it is there."""
    from ase.db import connect
    from ase.io import iread

    output = path.with_suffix(".db")
    if not output.exists():
        with connect(output) as content:
            for atoms in iread(path, ":"):
                content.write(atoms, data={"charge": 0, "spin": 1} if kind == "omol" else {})
    return output


def largest_frame(path: Path) -> int:
    """Count the atoms of the largest frame of an extended XYZ file."""
    from ase.io import iread

    return max(len(atoms) for atoms in iread(path, ":"))


def statistics(path: Path, elements: list[str]) -> tuple[list[float], float]:
    """Fit an energy of each element, by atomic number, and compute the root mean square of the force components."""
    from ase.io import read

    frames = read(path, ":")
    counts = np.array([[frame.get_chemical_symbols().count(name) for name in elements] for frame in frames])
    fitted, *_ = np.linalg.lstsq(counts, np.array([frame.get_potential_energy() for frame in frames]), rcond=None)
    energies = [0.0] * LARGEST
    for name, energy in zip(elements, fitted):
        energies[ELEMENTS.index(name) + 1] = float(energy)
    forces = np.concatenate([frame.get_forces() for frame in frames])
    return energies, float(np.sqrt(np.mean(forces**2)))
