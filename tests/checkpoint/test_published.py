"""Published models are told by their checksums."""

import hashlib
import json
from pathlib import Path

import pytest

from deepmd_dpa4.checkpoint import published
from deepmd_dpa4.checkpoint.archive import FileError
from deepmd_dpa4.checkpoint.published import KNOWN, UNTRAINED, KnownModel, identify
from deepmd_dpa4.cli import main
from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.tools.presets.sizes import SIZES
from tests.support.runs import Run


def test_checksums_are_those_of_deepmd_kit() -> None:
    registry = pytest.importorskip("deepmd.pretrained.registry", reason="DeePMD-kit 3.1 lists no models")
    published = {name: entry["sha256"] for name, entry in registry.MODEL_REGISTRY.items() if name.startswith("DPA4-")}
    assert {model.name: model.sha256 for model in KNOWN if len(model.sha256) == 64} == published


def test_parameters_are_those_of_the_sizes() -> None:
    for model in KNOWN:
        assert model.parameters == SIZES[model.name.split("-")[1].split()[0].lower()].all_elements, model.name
    assert len({model.sha256[:8] for model in KNOWN}) == len(KNOWN)
    assert set(ELEMENTS) > UNTRAINED and len(UNTRAINED) == 34


def test_a_file_is_recognised(
    trained: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained.checkpoint
    assert identify(path) is None
    model = KnownModel("DPA4-Pico", 7, hashlib.sha256(path.read_bytes()).hexdigest()[:8], "nowhere")
    monkeypatch.setattr(published, "KNOWN", (*KNOWN, model))
    assert identify(path) == model
    assert main(["info", str(path)]) == 0
    assert "DPA4-Pico, unchanged (SHA-256)" in capsys.readouterr().out
    assert main(["info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["known"] == "DPA4-Pico"
    # the folder of the training stands for the same file
    assert main(["info", str(trained.folder)]) == 0
    assert "DPA4-Pico" in capsys.readouterr().out
    out = trained.folder / "converted.pt"
    assert main(["convert", str(path), "-o", str(out), "--weights-only"]) == 0
    assert f"{path} is DPA4-Pico, licence CC BY-NC 4.0" in capsys.readouterr().err
    assert identify(out) is None


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["info", "--known"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for model in KNOWN:
        assert model.name in printed and model.source in printed and model.sha256 in printed
    assert "84 of 118 elements" in printed and "not trained on: He Ne Ar" in printed


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        identify(tmp_path / "none.pt")
