"""``dpa4 info``."""

import copy
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from deepmd_dpa4 import __version__
from deepmd_dpa4.checkpoint.summary import BUILTIN, PLUGIN, summarize
from deepmd_dpa4.cli import main
from deepmd_dpa4.host import builtin as builtin_models
from deepmd_dpa4.host.build import build_model
from tests.checkpoint.conftest import untrained
from tests.support import inputs
from tests.support.runs import Run


def size(model: torch.nn.Module, part: str = "") -> int:
    return sum(p.numel() for name, p in model.named_parameters() if part in name)


def test_a_checkpoint_of_official(official: Run) -> None:
    summary = summarize(official.checkpoint)
    assert summary["kind"] == "checkpoint"
    assert summary["bytes"] == official.checkpoint.stat().st_size
    assert summary["versions"][PLUGIN] is None
    assert summary["training"]["step"] == 3
    assert 0 < summary["training"]["lr"] < 1e-2
    assert summary["training"]["ema_decay"] == 0.8
    assert summary["training"]["optimizer"]
    (branch,) = summary["branches"].values()
    assert branch["type_map"] == ["O", "H"]
    assert sorted(branch["trained_on"]) == ["H", "O"]
    assert branch["runs_in"] == PLUGIN
    assert branch["unknown"] == []
    given = {f"descriptor/{k}": v for k, v in inputs.SMALL.items() if k != "type"}
    assert branch["changed"] == given | {"fitting_net/neuron": [8], "fitting_net/seed": 1}
    assert branch["options"]["descriptor"]["radial_so2_rank"] == 1
    assert branch["rules"] == 1.2
    assert branch["dtype"] == "float32"
    weights = torch.load(official.checkpoint, weights_only=True)["model"]
    assert list(branch["bias"].values()) == weights["model.Default.atomic_model.out_bias"].flatten().tolist()
    model = build_model(inputs.model())
    counts = {"total": size(model), "descriptor": size(model, ".descriptor."), "fitting": size(model, ".fitting_net.")}
    assert summary["parameters"] == branch["parameters"] == counts


def test_averaged_weights_have_no_state(official: Run) -> None:
    summary = summarize(official.folder / "model_ema.ckpt.pt")
    assert not summary["training"]["optimizer"]
    assert not summary["training"]["ema"]
    assert "--init-model" in summary["uses"][0]


def test_a_checkpoint_tells_what_trained_it(ours: Run, official: Run) -> None:
    assert summarize(ours.checkpoint)["versions"][PLUGIN] == __version__
    assert summarize(official.checkpoint)["versions"][PLUGIN] is None


def test_branches(tasks: Run) -> None:
    summary = summarize(tasks.checkpoint)
    assert list(summary["branches"]) == ["one", "two"]
    one, two = summary["branches"].values()
    assert one["shared"] == {"descriptor": ["two"], "fitting_net": ["two"]}
    assert two["shared"] == {"descriptor": ["one"], "fitting_net": ["one"]}
    assert summary["parameters"] == one["parameters"] == two["parameters"]
    assert any("--head BRANCH" in use for use in summary["uses"])


def test_private_networks_count_each(tmp_path: Path, tasks: Run) -> None:
    """A file in which the fitting nets are copies."""
    content = torch.load(tasks.checkpoint, weights_only=True)
    for key in content["model"]:
        if ".two.atomic_model.fitting_net." in key:
            content["model"][key] = content["model"][key].clone()
    torch.save(content, tmp_path / "model.pt")
    summary = summarize(tmp_path / "model.pt")
    fitting = summary["branches"]["one"]["parameters"]["fitting"]
    assert summary["parameters"]["fitting"] == 2 * fitting
    assert summary["parameters"]["descriptor"] == summary["branches"]["one"]["parameters"]["descriptor"]
    assert summary["branches"]["one"]["shared"] == {"descriptor": ["two"]}


def test_a_script_tells_the_same(ours: Run) -> None:
    checkpoint, script = summarize(ours.checkpoint), summarize(ours.frozen)
    assert script["kind"] == "TorchScript"
    assert script["parameters"] == checkpoint["parameters"]
    assert script["versions"][PLUGIN] == __version__
    assert script["versions"]["torch"] == torch.__version__
    assert script["frozen"]["kernels"] == "plain"
    branches = [dict(summary["branches"]["Default"]) for summary in (script, checkpoint)]
    for branch in branches:
        del branch["min_distance"]
    assert branches[0] == branches[1]


def test_a_script_of_a_fixed_network_counts_it(tmp_path: Path) -> None:
    model = build_model(inputs.model({"trainable": False}))
    path = tmp_path / "model.pth"
    torch.jit.save(torch.jit.script(model.eval()), str(path))
    assert summarize(path)["parameters"]["total"] == size(model)


def test_a_compiled_file(tmp_path: Path) -> None:
    """As DeePMD-kit lays it out; making one takes minutes."""
    path = tmp_path / "model.pt2"
    metadata = {"type_map": ["O", "H"], "rcut": 3.5, "has_comm_artifact": False, "fitting_output_defs": [{}]}
    about = {"deepmd_dpa4": "9.9", "torch": "2.11", "device": "cpu", "model": inputs.model()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data/aotinductor/model/x.so", b"")
        archive.writestr("model/extra/metadata.json", json.dumps(metadata))
        archive.writestr("model/extra/model_def_script.json", json.dumps(inputs.model()))
    summary = summarize(path)
    assert summary["kind"] == "compiled"
    assert summary["parameters"] is None
    assert summary["metadata"] == metadata
    assert summary["branches"]["Default"]["changed"]["descriptor/rcut"] == 3.5
    assert any(use.endswith("on one rank with `atom_modify map yes`") for use in summary["uses"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/extra/dpa4.json", json.dumps(about))
    summary = summarize(path)
    assert summary["versions"] == {PLUGIN: "9.9", "torch": "2.11", BUILTIN: None}
    assert summary["frozen"]["device"] == "cpu"


OFFICIAL_ONLY = {
    "descriptor/layer_scale = True": inputs.model({"layer_scale": True}),
    "descriptor/n_blocks = 0": inputs.model({"n_blocks": 0}),
    "fitting_net/atom_ener = [1.0, 2.0]": inputs.model(fitting={"atom_ener": [1.0, 2.0]}),
    "fitting_net/type = property": inputs.model()
    | {"fitting_net": {"type": "property", "property_name": "x", "task_dim": 1, "intensive": True, "neuron": [8]}},
    "model/spin": inputs.model(spin={"use_spin": [True, False], "scheme": "native"}),
}


@pytest.mark.parametrize("reason", OFFICIAL_ONLY)
def test_options_that_only_official_has(reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = untrained(tmp_path, copy.deepcopy(OFFICIAL_ONLY[reason]), builtin_models.build)
    summary = summarize(path)
    (branch,) = summary["branches"].values()
    assert branch["official_only"] == [reason]
    assert branch["runs_in"] == BUILTIN
    assert branch["unknown"] == []
    assert summary["parameters"]["total"] == size(builtin_models.build(copy.deepcopy(OFFICIAL_ONLY[reason])))
    assert main(["info", str(path)]) == 0
    assert f"DeePMD-kit's built-in DPA4 because of `{reason}`" in capsys.readouterr().out


def test_unknown_options_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = untrained(tmp_path, inputs.model())
    content = torch.load(path, weights_only=True)
    params: dict[str, Any] = content["model"]["_extra_state"]["model_params"]
    params["novel"], params["descriptor"]["sharpness"] = 1, 2
    torch.save(content, path)
    assert main(["info", str(path)]) == 0
    printed = capsys.readouterr().out
    for name in ("model/novel", "descriptor/sharpness"):
        assert f"`{name}`: neither implementation has this option" in printed


def test_what_is_printed(tasks: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tasks.checkpoint)]) == 0
    short = capsys.readouterr().out
    assert main(["info", str(tasks.checkpoint), "--options"]) == 0
    long = capsys.readouterr().out
    assert "4 steps" in short
    assert "shared ones once" in short
    assert "descriptor/channels" in short
    assert "radial_so2_rank" not in short
    assert "descriptor/radial_so2_rank" in long
    assert main(["info", str(tasks.checkpoint), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == summarize(tasks.checkpoint)


def test_a_terminal_gets_a_table(
    official: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["info", str(official.checkpoint)]) == 0
    plain = capsys.readouterr().out.split()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["info", str(official.checkpoint)]) == 0
    assert re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).split() == plain


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    """Its options are its own; what every checkpoint holds is told."""
    params = {"type": "standard", "type_map": ["O"], "descriptor": {"type": "se_e2_a", "what": 1}}
    state = {"model.Default.atomic_model.out_bias": torch.zeros(1, 1, 1), "model.Default.x": torch.zeros(3)}
    torch.save({"model": state | {"_extra_state": {"model_params": params}}}, tmp_path / "model.pt")
    (branch,) = summarize(tmp_path / "model.pt")["branches"].values()
    assert branch["runs_in"] == BUILTIN
    assert branch["unknown"] == []
    assert branch["parameters"]["total"] == 3
