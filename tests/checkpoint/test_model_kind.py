"""Models of other architectures are named, and sent to the commands that take them."""

from pathlib import Path

import pytest
import torch

from deepmd_dpa4.checkpoint.summary import summarize
from deepmd_dpa4.cli import main
from tests.support import inputs

DPA3 = {"type": "standard", "type_map": ["O", "H"], "descriptor": {"type": "dpa3", "repflow": {"n_dim": 8}}}
DPA4C = {"type": "standard", "type_map": ["O", "H"], "descriptor": {"type": "dpa4c", "channels": 64}}
SE_A = {"type_map": ["O", "H"], "descriptor": inputs.SE_A, "fitting_net": {"neuron": [8]}}
CASES = {
    "dpa3": (DPA3, "matrix", "dp --pt"),
    "dpa4c": (DPA4C, "w", "dp --pt-expt"),
    "se_e2_a": (SE_A, "bias", "dp --pt"),
}


@pytest.fixture(params=CASES)
def other(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, str]:
    params, leaf, command = CASES[request.param]
    state = {
        "_extra_state": {"model_params": params},
        "model.Default.atomic_model.descriptor.index": torch.zeros(5, dtype=torch.int64),
        f"model.Default.atomic_model.descriptor.layer.{leaf}": torch.zeros(3, 4),
        "model.Default.atomic_model.out_bias": torch.zeros(1, 2, 1, dtype=torch.float64),
    }
    torch.save({"model": state}, tmp_path / "model.pt")
    return request.param, tmp_path / "model.pt", command


def test_info(other: tuple[str, Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    name, path, command = other
    summary = summarize(path)
    (branch,) = summary["branches"].values()
    assert branch["architecture"] == name
    assert branch["dtype"] == "float32"
    assert branch["parameters"]["total"] == 12
    assert all(use.startswith(command) for use in summary["uses"])
    assert main(["info", str(path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"descriptor {name}, no DPA4 model, runs in DeePMD-kit" in printed
    assert "all defaults" not in printed


@pytest.mark.parametrize("words", [["freeze"], ["convert", "-o", "out.pt"]])
def test_one_sentence(other: tuple[str, Path, str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    name, path, command = other
    assert main([words[0], str(path), *words[1:]]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dpa4: error: {path} holds {name}, which is another architecture than DPA4")
    assert f"`{command} freeze -c {path} -o NAME.pt" in line
