"""Broken, foreign and malicious files give one line with their name, and run nothing."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deepmd_dpa4.checkpoint.archive import SLACK, FileError
from deepmd_dpa4.checkpoint.convert import Conversion, convert
from deepmd_dpa4.checkpoint.read import interpret, read_checkpoint
from deepmd_dpa4.checkpoint.summary import describe, summarize
from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.commands.info import rows
from tests.support import inputs
from tests.support.commands import dp
from tests.support.runs import Data, Run

STATE = {"_extra_state": {"model_params": {"type": "dpa4", "type_map": ["O"]}, "train_infos": {}}}
TENSORS = {"model.Default.atomic_model.out_bias": torch.zeros(1, 1, 1)}


class Attack:
    """A pickle that writes a file when it is read as usual."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def saved(folder: Path, content: Any, **options: Any) -> Path:
    path = folder / "model.pt"
    torch.save(content, path, **options)
    return path


def script_with(folder: Path, pickled: bytes) -> Path:
    """A TorchScript archive whose data are ``pickled``."""
    path = folder / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (("data.pkl", pickled), ("constants.pkl", b""), ("code/x.py", b""), ("version", b"3")):
            archive.writestr(f"model/{name}", data)
    return path


def assert_refused(path: Path, *named: str) -> None:
    with pytest.raises(FileError) as raised:
        summarize(path)
    message = str(raised.value)
    assert "\n" not in message
    for part in (str(path), *named):
        assert part in message


def test_a_whole_checkpoint_is_read(tmp_path: Path) -> None:
    assert read_checkpoint(saved(tmp_path, {"model": TENSORS | STATE})).train_infos == {}
    assert read_checkpoint(saved(tmp_path, TENSORS | STATE)).optimizer is None


@pytest.mark.parametrize(
    "place", ["alone", "model", "optimizer", "options"], ids=["alone", "in model", "in optimizer", "in options"]
)
def test_code_in_a_checkpoint_is_not_run(place: str, tmp_path: Path) -> None:
    mark = tmp_path / "run"
    attack = Attack(mark)
    content: Any = {
        "alone": attack,
        "model": {"model": TENSORS | STATE | {"model.Default.x": attack}},
        "optimizer": {"model": TENSORS | STATE, "optimizer": attack},
        "options": {"model": TENSORS | {"_extra_state": {"model_params": attack}}},
    }[place]
    path = saved(tmp_path, content)
    assert_refused(path, "could run code", "system")
    assert not mark.exists()
    # the file is dangerous indeed
    torch.load(path, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("test", "-m", "model.pt", "-s", "data", "-n", "1"),
        ("change-bias", "model.pt", "-b", "1.0", "-o", "out.pt"),
        ("show", "model.pt", "type-map"),
        ("freeze", "-c", "model.pt", "-o", "out.pth"),
        ("train", "input.json", "--restart", "model.pt"),
        ("train", "input.json", "--init-model", "model.pt"),
        ("train", "input.json", "--finetune", "model.pt"),
    ],
    ids=" ".join,
)
def test_commands_of_dp_do_not_run_it(words: tuple[str, ...], data: Data, tmp_path: Path) -> None:
    mark = tmp_path / "run"
    saved(tmp_path, {"model": TENSORS | STATE | {"model.Default.x": Attack(mark)}, "optimizer": {}})
    inputs.write(tmp_path, {"model": inputs.model()} | inputs.training(data.train))
    printed = dp(*(data.valid if word == "data" else word for word in words), folder=tmp_path, fails=True)
    assert not mark.exists()
    assert "weights_only" in printed or "could run code" in printed


def test_code_in_a_script_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "run"
    data = pickle.dumps(Attack(mark), protocol=2)
    assert_refused(script_with(tmp_path, data), "model_def_script")
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()


@pytest.mark.parametrize("size", [0, 10, 1000, -1], ids=["empty", "start", "a part", "all but one byte"])
def test_a_checkpoint_that_is_cut_short(size: int, tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": TENSORS | STATE})
    path.write_bytes(path.read_bytes()[:size])
    assert_refused(path, "archive of torch" if size == 0 else "cut short or damaged")


@pytest.mark.parametrize("name", ["data.pkl", "data/0"])
def test_a_checkpoint_with_a_damaged_entry(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": TENSORS | STATE})
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in entries.items():
            archive.writestr(entry, data[: len(data) // 2] if entry.endswith(name) else data)
    assert_refused(path, "damaged")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([1, 2], "a list"),
        ({"model": TENSORS}, "model_params"),
        ({"model": [1]}, "model_params"),
        (
            {"model": TENSORS | {"_extra_state": {"model_params": {"type": torch.zeros(2)}}}},
            "`model/type` holds a Tensor",
        ),
        ({"model": STATE}, "no tensors of branch Default"),
        ({"model": TENSORS | {"_extra_state": {"model_params": {"type": "dpa4"}}}}, "no `type_map`"),
        ({"model": TENSORS | {"_extra_state": {"model_params": {"model_dict": {}}}}}, "no branches"),
        ({"model": TENSORS | STATE | {"model.Default.x": 1}}, "model.Default.x"),
        ({"model": TENSORS | STATE, "optimizer": [1]}, "optimizer is a list"),
        ({"model": TENSORS | STATE | {"model.Default.x": torch.zeros(1).expand(10**12)}}, "1000000000000 numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_contents(content: Any, named: str, tmp_path: Path) -> None:
    assert_refused(saved(tmp_path, content), named)


def test_other_files(tmp_path: Path) -> None:
    text = tmp_path / "input.json"
    text.write_text("{}")
    assert_refused(text, "is not an archive of torch")
    archive = tmp_path / "some.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("some/text", "x")
    assert_refused(archive, "none of torch")


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", bytes(SLACK + 10**6))
    assert_refused(path, "would unpack to")


def test_a_script_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is a TorchScript file but must be a checkpoint"):
        read_checkpoint(script_with(tmp_path, pickle.dumps({})))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80\x02}", b"\x80\x02(K\x01r\xff\xff\xff\x7f.", b"garbage"],
    ids=["empty", "cut", "memo entry beyond all memory", "garbage"],
)
def test_a_script_with_a_broken_pickle(data: bytes, tmp_path: Path) -> None:
    assert_refused(script_with(tmp_path, data), "damaged")


def test_a_script_with_shared_parts_is_read_in_no_time(tmp_path: Path) -> None:
    """Each level names the one below twice: a walk without memory would take 2^64 steps."""
    data = b"\x80\x02cx\nLeaf\n)\x81}b"
    level = b"q\x000cx\nNode\n)\x81}(U\x01ah\x00U\x01bh\x00ub"
    assert_refused(script_with(tmp_path, data + 64 * level + b"."), "model_def_script")


def broken_metadata(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "model.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/extra/metadata.json", text)
        return path

    return write


@pytest.mark.parametrize("text", ["{", "[]", "{}", "[" * 10**5], ids=["cut", "a list", "empty", "too deep"])
def test_a_compiled_file_with_broken_metadata(text: str, tmp_path: Path) -> None:
    assert_refused(broken_metadata(text)(tmp_path))


def test_the_command_tells_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "missing.pt", broken_metadata("{")(tmp_path)):
        assert main(["info", str(path)]) == 1
        error = capsys.readouterr().err
        assert error.startswith("dpa4: error: ")
        assert str(path) in error
        assert error.count("\n") == 1


def test_a_file_from_before_archives(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": TENSORS | STATE}, _use_new_zipfile_serialization=False)
    assert_refused(path, "is not an archive of torch")


ODD = (None, -1, 1.5, "x", [[]], {"x": 1}, float("nan"))


def places(value: Any, start: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all entries below a dictionary."""
    if not isinstance(value, dict):
        return []
    return [path for key in value for path in ((*start, key), *places(value[key], (*start, key)))]


def changed(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at one place."""
    if not place:
        return value
    return {**content, place[0]: changed(content[place[0]], place[1:], value)}


def test_odd_contents_are_read_or_refused(ours: Run) -> None:
    """Every entry of the options and of the training state, replaced by odd ones: no other exception than for users."""
    content = torch.load(ours.checkpoint, weights_only=True)
    content["model"]["_extra_state"]["model_params"] |= {"models": [], "model_branch_alias": ["a"], "lora": None}
    state = [("model", "_extra_state", *place) for place in places(content["model"]["_extra_state"])]
    head = {"file": "", "kind": "", "bytes": 0, "known": None}
    refused = 0
    for place in [("model", "_extra_state"), ("optimizer",), ("ema",), *state]:
        for odd in ODD:
            try:
                checkpoint = interpret(ours.checkpoint, changed({"ema": {}, **content}, place, odd))
                list(rows(head | describe(checkpoint), True))
                convert(checkpoint, Conversion())
            except ValueError as error:
                assert "\n" not in str(error), place
                refused += 1
    assert refused > 200
