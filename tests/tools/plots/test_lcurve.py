"""Learning curves are read column by column, and every column is drawn."""

import re
from pathlib import Path

import numpy as np
import pytest

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.plots.lcurve import read
from deepmd_dpa4.tools.plots.style import labels_of

NOTE = "# If there is no available reference data, rmse_*_{val,trn} will print nan\n"
SINGLE = (
    "#  step      rmse_val    rmse_trn    rmse_e_val  rmse_e_trn    rmse_f_val  rmse_f_trn   lr\n"
    + NOTE
    + "      1      2.54e+00    2.61e+00      1.0e-01     2.0e-01       3.0e-01     4.0e-01    0.0e+00\n"
    + "    100      1.54e+00    1.61e+00      1.0e-02     2.0e-02       nan         4.0e-02    1.0e-03\n"
)
MULTI = (
    "#  step    mae_e_trn_water_trn_1   mae_f_val_metal   rmse_v_val_metal   lr\n"
    + NOTE
    + "      1    1.0e-01   2.0e-01   nan   1.0e-3\n"
    + "      2    1.0e-02   2.0e-02   nan   1.0e-4\n"
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("single", SINGLE), ("multi", MULTI)):
        Path(name).mkdir()
        (Path(name) / "lcurve.out").write_text(text)
    return tmp_path


def text_of(picture: Path) -> set[str]:
    """Words of an SVG picture: matplotlib notes them beside the outlines of letters."""
    return set(re.findall(r"<!-- (.*?) -->", picture.read_text()))


def test_columns(files: Path) -> None:
    curves = {(curve.label, curve.validation): curve for curve in read(Path("single/lcurve.out"))}
    assert len(curves) == 7
    np.testing.assert_array_equal(curves["energy RMSE (eV/atom)", True].values, [0.1, 0.01])
    np.testing.assert_array_equal(curves["force RMSE (eV/Å)", False].steps, [1, 100])
    np.testing.assert_array_equal(curves["root of the loss", True].values, [2.54, 1.54])


def test_branches_and_columns_without_data(files: Path) -> None:
    curves = [(curve.label, curve.branch, curve.validation) for curve in read(Path("multi/lcurve.out"))]
    assert curves == [
        ("energy MAE (eV/atom)", "water_trn_1", False),
        ("force MAE (eV/Å)", "metal", True),
        ("learning rate", "", False),
    ]


def test_a_line_that_is_being_written_is_left_out(files: Path) -> None:
    Path("now.out").write_text(SINGLE + "    200   1.0e+0")
    assert len(read(Path("now.out"))[0].steps) == 2


def test_picture(files: Path) -> None:
    assert main(["plot", "single/lcurve.out", "multi/lcurve.out", "-o", "a.svg"]) == 0
    words = text_of(Path("a.svg"))
    assert {"energy RMSE (eV/atom)", "energy MAE (eV/atom)", "force MAE (eV/Å)", "learning rate"} <= words
    assert {"single, validation", "single, training", "multi, metal, validation"} <= words


def test_png_and_the_same_again(files: Path) -> None:
    for name in ("a.png", "a.svg", "b.svg"):
        assert main(["plot", "single/lcurve.out", "-o", name, "--log-steps"]) == 0
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()


def test_names_in_the_legend() -> None:
    paths = [Path("a/run1/x/lcurve.out"), Path("a/run2/x/lcurve.out")]
    assert labels_of(paths) == ["run1", "run2"]
    assert labels_of([Path("lcurve.out"), Path("other/lcurve.out")]) == ["lcurve.out", "other/lcurve.out"]
