"""Paths of earlier versions work with a warning; the classes for Python are in the package itself."""

import importlib
import sys

import pytest

import deepmd_dpa4
from deepmd_dpa4.deprecated_paths import MOVED
from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.inference.structure import Structure


@pytest.mark.parametrize("old", MOVED)
def test_old_paths_warn(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"^{old} is {MOVED[old]} now") as warned:
        module = importlib.import_module(old)
    assert sum(old in str(warning.message) for warning in warned) >= 1
    new = importlib.import_module(MOVED[old])
    names = [name for name in vars(new) if not name.startswith("_")]
    assert all(getattr(module, name) is getattr(new, name) for name in names)


@pytest.mark.filterwarnings("ignore:.*the old path goes:DeprecationWarning")
def test_every_form_of_import() -> None:
    import deepmd_dpa4.host.evaluate
    from deepmd_dpa4.host.evaluate import Evaluator as Imported
    from deepmd_dpa4.plots import parity
    from deepmd_dpa4.plots.lcurve import read

    assert Imported is deepmd_dpa4.host.evaluate.Evaluator is Evaluator
    assert parity.__name__ in ("deepmd_dpa4.plots.parity", MOVED["deepmd_dpa4.plots.parity"])
    assert read.__module__ == "deepmd_dpa4.tools.plots.lcurve"


def test_other_names_are_not_found() -> None:
    with pytest.raises(ImportError):
        importlib.import_module("deepmd_dpa4.host.nothing")
    with pytest.raises(AttributeError, match="nothing"):
        deepmd_dpa4.nothing  # noqa: B018


def test_the_package_has_the_classes_for_python() -> None:
    assert deepmd_dpa4.Evaluator is Evaluator
    assert deepmd_dpa4.Structure is Structure
