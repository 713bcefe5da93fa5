"""The alloy examples run as their pages say, with a model that has hardly been trained and loose limits."""

from pathlib import Path

import pytest

from tests.examples.snippets import blocks, copy_examples, run_block

LOOSE = ("--fmax", "20")


@pytest.fixture(scope="module")
def alloy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples in which the first one has run."""
    folder = copy_examples(tmp_path_factory.mktemp("alloy")).parent / "alloy"
    for picture in folder.glob("*/*.png"):
        picture.unlink()
    (commands,) = blocks(folder / "relax" / "README.md", "sh")
    trained, relaxed = run_block(commands, folder / "relax", LOOSE)
    assert "built by deepmd-dpa4" in trained
    (folder / "relax" / "printed.txt").write_text(relaxed)
    return folder


def test_relax(alloy: Path) -> None:
    lines = (alloy / "relax" / "printed.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines[-5:]] == ["Cu", "Cu3Al", "CuAl", "CuAl3", "Al"]
    assert all(3 < float(line.split()[2]) < 5 for line in lines[-5:])
    assert (alloy / "relax" / "relax.png").stat().st_size > 1000


def test_torchsim(alloy: Path) -> None:
    pytest.importorskip("torch_sim", reason="needs torch-sim (extra `torchsim`, Python 3.11 or newer)")
    (commands,) = blocks(alloy / "torchsim" / "README.md", "sh")
    (printed,) = run_block(commands, alloy / "torchsim", (*LOOSE, "--cells", "3", "--steps", "5"))
    assert [line.split()[0] for line in printed.splitlines()[-3:]] == ["Cu8", "Al8Cu8", "Al8"]
    assert (alloy / "torchsim" / "torchsim.png").stat().st_size > 1000
