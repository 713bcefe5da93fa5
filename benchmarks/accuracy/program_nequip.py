"""NequIP (package nequip), by its command `nequip-train`.

Settings: those of the tutorial, https://github.com/mir-group/nequip/blob/main/configs/tutorial.yaml, with a network of
l = 1 (`l1`) or, "more accurate but slower" there, of l = 2 (`l2`). Left out are the repulsion of its example, early
stopping, and compilation, which is meant for GPUs.
"""

import json
import re
from pathlib import Path
from typing import Any, ClassVar

from programs import Job, Program, type_names

CHECKPOINT = re.compile(r"epoch-(\d+)\.ckpt")
MONITORED = "val0_epoch/weighted_sum"


class NequIP(Program):
    """Lightning saves every few epochs; epochs count from 0."""

    name = "nequip"
    package = "nequip"
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        name: {"l_max": degree, "num_layers": 4, "num_features": 32, "r_max": 5.0, "batch": 5}
        for name, degree in (("l1", 1), ("l2", 2))
    }

    def command(self, job: Job) -> list[Any]:
        """Write the input, which is YAML that JSON is a part of."""
        (job.folder / "input.yaml").write_text(json.dumps(self.section(job), indent=1))
        resume = [] if job.resume is None else [f"++ckpt_path='{(job.folder / job.resume).resolve()}'"]
        words = ["-cp", str(job.folder.resolve()), "-cn", "input", f"hydra.run.dir={job.folder.resolve()}"]
        return [self.python.with_name("nequip-train"), *words, *resume]

    def section(self, job: Job) -> dict[str, Any]:
        """Write the input."""
        names, settings = type_names(job.task), self.settings[job.task.network]
        metrics = {
            "_target_": "nequip.train.EnergyForceMetrics",
            "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0},
        }
        return {
            "run": ["train"],
            "data": self._data(job, names, settings),
            "trainer": self._trainer(job),
            "training_module": {
                "_target_": "nequip.train.EMALightningModule",
                "ema_decay": 0.999,
                "loss": {
                    "_target_": "nequip.train.EnergyForceLoss",
                    "per_atom_energy": True,
                    "coeffs": {"total_energy": 1.0, "forces": 1.0},
                },
                "val_metrics": metrics,
                "train_metrics": metrics,
                "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
                "lr_scheduler": {
                    "scheduler": {
                        "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
                        **{"factor": 0.6, "patience": 5, "threshold": 0.2, "min_lr": 1e-6},
                    },
                    **{"monitor": MONITORED, "interval": "epoch", "frequency": 1},
                },
                "model": self._model(job, names, settings),
            },
            "global_options": {"allow_tf32": False},
        }

    def _data(self, job: Job, names: list[str], settings: dict[str, Any]) -> dict[str, Any]:
        loader = {"_target_": "torch.utils.data.DataLoader", "num_workers": 0}
        return {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": job.task.seed,
            "train_file_path": str(job.training.resolve()),
            "val_file_path": str(job.validation.resolve()),
            "transforms": [
                {
                    "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                    "model_type_names": names,
                    "chemical_species_to_atom_type_map": {name: name for name in names},
                },
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": settings["r_max"]},
            ],
            "train_dataloader": {**loader, "batch_size": settings["batch"], "shuffle": True},
            "val_dataloader": {**loader, "batch_size": 10},
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "dataloader_kwargs": {"batch_size": 10},
                "type_names": names,
            },
        }

    def _trainer(self, job: Job) -> dict[str, Any]:
        saved = {
            "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
            **{"dirpath": str(job.folder.resolve()), "filename": "epoch-{epoch}", "auto_insert_metric_name": False},
            **{"save_top_k": -1, "every_n_epochs": job.every, "save_on_train_epoch_end": True},
        }
        return {
            "_target_": "lightning.Trainer",
            **{"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_checkpointing": True},
            **{"max_epochs": job.epochs, "num_sanity_val_steps": 0, "callbacks": [saved]},
        }

    def _model(self, job: Job, names: list[str], settings: dict[str, Any]) -> dict[str, Any]:
        return {
            "_target_": "nequip.model.NequIPGNNModel",
            **{"seed": job.task.seed, "model_dtype": "float32", "type_names": names, "r_max": settings["r_max"]},
            **{"num_bessels": 8, "bessel_trainable": False, "polynomial_cutoff_p": 6},
            **{key: settings[key] for key in ("num_layers", "l_max", "num_features")},
            **{"parity": True, "radial_mlp_depth": 2, "radial_mlp_width": 64},
            "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
            "per_type_energy_scales": "${training_data_stats:per_type_forces_rms}",
            "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
            **{"per_type_energy_scales_trainable": False, "per_type_energy_shifts_trainable": False},
        }

    def checkpoints(self, folder: Path) -> list[str]:
        """List files."""
        found = [path.name for path in folder.glob("epoch-*.ckpt") if CHECKPOINT.fullmatch(path.name)]
        return sorted(found, key=self.epoch)

    def epoch(self, mark: str) -> int:
        """Tell the epochs: the file with index N has seen N + 1."""
        found = CHECKPOINT.fullmatch(mark)
        assert found is not None, mark
        return int(found[1]) + 1
