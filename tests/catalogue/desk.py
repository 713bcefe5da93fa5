"""The folder in which mistakes are made, with what they need: data, checkpoints, frozen files, all made once."""

import contextlib
import copy
import io
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepmd_dpa4.cli import main
from deepmd_dpa4.host.build import build_model
from tests.support import inputs
from tests.support.toy import toy_frames, write_system

LEFT_OUT = object()
"""In place of a value: the option is taken out of the input."""


class Desk:
    """Makes files in the current folder.

    Parameters
    ----------
    store : Path
        An empty folder for what is made once, and for the folders of the cases.
    """

    def __init__(self, store: Path) -> None:
        self.store = store.resolve()
        self._number = 0
        self._before: set[Path] = set()

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Path]:
        """Work in an empty folder."""
        self._number += 1
        folder = self.store / f"case{self._number}"
        folder.mkdir()
        self.settle()
        before = Path.cwd()
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)

    def settle(self) -> None:
        """Note the files that are there before the mistake."""
        self._before = set(Path().rglob("*"))

    def check_clean(self) -> None:
        """Check that the mistake left no file behind."""
        left = set(Path().rglob("*")) - self._before
        assert not left, f"left behind: {sorted(map(str, left))}"

    def dpa4(self, words: str) -> str:
        """Run a command line that fails, and return its message."""
        self.settle()
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            try:
                status = main(shlex.split(words))
            except SystemExit as stop:
                status = int(stop.code or 0)
        assert status != 0, f"dpa4 {words} did not fail"
        line = errors.getvalue().strip().splitlines()[-1]
        assert "error: " in line, f"no error in {errors.getvalue()}"
        return line

    @cached_property
    def _data(self) -> Path:
        return write_system(self.store / "data", toy_frames(3, seed=0))

    def data(self, name: str = "data", harm: Callable[[Path], Any] | None = None) -> Path:
        """Copy a sound folder of data of water, and damage it."""
        folder = Path(name)
        shutil.copytree(self._data, folder)
        if harm is not None:
            harm(folder)
        self.settle()
        return folder

    @cached_property
    def _checkpoint(self) -> dict[str, Any]:
        return state(inputs.model(kernels="plain"))

    def checkpoint(self, name: str = "model.pt", harm: Callable[[dict[str, Any]], Any] | None = None) -> Path:
        """Write a checkpoint of water with initial weights, and change what it holds before."""
        content = copy.deepcopy(self._checkpoint)
        if harm is not None:
            harm(content["model"])
        torch.save(content, name)
        self.settle()
        return Path(name)

    def branches(self, name: str = "multi.pt") -> Path:
        """Write a checkpoint with the branches ``water`` and ``ice``."""
        single = self._checkpoint["model"]
        params = single["_extra_state"]["model_params"]
        tensors = {
            f"model.{branch}.{key.removeprefix('model.Default.')}": value
            for branch in ("water", "ice")
            for key, value in single.items()
            if key != "_extra_state"
        }
        extra = {
            "model_params": {"model_dict": {"water": params, "ice": params}},
            "train_infos": {"lr": 0.0, "step": 0},
        }
        torch.save({"model": {"_extra_state": extra, **tensors}}, name)
        self.settle()
        return Path(name)

    def frozen(self, name: str = "model.pth", flipped: bool = False) -> Path:
        """Write a file of TorchScript, with a flipped bit if wanted; what it computes is never asked for."""
        layer = torch.nn.Linear(2, 2)
        torch.jit.save(torch.jit.script(layer), name)
        if flipped:
            content = bytearray(Path(name).read_bytes())
            content[content.index(layer.weight.detach().numpy().tobytes())] ^= 4
            Path(name).write_bytes(content)
        self.settle()
        return Path(name)


def state(params: dict[str, Any]) -> dict[str, Any]:
    """Content of a checkpoint of initial weights, as the trainer lays it out."""
    model = build_model(params)
    weights: dict[str, Any] = {f"model.Default.{key}": value for key, value in model.state_dict().items()}
    weights["_extra_state"] = {"model_params": params, "train_infos": {"lr": 0.0, "step": 0}}
    return {"model": weights}


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of an input with another value at a path."""
    document = copy.deepcopy(document)
    *sections, name = path.split("/")
    place = document
    for section in sections:
        place = place.setdefault(section, {})
    if value is LEFT_OUT:
        del place[name]
    else:
        place[name] = value
    return document


def shown(value: Any) -> str:
    """A value as an input has it."""
    return json.dumps(value)


def array(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Path], Any]:
    """Change the array of a set."""

    def harm(folder: Path) -> None:
        file = folder / "set.000" / f"{name}.npy"
        np.save(file, change(np.load(file)), allow_pickle=True)

    return harm
