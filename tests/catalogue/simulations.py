"""Mistakes in simulations: structures in Python and ASE, files with native kernels, LAMMPS scripts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from ase import Atoms

from deepmd_dpa4 import Evaluator, Structure
from deepmd_dpa4.engines.ase import DPA4Calculator
from deepmd_dpa4.graph.extent import check_extent
from deepmd_dpa4.graph.neighbors import check_geometry, check_types, from_table
from deepmd_dpa4.host import kernels, loading
from deepmd_dpa4.host.build import build_model
from tests.catalogue.case import Case, Kind
from tests.catalogue.desk import Desk
from tests.support import inputs
from tests.support.commands import lammps
from tests.support.lammps import SCRIPT, triclinic, write_box

WATER = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]


def python(given: str, call: Callable[[Desk], object], remedy: str, *says: str) -> Case:
    """Lines of Python."""
    return Case(f"`{given}`", call, says, remedy)


def structure(words: str, remedy: str, *says: str, **arguments: Any) -> Case:
    """A structure that cannot be."""
    return python(f"Structure({words})", lambda desk: Structure(**arguments), remedy, *says)


def evaluated(words: str, remedy: str, *says: str, **arguments: Any) -> Case:
    """A structure that the model of water cannot evaluate."""

    def call(desk: Desk) -> object:
        return Evaluator(desk.checkpoint()).evaluate([Structure(**arguments)])

    return python(f'Evaluator("model.pt").evaluate([Structure({words})])', call, remedy, *says)


FINITE = "Look for the step before, or make the time step smaller."
SHAPE = "Give an array of the shape in the message."
PYTHON = (
    structure(
        'symbols="O", positions=[[0, 0]]',
        SHAPE,
        "`positions` has shape (1, 2)",
        "(1, 3)",
        symbols="O",
        positions=[[0, 0]],
    ),
    structure(
        'symbols="O", positions=[[0, 0, nan]]',
        FINITE,
        *("`positions`", "not finite"),
        symbols="O",
        positions=[[0, 0, np.nan]],
    ),
    structure(
        "..., cell=[1, 1, 1]",
        SHAPE,
        "`cell` has shape (3,)",
        "(3, 3)",
        symbols="O",
        positions=[[0, 0, 0]],
        cell=[1, 1, 1],
    ),
    structure(
        "..., pbc=[True]", SHAPE, "`pbc` is [True]", "three booleans", symbols="O", positions=[[0, 0, 0]], pbc=[True]
    ),
    structure(
        "..., charge_spin=[0, 0]",
        "Give 1 for a singlet.",
        *("`charge_spin` is [0.0, 0.0]", "from 1 to 99"),
        symbols="O",
        positions=[[0, 0, 0]],
        charge_spin=[0, 0],
    ),
    evaluated(
        'symbols=["Xe"], ...',
        "Take a model that knows it.",
        "structure 0",
        "'Xe'",
        "O, H",
        symbols=["Xe"],
        positions=[[0, 0, 0]],
    ),
    evaluated(
        "..., fparam=[1.0]",
        "Leave it out.",
        *("structure 0 has `fparam`", "model.pt knows no such condition"),
        symbols="OHH",
        positions=WATER,
        fparam=[1.0],
    ),
    evaluated(
        "..., cell=[[1, 0, 0], [1, 0, 0], [0, 0, 1]]",
        "Give three directions, or no cell for a molecule.",
        *("volume", "positive"),
        symbols="OHH",
        positions=WATER,
        cell=[[1, 0, 0], [1, 0, 0], [0, 0, 1]],
    ),
    python('Evaluator("none.pt")', lambda desk: Evaluator("none.pt"), "Correct the path.", "'none.pt'", "no such file"),
    python(
        'Evaluator("multi.pt")', lambda desk: Evaluator(desk.branches()), "Give `head`.", "`head` is None", "water, ice"
    ),
    python(
        'Evaluator("model.pt", head="one")',
        lambda desk: Evaluator(desk.checkpoint(), head="one"),
        "Leave `head` out.",
        *("`head` is 'one'", "None", "one model"),
    ),
    python(
        'DPA4Calculator("model.pt").get_potential_energy(Atoms("Fe"))',
        lambda desk: DPA4Calculator(desk.checkpoint()).get_potential_energy(Atoms("Fe")),
        "Take a model that knows the element.",
        *("'Fe'", "model.pt: O, H"),
    ),
)


def frames(given: str, call: Callable[[], object], remedy: str, *says: str) -> Case:
    """Frames that any program hands over."""
    return Case(given, lambda desk: call(), says, remedy)


def exchange(received: int | None) -> object:
    """One owned atom and two ghosts, with communication tables for some, or none."""
    coord, atype = torch.zeros(1, 3, 3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.long)
    tables = None if received is None else {"recv_num": torch.tensor([received])}
    return from_table(coord, atype, torch.tensor([[[1, 2]]]), None, tables, 4.0, 1, None)


NAN = torch.full((1, 1, 3), torch.nan)
FLAT = torch.tensor([[[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]]])
WIDE = torch.tensor([[[0.0, 0, 0], [1e6, 0, 0]]], dtype=torch.float64)
FRAMES = (
    frames("A position that is NaN", lambda: check_geometry(NAN, None), FINITE, "`coord` of frame 0", "not finite"),
    frames(
        "Two parallel cell vectors",
        lambda: check_geometry(torch.zeros(1, 1, 3), FLAT),
        "Give three directions, or no cell for a molecule.",
        *("`box` of frame 0 has volume 0.0", "positive"),
    ),
    frames(
        "A type index beyond the model",
        lambda: check_types(torch.tensor([0, 2]), 2),
        "Map the types to those of the model.",
        *("type index 2", "2 types"),
    ),
    frames(
        "An atom that has flown away, in a frozen model",
        lambda: check_extent(WIDE, None, 4.0),
        "Find out why it flies, or evaluate by the checkpoint.",
        *("frame 0 is too wide", "4 A"),
    ),
    frames(
        "A compiled file (`.pt2`) in LAMMPS without an atom map",
        lambda: exchange(None),
        "Add `atom_modify map yes` before the box is created.",
        *("ghost atoms", "`atom_modify map yes`"),
    ),
    frames(
        "`comm_style tiled` in LAMMPS",
        lambda: exchange(1),
        "Write `comm_style brick`, the default.",
        *("1 ghost atoms but there are 2", "`comm_style brick`"),
    ),
)


def native_file(desk: Desk) -> object:
    """A file with native kernels on a machine without them."""

    def read(file: str) -> object:
        raise RuntimeError("Unknown builtin op: dpa4::edge_message")

    with patch.object(loading, "load", lambda: False):
        return loading.with_native_kernels(read)("model.pth")


def demanded(desk: Desk) -> object:
    """Native kernels in the input on a machine without them."""
    with patch.object(kernels, "load", lambda: False):
        return build_model(inputs.model(kernels="native"))


def half(desk: Desk) -> object:
    """Native kernels in a precision that they do not have."""
    return build_model(inputs.model({"precision": "bfloat16"}, kernels="native"))


BUILD = "Install `g++` and run `dpa4 build` (about a minute), or use plain kernels."
KERNELS = (
    Case(
        "A file with native kernels where they cannot be had",
        native_file,
        ("model.pth", "native", "`dpa4 build`"),
        BUILD,
    ),
    Case(
        '`model/kernels: "native"` where they cannot be had',
        demanded,
        ("`model/kernels` is 'native'", "`dpa4 build`", "`plain`"),
        BUILD,
    ),
    Case(
        '`model/kernels: "native"`, with `precision: "bfloat16"`',
        half,
        ("`model/kernels` is 'native'", "'bfloat16'", "float32 and float64"),
        "Use `float32`, or leave `kernels` out.",
    ),
)


def script(desk: Desk, model: str, names: str) -> str:
    """The line of a LAMMPS run that says why it ended."""
    write_box(Path("box.data"), triclinic())
    text = SCRIPT.format(map="atom_modify map yes", model=model, names=names, run="run 0")
    printed = lammps(text, Path.cwd(), fails=True)
    desk.settle()
    return next(line for line in printed.splitlines() if line.startswith("ERROR")).partition(" (/")[0]


def checkpoint_in_lammps(desk: Desk) -> str:
    """A checkpoint in place of a frozen file."""
    return script(desk, str(desk.checkpoint()), "O H")


def element_in_lammps(desk: Desk) -> str:
    """An element that the model does not know."""
    torch.jit.script(build_model(inputs.model(kernels="plain")).eval()).save("model.pth")
    return script(desk, "model.pth", "O Xe")


LAMMPS = (
    Case(
        "`pair_style deepmd model.pt`",
        checkpoint_in_lammps,
        ("Unsupported model file format",),
        "LAMMPS reads no checkpoints: freeze the file by `dpa4 freeze model.pt` (15 s).",
        "lmp",
    ),
    Case(
        "`pair_coeff * * O Xe`",
        element_in_lammps,
        ("pair_coeff", "element Xe not found in the model"),
        "Name elements of the model; `dpa4 info` lists them.",
        "lmp",
    ),
)
KINDS = (
    Kind("Structures in Python and ASE", "`model.pt` knows O and H.", PYTHON),
    Kind("Frames", "Checked for every program that hands structures over: `dp`, LAMMPS, ASE, i-PI.", FRAMES),
    Kind("Native kernels", "", KERNELS),
    Kind("LAMMPS", "Messages of DeePMD-kit, without its own remedy.", LAMMPS),
)
