"""Networks and atoms that the benchmarks run.

Atoms are described by a small dictionary that can be sent to another process:
``{"kind": "water", "atoms": 192, "scale": 1.0}``, ``{"kind": "clusters", "frames": 16, "molecules": 9}`` or
``{"kind": "diamond", "atoms": 400}``.
"""

import copy
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_dpa4.tools.presets.sizes import SIZES

TINY = {"channels": 8, "lmax": 1, "n_blocks": 1, "rcut": 4.0}
WATER = Path(__file__).resolve().parents[1] / "examples" / "water"
CELL_ATOMS = 96
"""Atoms of a frame of the example data."""

LATTICE = 3.567
"""Edge of the cubic cell of diamond, which has 8 atoms, Angstrom."""

Spec = dict[str, Any]


def network(name: str) -> dict[str, Any]:
    """``model`` section of an input: the published network of this name, fp32, as ``dpa4 init`` has it.

    ``tiny`` only shows that a benchmark runs.
    """
    model = copy.deepcopy(json.loads((WATER / "train.json").read_text())["model"])
    options = SIZES["mini"].descriptor() | TINY if name == "tiny" else SIZES[name].descriptor()
    # built directly, not by `dp train`, which would count the neighbours
    model["descriptor"] = options | {"sel": 120, "seed": 1}
    return model


def water(atoms: int, scale: float = 1.0) -> Spec:
    """Periodic liquid water; ``scale`` stretches all lengths: below 1 is dense, above 1 dilute."""
    return {"kind": "water", "atoms": atoms, "scale": scale}


def clusters(frames: int, molecules: int) -> Spec:
    """Batch of frames without a cell, each a few neighbouring molecules cut from the liquid."""
    return {"kind": "clusters", "frames": frames, "molecules": molecules}


def diamond(atoms: int) -> Spec:
    """Periodic diamond of one type, every atom displaced a little."""
    return {"kind": "diamond", "atoms": atoms}


def describe(spec: Spec) -> str:
    """For tables."""
    if spec["kind"] == "diamond":
        return f"{spec['atoms']:,} diamond atoms"
    if spec["kind"] == "clusters":
        return f"{spec['frames']} x {3 * spec['molecules']}-atom water cluster"
    density = {True: "dense ", False: "dilute "}[spec["scale"] < 1] if spec["scale"] != 1 else ""
    return f"{spec['atoms']:,} {density}water atoms"


def count(spec: Spec) -> int:
    """Number of atoms of all frames."""
    return spec["atoms"] if "atoms" in spec else 3 * spec["molecules"] * spec["frames"]


def arrays(spec: Spec) -> dict[str, np.ndarray]:
    """Positions ``coord`` (frames, n, 3), types ``atype`` (frames, n) and, if periodic, cells ``box`` (frames, 9)."""
    if spec["kind"] == "clusters":
        return _clusters(spec["frames"], spec["molecules"])
    if spec["kind"] == "diamond":
        return _diamond(spec["atoms"])
    coord, types, box = _frame(0)
    shift, cell = _images(copies(spec["atoms"]), box)
    coord = (shift[:, None] + coord).reshape(1, -1, 3)
    scale = spec["scale"]
    return {
        "coord": scale * coord,
        "atype": np.tile(types, len(shift))[None],
        "box": scale * cell.reshape(1, 9),
    }


def copies(atoms: int, of_cell: int = CELL_ATOMS) -> tuple[int, int, int]:
    """Copies of a cell of 96 atoms along each axis, as close to a cube as possible.

    Raises
    ------
    ValueError
        If ``atoms`` is not a multiple of ``of_cell``.
    """
    cells, rest = divmod(atoms, of_cell)
    if rest or not cells:
        raise ValueError(f"`atoms` is {atoms} but must be a multiple of {of_cell}")
    sizes = [n for n in range(1, cells + 1) if cells % n == 0]
    shapes = [(a, b, cells // (a * b)) for a, b in product(sizes, sizes) if cells % (a * b) == 0]
    return min(shapes, key=lambda shape: (max(shape) - min(shape), [-n for n in shape]))


def write_data(folder: Path, atoms: int, frames: int) -> Path:
    """Training data of boxes made of copies of the first frames; returns ``folder``."""
    data = {name: _data(name)[:frames] for name in ("coord", "box", "energy", "force", "virial")}
    numbers = copies(atoms)
    cells = atoms // CELL_ATOMS
    shifts, boxes = zip(*(_images(numbers, box.reshape(3, 3)) for box in data["box"]), strict=True)
    coord = data["coord"].reshape(frames, 1, CELL_ATOMS, 3) + np.stack(shifts)[:, :, None]
    part = folder / "set.000"
    part.mkdir(parents=True)
    np.save(part / "coord.npy", coord.reshape(frames, -1))
    np.save(part / "box.npy", np.stack(boxes).reshape(frames, 9))
    np.save(part / "energy.npy", cells * data["energy"])
    np.save(part / "virial.npy", cells * data["virial"])
    np.save(part / "force.npy", np.tile(data["force"], cells))
    (folder / "type.raw").write_text("\n".join(map(str, np.tile(_types(), cells))) + "\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    return folder


def _data(name: str) -> np.ndarray:
    return np.load(WATER / "data" / "valid" / "set.000" / f"{name}.npy")


def _types() -> np.ndarray:
    return np.loadtxt(WATER / "data" / "valid" / "type.raw", dtype=int)


def _frame(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return _data("coord")[index].reshape(-1, 3), _types(), _data("box")[index].reshape(3, 3)


def _images(numbers: tuple[int, int, int], box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shift of each copy (copies, 3), and the whole cell (3, 3)."""
    index = np.array(list(product(*(range(n) for n in numbers))))
    return index @ box, np.array(numbers)[:, None] * box


def _clusters(frames: int, molecules: int) -> dict[str, np.ndarray]:
    coord = np.stack([_cluster(index, molecules) for index in range(frames)])
    return {"coord": coord, "atype": np.tile(_types()[: 3 * molecules], (frames, 1))}


def _diamond(atoms: int) -> dict[str, np.ndarray]:
    faces = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
    shift, box = _images(copies(atoms, 8), LATTICE * np.eye(3))
    coord = (shift[:, None] + LATTICE / 4 * np.concatenate([faces, faces + 1])).reshape(1, atoms, 3)
    coord = coord + np.random.default_rng(atoms).normal(0, 0.04, coord.shape)
    return {"coord": coord, "atype": np.zeros((1, atoms), dtype=np.int64), "box": box.reshape(1, 9)}


def _cluster(index: int, molecules: int) -> np.ndarray:
    """The first molecule of a frame and those nearest to it, as whole molecules around it: (3 * molecules, 3)."""
    coord, _, box = _frame(index)
    triples = coord.reshape(-1, 3, 3)
    oxygen = triples[:, :1]
    bonds = _nearest_image(triples - oxygen, box)
    away = _nearest_image(oxygen - oxygen[0], box)
    order = np.argsort(np.linalg.norm(away[:, 0], axis=1))[:molecules]
    return (away + bonds)[order].reshape(-1, 3)


def _nearest_image(vectors: np.ndarray, box: np.ndarray) -> np.ndarray:
    return vectors - np.round(vectors @ np.linalg.inv(box)) @ box
