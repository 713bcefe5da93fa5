"""Mistakes on the command line of ``dpa4``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk
from ase.io import write as write_atoms

from tests.catalogue.case import Kind, command
from tests.catalogue.desk import Desk


def model(desk: Desk) -> None:
    """A checkpoint of water, frozen too, and data."""
    desk.checkpoint()


def with_data(desk: Desk) -> None:
    """A checkpoint of water, and data."""
    desk.data()
    desk.checkpoint()


def multi(desk: Desk) -> None:
    """A checkpoint of two branches, and data."""
    desk.data()
    desk.branches()


def frozen(desk: Desk) -> None:
    """A frozen file."""
    desk.data()
    desk.frozen()


def written(name: str, content: str = "") -> Callable[[Desk], Any]:
    """A text, besides data and a checkpoint."""

    def prepare(desk: Desk) -> None:
        (folder := Path(name)).parent.mkdir(exist_ok=True)
        folder.write_text(content)
        with_data(desk)

    return prepare


CURVE = "#  step   rmse_trn   rmse_e_trn   rmse_f_trn   lr\n"


def curves(desk: Desk) -> None:
    """Learning curves, most of them broken."""
    row = "  1  1.0  2.0  3.0  1e-3\n"
    for name, rows in {"good": row, "empty": "", "broken": "5 6\n" + row}.items():
        Path(f"{name}.out").write_text(CURVE + rows)
    Path("text.out").write_text("hello\n")


def structures(desk: Desk) -> None:
    """A crystal, a molecule and a text."""
    write_atoms("ice.vasp", bulk("O", "fcc", 3.0, cubic=True))
    write_atoms("iron.vasp", bulk("Fe", cubic=True))
    write_atoms("molecule.xyz", Atoms("O"))
    Path("text.dat").write_text("hello\n")
    desk.checkpoint()


PATH, NAME, FOLDER = "Correct the path.", "Take one of the names in the message.", "Make the folder."
PICTURE = "Name a picture."
ELEMENTS = "--type-map H"
NODATA = "Give a folder with `type.raw`."

INIT = (
    command("init mini", "Give the elements, or data.", "`--type-map` is missing"),
    command("init mnii --type-map H", NAME, "'mnii'", "choose from"),
    command("init mini --type-map H H", "Name it once.", "`--type-map` has 'H' twice"),
    command("init mini --type-map H --steps 0", "Give 1 or more.", "`--steps` is 0 but must be positive"),
    command("init mini --type-map H --batch-size mixed:3", "Take one of the forms.", "'mixed:3'", "auto, auto:N"),
    command("init mini --type-map H --set rcut", "Write the whole path.", "`--set` is 'rcut'", "PATH=VALUE"),
    command("init mini --type-map H --set model.type.x=1", "Correct the path.", "`model.type` is 'dpa4'", "no options"),
    command("init mini --type-map H --set model.descriptor.rcutt=5", "Correct the name.", "rcutt", "`rcut`?"),
    command(
        "init mini --type-map H --set model.descriptor.rcut=far", "Give a number.", "`model/descriptor/rcut` is 'far'"
    ),
    command(
        "init mini --type-map H --set model.descriptor.lmax=-1", "Give 0 or more.", "`model/descriptor/lmax` is -1"
    ),
    command("init mini --type-map H --set optimizer.type=adamw", "Correct the name.", "`optimizer/type` is 'adamw'"),
    command("init mini --type-map H --task multitask", "Give data of two branches.", "at least two NAME=DIR"),
    command("init mini --task multitask --data data", "Name the branch.", "`--data` is 'data'", "NAME=DIR"),
    command("init mini --task multitask --data RANDOM=data", "Choose another name.", "other than RANDOM"),
    command("init mini --data nowhere", PATH, "`--data` is nowhere", "a folder"),
    command("init mini --type-map H -o input.yaml", "Name a `.json` file.", "`--output` is input.yaml", "end in .json"),
    command(
        "init mini --type-map H -o old.json",
        "Add `--force`, or choose another name.",
        "old.json",
        "`--force`",
        prepare=written("old.json"),
    ),
    command("init mini --type-map H -o no/a.json", FOLDER, "no/a.json"),
    command(
        "init mini --type-map H --data data", "Add the element.", "`--type-map` is 'H'", "O too", prepare=with_data
    ),
    command(
        "init mini --task multitask --data a=data b=data --validation c=data",
        "Correct the name.",
        *("names the branch 'c'", "a, b"),
        prepare=with_data,
    ),
    command(
        "init mini --task multitask --data a=data b=data --set training.model_prob.c=0.5",
        "Correct the name.",
        *("`training.model_prob.c`", "a, b"),
        prepare=with_data,
    ),
)
FREEZE = (
    command("freeze missing.pt", PATH, "`checkpoint` is missing.pt but there is no such file"),
    command("freeze data", PATH, "`checkpoint` is data", "no file `checkpoint`", prepare=with_data),
    command(
        "freeze model.pt -o model.pb", "Choose one of the endings.", "`--output` is 'model.pb'", ".pth", prepare=model
    ),
    command("freeze model.pt -o no/model.pth", FOLDER, "`--output` is 'no/model.pth'", "folder no", prepare=model),
    command("freeze model.pt --head water", "Leave `--head` out.", "`--head` is 'water'", "one model", prepare=model),
    command("freeze multi.pt", "Name a branch.", "`--head` is None", "water, ice", prepare=multi),
    command("freeze multi.pt --head snow", NAME, "`--head` is 'snow'", "water, ice", prepare=multi),
    command("freeze model.pt --kernels fast", NAME, "'fast'", "plain, native", prepare=model),
    command(
        "freeze model.pt -o model.pt2 --kernels native",
        "Freeze to `.pth`, or leave `--kernels` out.",
        "model.pt2",
        "plain",
        prepare=model,
    ),
    command(
        "freeze model.pt -o model.pt2 --kernels triton",
        "Freeze on the machine with the GPU, or leave `--kernels` out.",
        "`--kernels` is 'triton' but must be 'plain' for model.pt on cpu",
        "CUDA",
        prepare=model,
    ),
    command("freeze model.pth", "Give the checkpoint.", "model.pth", prepare=frozen),
)
PICTURES = (
    command("plot none.out", PATH, "`LCURVE` is none.out but there is no such file"),
    command(
        "plot text.out", "Give a file `lcurve.out`.", "`LCURVE` is text.out", "0 different headers", prepare=curves
    ),
    command("plot empty.out", "Wait for the first step.", "`LCURVE` is empty.out", "no finished step", prepare=curves),
    command("plot broken.out", "Remove the row.", "broken.out: row 0", "must have 5 numbers", prepare=curves),
    command("plot good.out -o a.jpg", PICTURE, "`--output` is a.jpg", ".png, .svg", prepare=curves),
    command("plot good.out -o no/a.png", FOLDER, "`--output` is no/a.png", "no folder no", prepare=curves),
    command("parity model.pt nowhere", NODATA, "`DATA` is nowhere", "type.raw", prepare=model),
    command("parity none.pt data", PATH, "`model` is 'none.pt'", "no such file", prepare=with_data),
    command(
        "parity model.txt data", "Give a file of these endings.", "'model.txt'", ".pt, .pth, .pt2", prepare=with_data
    ),
    command("parity model.pt data --frames 0", "Give 1 or more.", "`--frames` is 0", "at least 1", prepare=with_data),
    command(
        "parity model.pt data --by config_type",
        "Give extended XYZ files.",
        "`--by` is 'config_type'",
        "data is no file",
        prepare=with_data,
    ),
    command("parity model.pt data -o p.gif", PICTURE, "`--output` is p.gif", ".png, .svg", prepare=with_data),
    command("parity model.pt data --head three", "Leave `--head` out.", "`head` is 'three'", "None", prepare=with_data),
    command("parity multi.pt data", "Name a branch.", "`head` is None", "water, ice", prepare=multi),
    command("parity multi.pt data --head snow", NAME, "`head` is 'snow'", "water, ice", prepare=multi),
    command(
        "parity model.pth data --head water", "Leave `--head` out.", "`head` is 'water'", "one model", prepare=frozen
    ),
    command("dimer model.pt O X", NAME, "`B` is 'X'", "O, H", prepare=model),
    command("dimer model.pt O H --from 0", "Give a distance in Å.", "`--from` is 0", "positive", prepare=model),
    command("dimer model.pt O H --to 0.1", "Give a longer distance.", "`--to` is 0.1", "above `--from`", prepare=model),
    command("dimer model.pt O H --points 1", "Give 2 or more.", "`--points` is 1", "at least 2", prepare=model),
    command("dimer model.pt O H --points many", "Give a number.", "--points", "'many'", prepare=model),
    command("eos model.pt none.vasp", PATH, "`STRUCTURE` is none.vasp", "no such file", prepare=structures),
    command("eos model.pt text.dat", "Give a file that ASE reads.", "`STRUCTURE` is text.dat", prepare=structures),
    command("eos model.pt molecule.xyz", "Give a crystal.", "`STRUCTURE` is not periodic", prepare=structures),
    command(
        "eos model.pt ice.vasp --strain 2",
        "Give a fraction; 0.1 is usual.",
        "`--strain` is 2.0",
        "between 0 and 1",
        prepare=structures,
    ),
    command("eos model.pt ice.vasp --points 3", "Give 5 or more.", "`--points` is 3", "at least 5", prepare=structures),
    command(
        "eos model.pt iron.vasp", "Take a model that knows the element.", "'Fe'", "model.pt: O, H", prepare=structures
    ),
)
OTHERS = (
    command("check none.pt", PATH, "none.pt", "no such file"),
    command("check model.pt --frames 0", "Give 1 or more.", "`--frames` is 0", "at least 1", prepare=model),
    command("check model.pt --temperatures 0", "Give kelvins.", "`--temperatures` holds 0", "between", prepare=model),
    command("check model.pt -o check.png", "Name a page.", "`--output` is check.png", "end in .html", prepare=model),
    command("check model.pt --data nowhere", NODATA, "`DATA` is nowhere", "type.raw", prepare=model),
    command("check model.pt --reference nowhere.json", PATH, "nowhere.json", prepare=model),
    command("check model.pt --only holes", NAME, "'holes'", "choose from", prepare=model),
    command(
        "check model.pt --reference a.json",
        "Correct the file.",
        "`--reference` is a.json",
        "must be JSON",
        prepare=written("a.json", "[1]"),
    ),
    command(
        "check model.pt",
        "Name another page.",
        "check.json is no report of `dpa4 check`",
        "`--output`",
        prepare=written("check.json", '{"model": 1}'),
    ),
    command("run", "Name the program.", "`COMMAND` is missing"),
    command("run -- no-such-program", "Install it, or give its path.", "'no-such-program'", "a program on PATH"),
    command("", "Name a subcommand.", "SUBCOMMAND"),
    command("biuld", "Correct the name.", "'biuld'", "choose from"),
)
KINDS = (
    Kind("`dpa4 init`", "", INIT),
    Kind("`dpa4 freeze`", "", FREEZE),
    Kind("Plots and figures", "`dpa4 plot`, `parity`, `dimer` and `eos`.", PICTURES),
    Kind("`dpa4 check`, `run` and others", "", OTHERS),
)
