"""``dpa4 check``: exit status, files, and going on after an interruption."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.check.report import fingerprint
from deepmd_dpa4.tools.check.suite import ALL
from deepmd_dpa4.tools.commands.check import NAMES
from tests.support.runs import Data, Run
from tests.support.toy import Frames, toy_frames, write_system
from tests.tools.check.analytic import Analytic

FAST = ("size", "symmetry", "cutoff")


class Stand:
    """A model file whose content does not matter, and the potential that is opened for it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.page = folder / "model.pt", folder / "out.html"
        self.file.write_bytes(b"weights")
        self.model = Analytic(["Cu"])
        monkeypatch.setattr("deepmd_dpa4.inference.evaluator.Evaluator", lambda path, head: self.model)

    def __call__(self, *words: Any) -> int:
        return main(["check", str(self.file), "-o", str(self.page), *map(str, words)])

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.page.with_suffix(".json").read_text())


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(tmp_path, monkeypatch)


def test_all_instruments_have_an_option() -> None:
    assert tuple(instrument.name for instrument in ALL) == NAMES


def test_a_sound_model(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    assert stand("--only", *FAST) == 0
    printed = capsys.readouterr().out
    assert "Verdict: pass" in printed and printed.splitlines()[-2:] == [
        str(stand.page),
        str(stand.page.with_suffix(".json")),
    ]
    report = stand.report
    assert report["verdict"] == "pass" and list(report["instruments"]) == list(FAST)
    assert report["model"]["sha256"] and report["settings"]["elements"] == ["Cu"]
    for entry in report["instruments"].values():
        assert entry["verdict"] == "pass" and entry["numbers"] and entry["seconds"] >= 0
    page = stand.page.read_text()
    assert page.count("data:image/svg+xml") == len(FAST) and "Verdict: pass" in page


def test_the_folder_of_a_training(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stand.file.parent / "run"
    folder.mkdir()
    (folder / "model.ckpt-1.pt").write_bytes(b"weights")
    (folder / "checkpoint").write_text("model.ckpt-1.pt")
    stand.file = folder
    assert stand("--only", "size") == 0
    assert stand.report["model"]["sha256"]
    assert "model.ckpt-1.pt" in stand.page.read_text()


def test_a_planted_hole(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    stand.model.bump = (-1e4, 1.0, 0.1)
    assert stand("--only", "pairs") == 1
    (hole, *_) = [text for text in stand.report["instruments"]["pairs"]["found"] if "hole" in text]
    assert hole.startswith("Cu-Cu: hole of -") and "below all outside the core" in hole
    assert hole in stand.page.read_text()
    assert "Cu-Cu" in capsys.readouterr().out


def test_numbers_that_are_not_finite(stand: Stand) -> None:
    stand.model.broken = True
    assert stand("--only", "symmetry", "curvature") == 1
    assert stand.report["instruments"]["curvature"]["numbers"]["largest curvature (eV/A^2)"] is None
    assert stand("--only", "symmetry", "curvature") == 1


class TestResume:
    def test_goes_on(self, stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
        """After an interruption, what was finished is not run again; neither is it by another choice."""

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("deepmd_dpa4.tools.check.symmetry.Symmetry.run", interrupt)
            with pytest.raises(KeyboardInterrupt):
                stand("--only", *FAST)
        assert list(stand.report["instruments"]) == ["size"]
        stand.model.crowd = 1.0
        assert stand("--only", *FAST) == 0
        assert list(stand.report["instruments"]) == list(FAST)
        calls = stand.model.calls
        assert stand("--only", *FAST) == 0
        assert stand.model.calls == calls

    def test_again(self, stand: Stand) -> None:
        assert stand("--only", "size") == 0
        stand.model.crowd = 1.0
        assert stand("--only", "size", "--again") == 1

    @pytest.mark.parametrize("words", [("--seed", 3), ("--steps", 3), ("--charge-spin", 0, 1)])
    def test_other_settings_start_anew(self, stand: Stand, words: tuple[Any, ...]) -> None:
        assert stand("--only", "size") == 0
        stand.model.crowd = 1.0
        assert stand("--only", "size", *words) == 1

    def test_another_file_starts_anew(self, stand: Stand) -> None:
        assert stand("--only", "size") == 0
        stand.model.crowd = 1.0
        stand.file.write_bytes(b"other weights")
        assert stand("--only", "size") == 1

    def test_a_file_of_something_else(self, stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
        stand.page.with_suffix(".json").write_text('{"model": 1}')
        assert stand("--only", "size") == 2
        assert "is no report of `dpa4 check`" in capsys.readouterr().err
        assert stand.report == {"model": 1}


def test_errors_on_data(stand: Stand, tmp_path: Path) -> None:
    """Frames of the data replace those that are made, and their forces are compared."""
    coord = np.array([[[0, 0, 0], [0, 0, 2.5 + 0.1 * n]] for n in range(5)], dtype=float)
    force = np.zeros_like(coord)
    force[3, 0, 0] = 500.0
    frames = Frames(coord, np.zeros((5, 3, 3)), np.zeros(5), force, np.zeros((5, 9)))
    system = write_system(tmp_path / "data", frames, (0, 0), ("Cu",), periodic=False)
    assert stand("--data", system, "--only", "errors", "size") == 1
    entries = stand.report["instruments"]
    assert "frame 3, atom 0 (Cu): error" in entries["errors"]["found"][0]
    assert entries["errors"]["numbers"]["structures"] == 5
    assert entries["size"]["numbers"]["structures"] == 5
    assert stand("--data", system, "--only", "errors", "--frames", 2) == 0


def test_no_such_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.pt"), "-o", str(tmp_path / "o.html")]) == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("file", ["checkpoint", "frozen"])
def test_files(file: str, trained: Run, data: Data, tmp_path: Path) -> None:
    """A small network after sixty steps: bad, but of the right symmetries."""
    page = tmp_path / "check.html"
    words = ["check", str(getattr(trained, file)), "--data", str(data.valid), "-o", str(page), "--steps", "5"]
    assert main([*words, "--pairs", "1"]) == 1
    report = json.loads(page.with_suffix(".json").read_text())
    entries = report["instruments"]
    assert list(entries) == list(NAMES)
    assert {name for name in ("trimers", "size", "symmetry", "cutoff") if entries[name]["verdict"] != "pass"} == set()
    assert entries["pairs"]["verdict"] == "fail" and entries["pairs"]["numbers"]["pairs"] == 1
    assert entries["errors"]["numbers"]["structures"] == len(data.frames.coord)
    assert report["settings"]["elements"] == ["H", "O"]
    assert page.read_text().count("<img") == len(NAMES)


def test_data_behind_a_link_count(tmp_path: Path) -> None:
    """A changed file is another data set, wherever it lies; results for the old one are not taken up."""
    real = write_system(tmp_path / "real", toy_frames(2, seed=1))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "water").symlink_to(real)
    before = fingerprint([tmp_path / "data"])
    assert fingerprint([tmp_path / "data"]) == before
    np.save(real / "set.000" / "energy.npy", np.zeros(7))
    assert fingerprint([tmp_path / "data"]) != before
