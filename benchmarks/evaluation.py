"""How long do energy and forces of liquid water take, and a training step?

Mini, fp32, copies of one frame of the example data, both implementations with the same weights.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from compare import allocator_settings, alternate, machine
from deepmd.pt.model.model import get_model

from deepmd_dpa4.host import official

HERE = Path(__file__).resolve().parent
MINI = {
    "type": "dpa4",
    "type_map": ["O", "H"],
    "descriptor": {
        "sel": 120,
        "channels": 32,
        "lmax": 2,
        "n_blocks": 2,
        "mixing_layers": 3,
        "message_node_so3": True,
        "ffn_so3_grid": True,
        "grid_branch": [0, 0, 1],
        "so3_readout": "mlp",
        "edge_norm": False,
        "seed": 1,
    },
    "fitting_net": {"seed": 1},
}


def water(doublings: int) -> dict[str, torch.Tensor]:
    """A frame of 96 atoms, doubled along x, y, z, x, ... in turn."""
    data = HERE.parent / "examples" / "water" / "data" / "valid"
    types = np.loadtxt(data / "type.raw", dtype=int)
    coord = np.load(data / "set.000" / "coord.npy")[0].reshape(-1, 3)
    box = np.load(data / "set.000" / "box.npy")[0].reshape(3, 3)
    for axis in range(doublings):
        coord = np.concatenate([coord, coord + box[axis % 3]])
        types = np.tile(types, 2)
        box[axis % 3] *= 2
    return {
        "coord": torch.tensor(coord)[None],
        "atype": torch.tensor(types)[None],
        "box": torch.tensor(box.reshape(1, 9)),
    }


def evaluate(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> None:
    model.eval()
    model(**batch)


def train_step(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> None:
    model.train()
    model.zero_grad()
    result = model(**batch)
    (result["energy"].sum() + result["force"].square().sum()).backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--doublings", type=int, default=1, help="atoms = 96 * 2**doublings")
    parser.add_argument("--no-training", action="store_true", help="leave the training step out")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "evaluation.json")
    options = parser.parse_args()
    ours = get_model(MINI)
    theirs = official.build(MINI)
    theirs.load_state_dict(ours.state_dict())
    batch = water(options.doublings)
    report = {
        "machine": machine(),
        "allocator": allocator_settings(),
        "atoms": batch["atype"].shape[1],
        "model": "mini, fp32",
    }
    steps = {"energy and forces": evaluate} | ({} if options.no_training else {"training step": train_step})
    for name, step in steps.items():
        candidates = {
            "deepmd-dpa4": lambda step=step: step(ours, batch),
            "official": lambda step=step: step(theirs, batch),
        }
        report[name] = alternate(candidates, options.repeats)
        for who, result in report[name].items():
            print(
                f"{name:20s} {who:12s} {result['median_s']:7.3f} s  yardstick {result['yardstick_gflops']:5.0f} GFLOP/s"
            )
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
