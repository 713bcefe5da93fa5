"""Label frames of the water example with GFN2-xTB: a small data set at another level of theory.

Run ``python generate.py`` to recreate ``data/train`` and ``data/valid`` next to this file.
"""

from __future__ import annotations

from pathlib import Path

import dpdata
import numpy as np
from rich.progress import track
from tblite.ase import TBLite

HERE = Path(__file__).resolve().parent
WATER = HERE.parent / "water" / "data"
FRAMES = {"train": 50, "valid": 40}


def label(frame: dpdata.System) -> dpdata.LabeledSystem:
    """Label one frame."""
    (atoms,) = frame.to("ase/structure")
    atoms.calc = TBLite(method="GFN2-xTB", accuracy=0.1, verbosity=0)
    return dpdata.LabeledSystem(atoms, fmt="ase/structure", type_map=["O", "H"])


def main() -> None:
    """Frames evenly spaced in the sets, which are ordered by temperature."""
    for name, count in FRAMES.items():
        frames = dpdata.LabeledSystem(str(WATER / name), fmt="deepmd/npy")
        chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
        labelled = [label(frames[int(index)]) for index in track(chosen, description=name)]
        system = labelled[0]
        for frame in labelled[1:]:
            system.append(frame)
        system.to("deepmd/npy", HERE / "data" / name, set_size=count, prec=np.float64)


if __name__ == "__main__":
    main()
