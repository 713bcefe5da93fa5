"""Files of small models with random weights on all branches, double precision."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deepmd.pt.model.model import get_model
from deepmd.pt.train.wrapper import ModelWrapper

from tests.support import inputs
from tests.support.weights import perturb

MakeModel = Callable[..., Path]
ALLOY = ("Cu", "Al")


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Checkpoint of a model for a type map, with more options of the descriptor and the fitting net."""

    def make(type_map: tuple[str, ...] = ALLOY, fitting: dict[str, Any] | None = None, **descriptor: Any) -> Path:
        precision = {"precision": "float64"}
        section = inputs.model(
            {"rcut": 4.0, "lmax": 2, **precision, **descriptor}, {**precision, **(fitting or {})}, kernels="plain"
        )
        section["type_map"] = list(type_map)
        model = get_model(section)
        perturb(model, scale=0.3)
        path = tmp_path_factory.mktemp("model") / "model.pt"
        torch.save({"model": ModelWrapper(model, model_params=section).state_dict()}, path)
        return path

    return make


@pytest.fixture(scope="session")
def alloy(make_model: MakeModel) -> Path:
    """A model of copper and aluminium."""
    return make_model()
