"""``dpa4 data check`` says what is in the data, however they are laid out."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.io import write

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.data.checks import Inspector
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Frame, Place
from deepmd_dpa4.tools.data.limits import Limits
from deepmd_dpa4.tools.data.statistics import Statistics, fit_elements, gather, outliers
from deepmd_dpa4.tools.data.writer import Layout, Writer
from tests.support.disks import small_disk
from tests.support.structures import crystals, water
from tests.support.toy import toy_frames, write_system


def frame(number: int, counts: dict[str, int], energy: float | None, rng: np.random.Generator) -> Frame:
    symbols = tuple(symbol for symbol, count in counts.items() for _ in range(count))
    positions = np.arange(len(symbols))[:, None] * [1.5, 0, 0] + rng.uniform(0, 0.2, (len(symbols), 3))
    force = rng.normal(0, 1, (len(symbols), 3))
    return Frame(Place("data", number), symbols, positions, np.diag([20.0, 5, 5]), energy, force, np.eye(3))


def statistics(frames: list[Frame]) -> Statistics:
    result = Statistics(Inspector(Limits()), cutoff=4.0)
    for item in frames:
        result.add(item)
    return result


ENERGIES = {"H": -3.0, "O": -10.0}


def mixture(count: int = 60) -> list[Frame]:
    """Energies that are sums over elements."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(count):
        counts = {"H": 1 + number % 3, "O": 1 + number % 2}
        energy = sum(ENERGIES[symbol] * n for symbol, n in counts.items())
        frames.append(frame(number, counts, energy, rng))
    return frames


def test_energies_of_elements_are_found() -> None:
    fit = fit_elements(statistics(mixture()))
    assert fit.energies == pytest.approx(ENERGIES)
    np.testing.assert_allclose(fit.residual, 0, atol=1e-12)


def test_fit_is_that_of_all_frames() -> None:
    """The sums over compositions do not change the least squares."""
    rng = np.random.default_rng(1)
    frames = [replace(item, energy=item.energy + rng.normal()) for item in mixture(50) if item.energy is not None]
    fractions = np.array([[f.symbols.count(s) / len(f.symbols) for s in ENERGIES] for f in frames])
    energies = np.array([f.energy / len(f.symbols) for f in frames if f.energy is not None])
    expected, *_ = np.linalg.lstsq(fractions, energies, rcond=None)
    fit = fit_elements(statistics(frames))
    np.testing.assert_allclose([fit.energies[symbol] for symbol in ENERGIES], expected)
    np.testing.assert_allclose(fit.residual, energies - fractions @ expected)


def test_undetermined_energies() -> None:
    """One composition only: any split explains the energy."""
    frames = [item for item in mixture() if item.composition == (("H", 1), ("O", 1))]
    np.testing.assert_allclose(fit_elements(statistics(frames)).residual, 0, atol=1e-12)


def test_outlier_is_named() -> None:
    frames = mixture()
    rng = np.random.default_rng(2)
    frames = [replace(item, energy=item.energy + 0.01 * rng.normal()) for item in frames if item.energy is not None]
    frames[17] = replace(frames[17], energy=frames[17].energy + 5.0 if frames[17].energy is not None else None)
    result = statistics(frames)
    first, *others = outliers("energy", fit_elements(result).residual, result, threshold=20.0)
    assert (first.place.index, others) == (17, [])
    assert not outliers("energy", np.zeros(60), result, threshold=20.0)


def test_missing_and_broken() -> None:
    frames = mixture(6)
    frames[1] = replace(frames[1], energy=None)
    frames[2] = replace(frames[2], energy=np.nan)
    frames[3] = replace(frames[3], virial=None)
    frames[4] = replace(frames[4], positions=np.full_like(frames[4].positions, np.nan))
    result = statistics(frames)
    assert result.missing == {"energy": 2, "virial": 1}
    assert {kind.value: count for kind, count in result.problems.items()} == {
        "no energy": 1,
        "labels that are not finite": 1,
        "values that are not finite": 1,
    }
    assert result.frames == 6 and len(result.place) == 5
    assert np.isfinite(fit_elements(result).residual).sum() == 3


def test_numbers_of_a_frame() -> None:
    item = replace(mixture(1)[0], positions=np.array([[0.1, 0, 0], [19.0, 0, 0]]), virial=2 * np.eye(3))
    result = statistics([item])
    values = {name: column[0] for name, column in result.columns.items()}
    assert values["distance"] == pytest.approx(1.1)
    assert values["volume"] == pytest.approx(250)
    assert values["pressure"] == pytest.approx(2 / 500 * 160.21766)
    assert values["max_force"] == np.abs(item.force).max()
    assert result.nearest[("H", "O")][0] == pytest.approx(1.1)
    assert result.force_counts.sum() == 6


@pytest.mark.parametrize("mixed", [False, True], ids=["standard", "mixed"])
def test_layouts(mixed: bool, tmp_path: Path) -> None:
    with Writer(tmp_path / "data", Layout(mixed=mixed, set_size=7)) as writer:
        for item in mixture():
            writer.add(item)
    result, expected = gather([tmp_path / "data"], Limits(), 4.0), statistics(mixture())
    assert result.elements == expected.elements
    assert fit_elements(result).energies == pytest.approx(ENERGIES)
    assert {pair: distance for pair, (distance, _) in result.nearest.items()} == pytest.approx(
        {pair: distance for pair, (distance, _) in expected.nearest.items()}
    )
    np.testing.assert_array_equal(result.force_counts, expected.force_counts)


def test_atoms_of_negative_type_do_not_count(tmp_path: Path) -> None:
    """Padding, as dpdata writes it."""
    part = tmp_path / "data" / "set.000"
    part.mkdir(parents=True)
    (tmp_path / "data" / "type.raw").write_text("0\n0\n0\n")
    (tmp_path / "data" / "type_map.raw").write_text("H\nO\n")
    np.save(part / "real_atom_types.npy", [[1, 0, -1]])
    np.save(part / "coord.npy", [[0.0, 0, 0, 1, 0, 0, 0, 0, 0]])
    np.save(part / "box.npy", [np.eye(3).ravel() * 9])
    np.save(part / "energy.npy", [-4.0])
    result = gather([tmp_path / "data"], Limits(), 4.0)
    assert result.elements == {"H": 1, "O": 1}
    assert result.columns["energy"][0] == -2.0
    assert not set(result.problems) - {kind for kind in result.problems if kind.value == "no forces"}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("set.000/energy.npy", b"", "energy.npy is not an array"),
        ("type.raw", b"", "type.raw is empty but must hold the type of each atom"),
        ("set.000/energy.npy", np.array(["a", "b", "c"]), "energy.npy holds values of type <U1 but must hold numbers"),
    ],
    ids=["empty", "no types", "texts"],
)
def test_files_of_an_interrupted_copy(name: str, content: bytes | np.ndarray, told: str, tmp_path: Path) -> None:
    folder = write_system(tmp_path / "data", toy_frames(3, seed=1))
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    else:
        np.save(folder / name, content)
    with pytest.raises(DataError, match=re.escape(told)):
        gather([folder], Limits(), 4.0)


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        frames = crystals(12)
        frames[5].calc.results["forces"] = frames[5].get_forces() * 1e4
        write("a.xyz", [*frames, water(), frames[0]])
        assert main(["data", "convert", "a.xyz", "-o", "data"]) == 0
        return tmp_path / "data"

    def test_tables_and_page(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        capsys.readouterr()
        assert main(["data", "check", "data", "-o", "page.html"]) == 0
        printed, page = capsys.readouterr().out, Path("page.html").read_text()
        for words in ("absurd force", "structure seen before", "Al2Cu2/set.000, frame 5", "frames without virial"):
            assert words in printed and words in page
        assert "Outliers" in printed
        (picture,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page)
        assert b"absolute force component" in base64.b64decode(picture)
        assert not re.search(r'(src|href)="(?!data:)', page)

    def test_a_full_disk(self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with small_disk(tmp_path / "disk", 16) as disk:
            assert main(["data", "check", str(folder), "-o", str(disk / "page.html")]) == 1
            error = f"dpa4: error: {disk}/page.html cannot be written: No space left on device\n"
            assert capsys.readouterr().err == error
            assert list(disk.iterdir()) == []
