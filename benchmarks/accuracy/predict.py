"""Evaluate checkpoints of another code on an extended XYZ file, in the environment of that code.

Arguments: name of the code, folder of the training, file with frames, file for the results (.npz; number of parameters
and versions go into the .json beside it), checkpoints. Needs the code, ASE and NumPy, and nothing of this package.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np


def mace(folder, mark, _):
    """Calculator of MACE: the network of the training with the weights of a checkpoint."""
    import torch
    from mace.calculators import MACECalculator

    # written at the end of a training; a checkpoint holds weights alone
    (path, *_) = sorted((folder / "checkpoints").glob("*.model"))
    model = torch.load(path, map_location="cpu", weights_only=False)
    model.load_state_dict(torch.load(folder / mark, map_location="cpu", weights_only=False)["model"], strict=False)
    return MACECalculator(models=[model], device="cpu", default_dtype="float64"), model


def nequip(folder, mark, _):
    """Calculator of NequIP, with averaged weights."""
    from nequip.integrations.ase import NequIPCalculator

    calculator = NequIPCalculator._from_saved_model(folder / mark, device="cpu")
    return calculator, calculator.model


def esen(folder, mark, atoms):
    """Calculator of fairchem, with averaged weights."""
    from fairchem.core import FAIRChemCalculator
    from fairchem.core.units.mlip_unit import load_predict_unit

    unit = load_predict_unit(folder / mark / "inference_ckpt.pt", inference_settings="batch", device="cpu")
    return FAIRChemCalculator(unit, task_name="omat" if atoms.pbc.all() else "omol"), unit.model


CALCULATORS = {"mace": (mace, "mace-torch"), "nequip": (nequip, "nequip"), "esen": (esen, "fairchem-core")}


def main(words):
    """Write energies (checkpoints, frames), forces (checkpoints, atoms of all frames, 3), and what was evaluated."""
    from ase.io import read

    name, folder, frames, output, *marks = words
    build, package = CALCULATORS[name]
    structures = read(frames, ":")
    energies, forces, parameters = [], [], 0
    for mark in marks:
        calculator, model = build(Path(folder), mark, structures[0])
        parameters = sum(tensor.numel() for tensor in model.parameters() if tensor.is_floating_point())
        results = []
        for atoms in structures:
            atoms.calc = calculator
            results.append((atoms.get_potential_energy(), atoms.get_forces()))
        energies.append([energy for energy, _ in results])
        forces.append(np.concatenate([force for _, force in results]))
    np.savez(output, energies=np.array(energies, dtype=float), forces=np.array(forces, dtype=float))
    versions = {"version": version(package), "torch": version("torch")}
    about = {"parameters": parameters, "versions": versions}
    Path(output).with_suffix(".json").write_text(json.dumps(about))


if __name__ == "__main__":
    main(sys.argv[1:])
