"""Mistakes with checkpoints and frozen files."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from deepmd_dpa4.checkpoint.read import read_checkpoint
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.changed_options import check_options
from deepmd_dpa4.host.resume import resumable
from tests.catalogue.case import Case, Kind, command
from tests.catalogue.desk import Desk, changed
from tests.support import inputs


def read(given: str, make: Callable[[Desk], Any], remedy: str, *says: str) -> Case:
    """A file that every command reads in the same way."""

    def call(desk: Desk) -> None:
        make(desk)
        desk.settle()
        read_checkpoint(Path("model.pt"))

    return Case(given, call, ("model.pt", *says), remedy)


def altered(change: Callable[[bytearray], Any]) -> Callable[[Desk], Any]:
    """A checkpoint with other bytes."""

    def make(desk: Desk) -> None:
        path = desk.checkpoint()
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)

    return make


def cut(content: bytearray) -> None:
    """Remove the end."""
    del content[-1000:]


def flip_weight(desk: Desk) -> None:
    """Change one bit of the largest tensor."""
    path = desk.checkpoint()
    content = bytearray(path.read_bytes())
    tensors = [value for value in torch.load(path, weights_only=True)["model"].values() if torch.is_tensor(value)]
    largest = max(tensors, key=torch.Tensor.numel)
    content[content.index(largest.contiguous().numpy().tobytes()) + 5] ^= 4
    path.write_bytes(content)


def holds(content: Any) -> Callable[[Desk], Any]:
    """A file of torch with something else in it."""
    return lambda desk: torch.save(content, "model.pt")


def state(harm: Callable[[dict[str, Any]], Any]) -> Callable[[Desk], Any]:
    """A checkpoint with a change in what it holds."""
    return lambda desk: desk.checkpoint(harm=harm)


def params(path: str, value: Any) -> Callable[[Desk], Any]:
    """A checkpoint with another value among its options."""

    def harm(content: dict[str, Any]) -> None:
        content["_extra_state"] = changed(content["_extra_state"], path, value)

    return state(harm)


def first_of(content: dict[str, Any], part: str) -> str:
    """The first tensor with ``part`` in its name."""
    return next(key for key in content if part in key)


def plain_zip(desk: Desk) -> None:
    """An archive of something else."""
    with zipfile.ZipFile("model.pt", "w") as archive:
        archive.writestr("a.txt", "text")


class Payload:
    """Something that a pickle would run."""

    def __reduce__(self) -> Any:
        return print, ("run",)


AGAIN = "Copy the file again, or take an earlier checkpoint."
OTHER = "Give a checkpoint that `dp --pt train` wrote."
OURS = "Write the checkpoint again by the program that made it."

FILES = (
    read("A file that is not there", lambda desk: None, "Correct the path.", "no such file"),
    read("An empty file", lambda desk: Path("model.pt").write_bytes(b""), AGAIN, "is not an archive of torch"),
    read("A text", lambda desk: Path("model.pt").write_text("junk"), OTHER, "is not an archive of torch"),
    read("A checkpoint cut short", altered(cut), AGAIN, "cut short or damaged"),
    read("A checkpoint with a flipped bit", flip_weight, AGAIN, "is damaged", "checksum", "does not fit"),
    read("Another archive", plain_zip, OTHER, "a zip archive but none of torch"),
    read("A frozen file with the name of a checkpoint", lambda desk: desk.frozen("model.pt"), OTHER, "TorchScript"),
    read("A checkpoint that would run code", holds({"x": Payload()}), "Do not open it elsewhere.", "asks for", "print"),
    read("A list", holds([1, 2]), OTHER, "holds a list", "a dictionary"),
    read("Weights of another program", holds({"x": torch.ones(2)}), OTHER, "`model/_extra_state/model_params`"),
    read("Options without elements", params("model_params/type_map", []), OURS, "no `type_map`"),
    read(
        "Options of a wrong type", params("model_params/descriptor", [1]), OURS, "`model/descriptor` is [1]", "a dict"
    ),
    read("Elements that are numbers", params("model_params/type_map", [8, 1]), OURS, "`model/type_map`", "of texts"),
    read("A tensor among the options", params("model_params/x", torch.ones(1)), OURS, "`model/x` holds a Tensor"),
    read("A step that is text", params("train_infos/step", "last"), OURS, "`train_infos/step` is 'last'", "a number"),
    read("No tensors", state(lambda c: [c.pop(k) for k in list(c) if k.startswith("model.")]), AGAIN, "no tensors"),
    read("A number in place of a tensor", state(lambda c: c.update({"model.Default.x": 1})), OURS, "model.Default.x"),
)


def load(given: str, harm: Callable[[dict[str, Any]], Any], remedy: str, *says: str, **options: Any) -> Case:
    """Weights that are loaded into a model of the small network with other options."""

    def call(desk: Desk) -> None:
        desk.checkpoint(harm=harm)
        content = torch.load("model.pt", weights_only=True)["model"]
        start = "model.Default."
        weights = {key.removeprefix(start): value for key, value in content.items() if key.startswith(start)}
        build_model(inputs.model(options, kernels="plain")).load_state_dict(weights)

    return Case(given, call, says, remedy)


def drop(part: str) -> Callable[[dict[str, Any]], Any]:
    """Leave out a tensor."""
    return lambda content: content.pop(first_of(content, part))


def future(content: dict[str, Any]) -> None:
    """The version of a DPA4 to come."""
    content[first_of(content, "version_tensor")].fill_(9.9)


FITS = "Repeat the options that `dpa4 info model.pt` shows, or use `--use-pretrain-script`."
WEIGHTS = (
    load("A missing tensor", drop("filter_layers"), FITS, "missing keys: atomic_model.fitting_net.filter_layers"),
    load(
        "A foreign tensor",
        lambda c: c.update({"model.Default.other.w": torch.ones(1)}),
        FITS,
        "unexpected keys: other.matrix",
    ),
    load("More blocks in the input", lambda c: None, FITS, "missing keys:", "blocks.2", n_blocks=3),
    load("Rules of a newer DPA4", future, "Update deepmd-dpa4.", "`version_tensor`", "is 9.9", "at most"),
)


def go_on(given: str, path: str, value: Any, remedy: str, *says: str, restart: bool = True) -> Case:
    """An input that does not go on with the checkpoint."""

    def call(desk: Desk) -> None:
        desk.checkpoint()
        check_options({"model": changed(inputs.model(kernels="plain"), path, value)}, "model.pt", restart)

    return Case(given, call, ("model.pt", *says), remedy)


def resume(desk: Desk) -> None:
    """A restart from a damaged file."""
    altered(cut)(desk)
    desk.settle()
    resumable("model.pt").__enter__()


REPEAT = "Repeat the option of the checkpoint, or begin a new training by `--init-model`."
RESTART = (
    Case("`--restart` from a checkpoint cut short", resume, ("model.pt", "cut short"), AGAIN),
    go_on(
        "`--restart` with elements in another order", "type_map", ["H", "O"], "Repeat the order.", "`model/type_map`"
    ),
    go_on(
        "`--init-model` with elements in another order",
        "type_map",
        ["H", "O"],
        "Repeat the order, or use `--finetune`.",
        *("`model/type_map` is ['H', 'O']", "['O', 'H']", "`--finetune`"),
        restart=False,
    ),
    go_on("`--restart` with another cutoff", "descriptor/rcut", 5.0, REPEAT, "model/descriptor/rcut 3.5 -> 5.0"),
    go_on("`--restart` with another activation", "descriptor/activation_function", "tanh", REPEAT, "'silu' -> 'tanh'"),
    go_on("`--restart` with excluded atoms", "atom_exclude_types", [1], REPEAT, "model/atom_exclude_types"),
)


def foreign(desk: Desk) -> None:
    """A checkpoint of another architecture."""
    section = {"type": "standard", "type_map": ["O"], "descriptor": {"type": "dpa3"}, "fitting_net": {"type": "ener"}}
    torch.save({"model": {"_extra_state": {"model_params": section}, "model.Default.x": torch.ones(3)}}, "model.pt")


def sound(desk: Desk) -> None:
    """A checkpoint."""
    desk.checkpoint()


def multi(desk: Desk) -> None:
    """A checkpoint of two branches."""
    desk.branches()


def existing(desk: Desk) -> None:
    """A checkpoint and a folder that cannot be written."""
    desk.checkpoint()
    Path("closed").write_text("")


CONVERT = (
    command("convert model.pt -o new.pt", "Correct the path.", "model.pt", "no such file"),
    command("convert model.pt -o new.pth", "Name a checkpoint.", "`--output` is new.pth", "end in .pt", prepare=sound),
    command("convert model.pt -o model.pt", "Choose another name.", "`--output` is model.pt", "to read", prepare=sound),
    command("convert model.pt -o no/new.pt", "Make the folder.", "`--output` is no/new.pt", "does not", prepare=sound),
    command(
        "convert model.pt -o new.pt --ema --weights-only", "Leave `--ema` out.", "`--ema`", "averaged", prepare=sound
    ),
    command("convert model.pt -o new.pt --ema", "Add `--weights-only`.", "without `--weights-only`", prepare=sound),
    command(
        "convert model.pt -o new.pt --branch water --weights-only",
        "Leave `--branch` out.",
        *("`--branch` is 'water'", "model.pt"),
        prepare=sound,
    ),
    command(
        "convert multi.pt -o new.pt --branch snow --weights-only",
        "Take a branch of the message.",
        *("`--branch` is 'snow'", "water, ice"),
        prepare=multi,
    ),
    command("convert model.pt -o new.pt --to host", "Take one of the words.", "'host'", "official", prepare=sound),
    command(
        "convert model.pt -o new.pt", "Use `dp` for it.", "model.pt holds dpa3", prepare=foreign, where="it is DPA3"
    ),
    command(
        "convert model.pt -o new.pt",
        OURS,
        *("`model/descriptor/lmax` is 1000000000000", "holds"),
        prepare=params("model_params/descriptor/lmax", 10**12),
        where="an option cannot be that of the weights",
    ),
    command(
        "convert model.pt -o new.pt",
        AGAIN,
        *("model.pt", "lacks"),
        prepare=state(drop("filter_layers")),
        where="a tensor is missing",
    ),
    command("info model.pt", "Correct the path.", "`FILE` is model.pt", "no such file"),
    command("info model.pt", AGAIN, "model.pt", "cut short", prepare=altered(cut), where="the file was cut"),
    command(
        "info model.pth",
        AGAIN,
        *("model.pth is damaged", "checksum"),
        prepare=lambda desk: desk.frozen(flipped=True),
        where="a bit was flipped",
    ),
)
KINDS = (
    Kind("Files", "Every command that reads a checkpoint says the same of `model.pt`.", FILES),
    Kind("Weights that do not fit the input", "", WEIGHTS),
    Kind("Going on from a checkpoint", "", RESTART),
    Kind("`dpa4 convert` and `dpa4 info`", "`multi.pt` has the branches `water` and `ice`.", CONVERT),
)
