"""AdamW updates the matrices that read the radial basis, and a fixed basis stays, under real optimizers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from deepmd.pt.optimizer import AdaMuonOptimizer, HybridMuonOptimizer

from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.optimizer_groups import route
from tests.host.test_train import weights
from tests.support import inputs
from tests.support.runs import Data, train

FIXED: inputs.Section = {"basis_type": "bessel/fix", "env_exp": 5}
READERS = ("radial_embedding.net.0.matrix", "env_seed_embedding.rbf_proj_layer1.matrix")


def trainer_of(model: Any, kind: str = "HybridMuon", multi_task: bool = False) -> Any:
    """What the routing reads of DeePMD-kit's trainer, with an optimizer of all weights."""
    wrapper = torch.nn.ModuleDict(model if multi_task else {"Default": model})
    parameters = list(wrapper.named_parameters())
    if kind == "HybridMuon":
        optimizer = HybridMuonOptimizer(
            [value for _, value in parameters], lr=0.01, weight_decay=0.1, flash_muon=False, named_parameters=parameters
        )
        optimizer.param_groups[0]["enable_gram"] = False
    else:
        optimizer = AdaMuonOptimizer([value for _, value in parameters], lr=0.01)
    return SimpleNamespace(model=model, wrapper=wrapper, optimizer=optimizer, opt_type=kind, multi_task=multi_task)


def routed_to_adamw(trainer: Any) -> set[str]:
    """Make a step with gradients of 1 and compare each trained matrix with torch's AdamW."""
    named = {name: value for name, value in trainer.wrapper.named_parameters() if value.requires_grad}
    twins = {name: value.detach().clone() for name, value in named.items()}
    for value in (*named.values(), *twins.values()):
        value.grad = torch.ones_like(value)
    torch.optim.AdamW(list(twins.values()), lr=0.01, weight_decay=0.1, betas=(0.9, 0.95)).step()
    trainer.optimizer.step()
    found = {
        name
        for name, value in named.items()
        if name.endswith(".matrix") and min(value.shape) > 1 and "exp_avg" in trainer.optimizer.state[value]
    }
    for name in found:
        torch.testing.assert_close(named[name].detach(), twins[name])
    return found


def readers(prefix: str = "Default.") -> set[str]:
    return {f"{prefix}atomic_model.descriptor.{name}" for name in READERS}


@pytest.mark.parametrize(
    ("basis", "choice", "adamw"),
    [
        ("bessel", "auto", False),
        ("bessel/fix", "auto", True),
        ("gaussian/fix", "muon", False),
        ("gaussian", "adamw", True),
    ],
)
def test_matrices_that_read_the_basis(basis: str, choice: str, adamw: bool) -> None:
    model = build_model(inputs.model({"basis_type": basis}, radial_optimizer=choice))
    keys = list(model.state_dict())
    trainer = trainer_of(model)
    route(trainer)
    frequencies = model.atomic_model.descriptor.radial_basis.adam_freqs
    before = frequencies.detach().clone()
    assert routed_to_adamw(trainer) == (readers() if adamw else set())
    assert list(model.state_dict()) == keys
    assert torch.equal(frequencies, before) == basis.endswith("/fix")
    assert all("names" not in group for group in trainer.optimizer.state_dict()["param_groups"])


def test_without_an_environment_seed() -> None:
    trainer = trainer_of(build_model(inputs.model({"use_env_seed": False}, radial_optimizer="adamw")))
    route(trainer)
    assert routed_to_adamw(trainer) == {name for name in readers() if "radial_embedding" in name}


def test_an_optimizer_that_cannot() -> None:
    model = build_model(inputs.model(radial_optimizer="adamw"))
    with pytest.raises(ConfigError, match=r"^`model/radial_optimizer` is 'adamw' but `optimizer/type` is 'AdaMuon'"):
        route(trainer_of(model, "AdaMuon"))
    route(trainer_of(build_model(inputs.model(FIXED)), "AdaMuon"))


@pytest.mark.parametrize("choice", ["adamw", "auto"])
def test_branches_that_share_a_network(choice: str) -> None:
    branches = {
        name: build_model(inputs.model(radial_optimizer=value)) for name, value in (("a", "adamw"), ("b", choice))
    }
    branches["b"].atomic_model.descriptor.share_params(branches["a"].atomic_model.descriptor, 0)
    trainer = trainer_of(branches, multi_task=True)
    if choice == "adamw":
        route(trainer)
        assert routed_to_adamw(trainer) == readers("a.")
    else:
        with pytest.raises(ConfigError, match=r"^`model/model_dict/b/radial_optimizer` is 'auto' but must be"):
            route(trainer)


def test_training(data: Data, tmp_path: Path) -> None:
    """Frequencies move, then stay in a training that goes on from there, whose names in checkpoints are the same."""
    content: Any = {"model": inputs.model({"env_exp": 5})} | inputs.training(data.train, steps=2, rate=1e-2)
    content["optimizer"] = {"type": "HybridMuon", "enable_gram": False, "flash_muon": False}
    moving = train(tmp_path / "moving", content, "--skip-neighbor-stat")
    assert "AdamW updates" not in moving.log
    content["model"]["descriptor"]["basis_type"] = "bessel/fix"
    content["training"]["numb_steps"] = 4
    fixed = train(tmp_path / "fixed", content, "--restart", str(moving.checkpoint), "--skip-neighbor-stat")
    assert "basis_type 'bessel' -> 'bessel/fix'" in fixed.log
    assert "AdamW updates the matrices that read the radial basis" in fixed.log
    initial = build_model(content["model"]).state_dict()
    before, after = weights(moving.checkpoint), weights(fixed.checkpoint)
    assert {name for name in after if name != "_extra_state"} == {f"model.Default.{name}" for name in initial}
    key = "atomic_model.descriptor.radial_basis.adam_freqs"
    assert not torch.equal(before[f"model.Default.{key}"], initial[key])
    assert torch.equal(after[f"model.Default.{key}"], before[f"model.Default.{key}"])
    reader = f"model.Default.atomic_model.descriptor.{READERS[0]}"
    assert not torch.equal(after[reader], before[reader])
