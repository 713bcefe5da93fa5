"""Sections of DeePMD-kit inputs for models small enough to train in a second."""

import copy
import json
from pathlib import Path
from typing import Any

Section = dict[str, Any]

DESCRIPTOR: Section = {
    "type": "dpa4",
    "rcut": 4.0,
    "sel": 40,
    "channels": 8,
    "n_radial": 6,
    "lmax": 2,
    "mmax": 1,
    "n_blocks": 2,
    "mixing_layers": 2,
    "message_node_so3": True,
    "ffn_so3_grid": True,
    "so3_readout": "mlp",
    "seed": 1,
}
SMALL: Section = {
    "type": "dpa4",
    "rcut": 3.5,
    "sel": 30,
    "channels": 8,
    "n_radial": 4,
    "lmax": 1,
    "n_blocks": 2,
    "mixing_layers": 2,
    "seed": 1,
}
FITTING: Section = {"type": "dpa4_ener", "neuron": [8], "seed": 1}
SE_A: Section = {
    "type": "se_e2_a",
    "rcut": 4.0,
    "rcut_smth": 1.0,
    "sel": [20, 20],
    "neuron": [4, 8],
    "axis_neuron": 2,
    "seed": 1,
}
LOSS: Section = {
    "type": "ener",
    "start_pref_e": 1,
    "limit_pref_e": 1,
    "start_pref_f": 10,
    "limit_pref_f": 10,
    "start_pref_v": 0.1,
    "limit_pref_v": 0.1,
}
FROZEN_RATE = 1e-25
"""A learning rate at which single precision weights do not move, so that loaded weights can be compared."""
VANISHING: Section = {"decay_steps": 1, "decay_rate": 0.1, "stop_lr": 1e-200}
"""For restarts with that rate: DeePMD-kit 3.1 goes on from the rate of the checkpoint and follows the decay alone."""


def model(descriptor: Section | None = None, fitting: Section | None = None, **others: Any) -> Section:
    """``model`` section; options of ``descriptor`` and ``fitting`` replace those of the small model."""
    return {
        "type": "dpa4",
        "type_map": ["O", "H"],
        "descriptor": SMALL | (descriptor or {}),
        "fitting_net": FITTING | (fitting or {}),
        **copy.deepcopy(others),
    }


def training(train: Path, valid: Path | None = None, steps: int = 2, rate: float = 1e-3, **options: Any) -> Section:
    """Everything but the model."""
    section: Section = {
        "training_data": {"systems": [str(train)], "batch_size": 2},
        "numb_steps": steps,
        "disp_freq": 1,
        "save_freq": steps,
        "seed": 1,
        **options,
    }
    if valid is not None:
        section["validation_data"] = {"systems": [str(valid)], "batch_size": 2}
    return {
        "learning_rate": {"type": "exp", "start_lr": rate, "stop_lr": rate / 10, "decay_steps": max(steps // 4, 1)},
        "loss": copy.deepcopy(LOSS),
        "training": section,
    }


def multi_task(train: Path, steps: int = 2, rate: float = 1e-3, film: bool = False, **options: Any) -> Section:
    """Two tasks that share descriptor and fitting net and differ in a task code."""
    single = training(train, steps=steps, rate=rate, **options)
    data = single["training"].pop("training_data")
    branches = {
        name: {"type": "dpa4", "type_map": "all", "descriptor": "net", "fitting_net": "fit"} for name in ("one", "two")
    }
    shared = {
        "all": ["O", "H"],
        "net": SMALL,
        "fit": FITTING | {"dim_case_embd": 2, "case_film_embd": film},
    }
    single["model"] = {"shared_dict": copy.deepcopy(shared), "model_dict": branches}
    single["loss_dict"] = {"one": single["loss"], "two": copy.deepcopy(single.pop("loss"))}
    single["training"]["model_prob"] = {"one": 0.5, "two": 0.5}
    single["training"]["data_dict"] = {name: {"training_data": copy.deepcopy(data)} for name in ("one", "two")}
    return single


def write(folder: Path, content: Section, name: str = "input.json") -> str:
    """Write an input and return its name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return name
