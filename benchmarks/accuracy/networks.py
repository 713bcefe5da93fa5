"""Inputs of `dp --pt train`: networks, and the training that all networks of a data set share."""

from typing import Any

from splits import DATA, Folders

from deepmd_dpa4.tools.presets import recipe
from deepmd_dpa4.tools.presets.sizes import FIRST_GENERATION, FITTING, SIZES

Section = dict[str, Any]

SMALL: Section = {
    "channels": 32,
    "lmax": 2,
    "n_blocks": 2,
    "mixing_layers": 2,
    "n_radial": 16,
    "radial_so2_mode": "degree_channel",
    "radial_so2_rank": 1,
    "use_env_seed": True,
    **FIRST_GENERATION,
}
"""Configuration of this benchmark: half the layers of Mini, and grids on S2 only."""
NETWORKS = ("nano", "mini", "small")

RECIPES: dict[str, Section] = {
    "published": {
        "optimizer": {"type": "HybridMuon", "weight_decay": 0.001, "enable_gram": False},
        "loss": recipe.loss(virial=False),
        "learning_rate": {"start_lr": 6.5e-4, "stop_lr": 1e-6, "decay_phase_ratio": 0.65, "decay_type": "cosine"},
    },
    "adamw": {
        "optimizer": {"type": "AdamW", "weight_decay": 0.001},
        "loss": recipe.loss(virial=False),
        "learning_rate": {"start_lr": 3e-3, "stop_lr": 1e-5, "decay_phase_ratio": 0.8, "decay_type": "cosine"},
    },
    "squares": {
        "optimizer": {"type": "AdamW"},
        "loss": {
            "type": "ener",
            **{"start_pref_e": 1, "limit_pref_e": 20, "start_pref_f": 100, "limit_pref_f": 20},
            **{"start_pref_v": 0, "limit_pref_v": 0},
        },
        "learning_rate": {"start_lr": 3e-3, "stop_lr": 1e-5, "decay_phase_ratio": 0.8, "decay_type": "cosine"},
    },
    "finetune": {
        "optimizer": {"type": "HybridMuon", "weight_decay": 0.001},
        "loss": recipe.loss(virial=False),
        "learning_rate": {"type": "cosine", "start_lr": recipe.FINETUNE_LR, "stop_lr": 1e-6},
    },
}
"""Optimizer, loss and learning rate; which one a data set takes is chosen on its validation frames."""


def descriptor(network: str, name: str) -> Section:
    """Write the section of a network; published ones keep their cutoff of 6 Angstrom."""
    if network == "small":
        return SMALL | {"rcut": DATA[name].rcut}
    return SIZES[network].descriptor()


def dpa4_input(
    network: str, name: str, folders: Folders, steps: int, seed: int, *, recipe_name: str, batch: int, saves: int
) -> Section:
    """Write a training of ``steps`` batches of at least ``batch`` atoms with ``saves`` checkpoints."""
    chosen = RECIPES[recipe_name]
    rate = {"type": "wsd", "warmup_steps": max(1, min(50, steps // 20)), "warmup_start_factor": 0.2}
    return {
        "model": {
            "type": "dpa4",
            "type_map": list(DATA[name].type_map),
            "descriptor": descriptor(network, name) | {"seed": seed},
            "fitting_net": {**FITTING, "seed": seed},
        },
        "learning_rate": rate | chosen["learning_rate"],
        "optimizer": chosen["optimizer"],
        "loss": chosen["loss"],
        "training": {
            "training_data": {"systems": [str(folders.training.resolve())], "batch_size": f"auto:{batch}"},
            "numb_steps": steps,
            "gradient_max_norm": 5.0,
            "disp_freq": max(1, steps // 10),
            "save_freq": max(1, steps // saves),
            "max_ckpt_keep": saves + 2,
            "seed": seed,
        },
    }


def dpa3_input(name: str, folders: Folders, steps: int, seed: int, *, batch: int, saves: int) -> Section:
    """Write a training of DPA3-L6 with the settings that DeePMD-kit documents for it."""
    repflow = {
        **{"n_dim": 128, "e_dim": 64, "a_dim": 32, "nlayers": 6, "axis_neuron": 4, "fix_stat_std": 0.3},
        **{"e_rcut": 6.0, "e_rcut_smth": 5.3, "e_sel": 120, "a_rcut": 4.0, "a_rcut_smth": 3.5, "a_sel": 30},
        **{"a_compress_rate": 1, "a_compress_e_rate": 2, "a_compress_use_split": True, "update_angle": True},
        **{"smooth_edge_update": True, "edge_init_use_dist": True, "use_exp_switch": True},
        **{"update_style": "res_residual", "update_residual": 0.1, "update_residual_init": "const"},
    }
    options = {"activation_function": "silut:10.0", "use_tebd_bias": False, "concat_output_tebd": False}
    section = dpa4_input("nano", name, folders, steps, seed, recipe_name="squares", batch=batch, saves=saves)
    return section | {
        "model": {
            "type_map": list(DATA[name].type_map),
            "descriptor": {"type": "dpa3", "repflow": repflow, "precision": "float32", "seed": seed, **options},
            "fitting_net": {
                "neuron": [240, 240, 240],
                "resnet_dt": True,
                "activation_function": "silut:10.0",
                "precision": "float32",
                "seed": seed,
            },
        },
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": max(1, steps // 200)},
        "optimizer": {"type": "Adam"},
        "loss": {
            "type": "ener",
            **{"start_pref_e": 0.2, "limit_pref_e": 20, "start_pref_f": 100, "limit_pref_f": 60},
            **{"start_pref_v": 0, "limit_pref_v": 0},
        },
    }
