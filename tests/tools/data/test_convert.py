"""``dpa4 data convert``: nothing is lost or changed on the way to DeePMD folders and back."""

import csv
import gc
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import dpdata
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import read, write
from ase.io.trajectory import Trajectory

from deepmd_dpa4.cli import main
from deepmd_dpa4.tools.data.deduplicate import fingerprint
from deepmd_dpa4.tools.data.frame import Frame, Place
from deepmd_dpa4.tools.data.reader import frames_at
from deepmd_dpa4.tools.data.sources import format_of, records
from tests.support import inputs
from tests.support.commands import dp
from tests.support.disks import small_disk
from tests.support.structures import crystals, virial, water
from tests.support.toy import toy_frames, write_system

FRAMES = [*crystals(5), water(), *crystals(2, seed=1)]


def convert(*words: object) -> None:
    assert main(["data", "convert", *map(str, words)]) == 0


def problems(folder: Path) -> list[dict[str, str]]:
    with (folder / "problems.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_database(path: Path, frames: list[Atoms]) -> None:
    kind = {".db": "db", ".aselmdb": "aselmdb"}[path.suffix]
    with connect(str(path), type=kind) as database:
        for atoms in frames:
            database.write(atoms)


def write_trajectory(path: Path, frames: list[Atoms]) -> None:
    with Trajectory(str(path), "w") as trajectory:
        for atoms in frames:
            trajectory.write(atoms)


WRITERS: dict[str, Callable[[Path, list[Atoms]], object]] = {
    "all.extxyz": write,
    "all.xyz.gz": write,
    "all.xyz": write,
    "all.db": write_database,
    "all.aselmdb": write_database,
    "all.traj": write_trajectory,
}


def sorted_atoms(atoms: Atoms) -> np.ndarray:
    """Order by atomic number, stable."""
    return np.argsort(atoms.numbers, kind="stable")


def assert_same(folder: Path, frames: list[Atoms], sort: bool = True) -> None:
    """The frames of a folder are these, in this order."""
    found = list(frames_at([folder]))
    assert len(found) == len(frames)
    for frame, atoms in zip(found, frames):
        order = sorted_atoms(atoms) if sort else np.arange(len(atoms))
        assert list(frame.symbols) == [atoms.symbols[i] for i in order]
        results = atoms.calc.results
        np.testing.assert_allclose(frame.positions, atoms.positions[order], atol=1e-7)
        np.testing.assert_allclose(frame.energy, results["energy"], atol=1e-7)
        np.testing.assert_allclose(frame.force, results["forces"][order], atol=1e-7)
        if atoms.pbc.any():
            np.testing.assert_allclose(frame.cell, atoms.cell[:], atol=1e-7)
            np.testing.assert_allclose(frame.virial, virial(atoms), atol=1e-5)
        else:
            assert frame.cell is None and frame.virial is None


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("mixed", [False, True], ids=["standard", "mixed"])
def test_formats(name: str, mixed: bool, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, FRAMES)
    convert(tmp_path / name, "-o", tmp_path / "out", *(["--mixed"] if mixed else []))
    crystal_folder, molecule_folder = ("4", "3-nopbc") if mixed else ("Al2Cu2", "H2O1-nopbc")
    assert_same(tmp_path / "out" / crystal_folder, [atoms for atoms in FRAMES if len(atoms) == 4], sort=not mixed)
    assert_same(tmp_path / "out" / molecule_folder, [FRAMES[5]], sort=not mixed)
    assert problems(tmp_path / "out") == []


@pytest.mark.parametrize("mixed", [False, True], ids=["standard", "mixed"])
def test_dpdata_reads_the_same(mixed: bool, tmp_path: Path) -> None:
    write(tmp_path / "a.extxyz", crystals(5))
    convert(tmp_path / "a.extxyz", "-o", tmp_path / "out", *(["--mixed", "--type-map", "Cu", "Al"] if mixed else []))
    if mixed:
        loaded = dpdata.MultiSystems().load_systems_from_file(str(tmp_path / "out"), fmt="deepmd/npy/mixed")
        assert loaded.get_nframes() == 5
        energies = np.sort(np.concatenate([system["energies"] for system in loaded.systems.values()]))
        np.testing.assert_allclose(energies, np.sort([atoms.get_potential_energy() for atoms in crystals(5)]))
        return
    system = dpdata.LabeledSystem(str(tmp_path / "out" / "Al2Cu2"), fmt="deepmd/npy")
    for index, atoms in enumerate(crystals(5)):
        order = sorted_atoms(atoms)
        np.testing.assert_allclose(system["energies"][index], atoms.get_potential_energy())
        np.testing.assert_allclose(system["coords"][index], atoms.positions[order], atol=1e-7)
        np.testing.assert_allclose(system["forces"][index], atoms.get_forces()[order], atol=1e-7)
        np.testing.assert_allclose(system["virials"][index], virial(atoms), atol=1e-5)


def test_there_and_back(tmp_path: Path) -> None:
    """extxyz, mixed folders, dpdata's extxyz, standard folders."""
    write(tmp_path / "a.extxyz", crystals(4))
    convert(tmp_path / "a.extxyz", "-o", tmp_path / "mixed", "--mixed")
    systems = dpdata.MultiSystems().load_systems_from_file(str(tmp_path / "mixed"), fmt="deepmd/npy/mixed")
    (system,) = systems.systems.values()
    system.to("deepmd/npy", str(tmp_path / "plain"), prec=np.float64)
    convert(tmp_path / "plain", "-o", tmp_path / "back")
    write(tmp_path / "b.extxyz", [atoms[sorted_atoms(atoms)] for atoms in crystals(4)])
    for frame, atoms in zip(frames_at([tmp_path / "back"]), read(tmp_path / "b.extxyz", ":")):
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-7)
        assert frame.symbols == tuple(atoms.get_chemical_symbols())
    assert {tuple(frame.symbols) for frame in frames_at([tmp_path / "back"])} == {("Al", "Al", "Cu", "Cu")}


@pytest.mark.parametrize("form", ["quip/gap/xyz", "deepmd/hdf5", "mace/xyz"])
def test_formats_of_dpdata(form: str, tmp_path: Path) -> None:
    frames = crystals(3)
    system = dpdata.LabeledSystem(frames[0], fmt="ase/structure")
    for atoms in frames[1:]:
        system.append(dpdata.LabeledSystem(atoms, fmt="ase/structure"))
    source = tmp_path / "source"
    dpdata.MultiSystems(system).to(form, str(source))
    convert(source, "-o", tmp_path / "out", "--format", form)
    found = sorted(frame.energy or 0 for frame in frames_at([tmp_path / "out"]))
    np.testing.assert_allclose(found, sorted(atoms.get_potential_energy() for atoms in frames), rtol=1e-6)
    forces = np.sort([np.linalg.norm(frame.force) for frame in frames_at([tmp_path / "out"])])
    np.testing.assert_allclose(forces, np.sort([np.linalg.norm(atoms.get_forces()) for atoms in frames]), rtol=1e-5)


class TestProblems:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        frames = crystals(4)
        frames[1] = Atoms(frames[1].symbols, positions=frames[1].positions, cell=frames[1].cell, pbc=True)
        frames[2].calc.results["forces"] = frames[2].get_forces() * 1e6
        squeezed = water()
        squeezed.positions[1] = squeezed.positions[0] + [0, 0, 0.3]
        write(tmp_path / "a.extxyz", [*frames, squeezed, frames[0]])
        return tmp_path / "a.extxyz"

    def test_all_are_listed(self, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
        convert(source, "-o", source.parent / "out")
        rows = [(row["problem"], row["frame"], row["written"]) for row in problems(source.parent / "out")]
        assert rows == [
            ("neither energy nor forces", "1", "no"),
            ("absurd force", "2", "yes"),
            ("atoms too close", "4", "yes"),
            ("structure seen before", "5", "yes"),
        ]
        assert {row["file"] for row in problems(source.parent / "out")} == {str(source)}
        printed = capsys.readouterr().out
        assert printed.startswith("5 of 6 frames in 2 folders")
        assert "neither energy nor forces" in printed

    def test_drop(self, source: Path) -> None:
        convert(source, "-o", source.parent / "out", "--drop-bad")
        assert {row["written"] for row in problems(source.parent / "out")} == {"no"}
        assert len(problems(source.parent / "out")) == 4
        assert len(list(frames_at([source.parent / "out"]))) == 2

    def test_thresholds(self, source: Path) -> None:
        convert(source, "-o", source.parent / "out", "--min-distance", 0.2, "--max-force", 1e9)
        assert {row["problem"] for row in problems(source.parent / "out")} == {
            "neither energy nor forces",
            "structure seen before",
        }

    def test_partly_labelled_frames_have_folders_of_their_own(self, tmp_path: Path) -> None:
        frames = crystals(3)
        del frames[1].calc.results["forces"]
        del frames[2].calc.results["stress"]
        write(tmp_path / "a.extxyz", frames)
        convert(tmp_path / "a.extxyz", "-o", tmp_path / "out")
        names = {path.parent.name for path in (tmp_path / "out").glob("*/type.raw")}
        assert names == {"Al2Cu2", "Al2Cu2-no_force", "Al2Cu2-no_virial"}
        assert [row["problem"] for row in problems(tmp_path / "out")] == ["no forces"]


def test_memory_is_bounded_and_sets_are_full(tmp_path: Path) -> None:
    """However often the buffer is written, the files are the same."""
    write(tmp_path / "a.extxyz", [*crystals(11), water(), *crystals(6, seed=2)])
    for buffer in (1, 9, 10_000):
        convert(tmp_path / "a.extxyz", "-o", tmp_path / str(buffer), "--set-size", 5, "--buffer", buffer)
    assert [np.load(path).shape[0] for path in sorted((tmp_path / "1" / "Al2Cu2").glob("*/energy.npy"))] == [5, 5, 5, 2]
    files = [path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*.*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        for buffer in ("9", "10000"):
            assert (tmp_path / "1" / path).read_bytes() == (tmp_path / buffer / path).read_bytes()


@pytest.mark.parametrize("name", ["all.extxyz", "all.db", "all.aselmdb"])
def test_reading_needs_no_memory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times as many frames have the same peak."""
    monkeypatch.setattr("deepmd_dpa4.tools.data.sources.ROWS", 10)
    atoms = crystals(1)[0] * (2, 2, 2)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
    for count in (20, 200):
        (tmp_path / str(count)).mkdir()
        WRITERS[name](tmp_path / str(count) / name, [atoms] * count)
    # what is imported on the way does not count
    peak_of_reading(tmp_path / "20" / name)
    few, many = (peak_of_reading(tmp_path / count / name) for count in ("20", "200"))
    assert many < 1.3 * few


def peak_of_reading(path: Path) -> int:
    """Bytes, with the reference cycles of ASE's calculators collected at once."""
    gc.freeze()
    tracemalloc.start()
    for _ in records(path, format_of(path)):
        gc.collect()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.unfreeze()
    return peak


def test_frames_wait_up_to_the_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more frames wait than the buffer allows."""
    from deepmd_dpa4.tools.data.writer import Writer

    most = []
    flush = Writer.flush

    def counting(self: Writer) -> None:
        most.append(sum(len(folder.waiting) for folder in self.folders.values()))
        flush(self)

    monkeypatch.setattr(Writer, "flush", counting)
    write(tmp_path / "a.extxyz", crystals(20))
    convert(tmp_path / "a.extxyz", "-o", tmp_path / "out", "--buffer", 12)
    assert most == [3] * 6 + [2]


def test_slabs_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a third cell vector they are written as periodic, without one they cannot be."""
    slab, flat = crystals(2)
    slab.pbc = flat.pbc = (True, True, False)
    flat.cell[2] = 0
    for atoms in (slab, flat):
        # a changed structure would lose the results of the old one
        atoms.calc = SinglePointCalculator(atoms, **atoms.calc.results)
    write_trajectory(tmp_path / "a.traj", [slab, flat])
    convert(tmp_path / "a.traj", "-o", tmp_path / "out")
    assert "2 frames are periodic in some directions only; written as periodic" in capsys.readouterr().out
    assert [row["problem"] for row in problems(tmp_path / "out")] == ["cell without a volume"]
    assert_same(tmp_path / "out", [slab])


def test_rows_of_a_database_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where rows were deleted."""
    monkeypatch.setattr("deepmd_dpa4.tools.data.sources.ROWS", 2)
    write_database(tmp_path / "a.db", FRAMES)
    with connect(str(tmp_path / "a.db")) as database:
        database.delete([2, 3, 6])
    convert(tmp_path / "a.db", "-o", tmp_path / "out")
    assert_same(tmp_path / "out", [FRAMES[index] for index in (0, 3, 4, 6, 7)])


@pytest.mark.parametrize("mixed", [False, True], ids=["standard", "mixed"])
def test_result_trains(mixed: bool, tmp_path: Path) -> None:
    write(tmp_path / "a.extxyz", FRAMES)
    convert(tmp_path / "a.extxyz", "-o", tmp_path / "out", *(["--mixed"] if mixed else []))
    content = {"model": inputs.model() | {"type_map": ["Al", "Cu", "O", "H"]}} | inputs.training(
        tmp_path / "out", steps=1
    )
    (tmp_path / "input.json").write_text(json.dumps(content))
    assert "built by deepmd-dpa4" in dp("train", "input.json", folder=tmp_path)
    assert (tmp_path / "model.ckpt-1.pt").exists()


def test_stress_in_gpa(tmp_path: Path) -> None:
    """Refused as it is, taken with the unit."""
    frames = crystals(40)
    source = tmp_path / "a.extxyz"
    write(source, [scaled(atoms, 160.21766208) for atoms in frames])
    assert main(["data", "convert", str(source), "-o", str(tmp_path / "out")]) == 1
    assert listing(tmp_path) == {"a.extxyz"}
    convert(source, "-o", tmp_path / "out", "--stress-unit", "GPa")
    assert_same(tmp_path / "out", frames)


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def scaled(atoms: Atoms, factor: float) -> Atoms:
    other = atoms.copy()
    results = atoms.calc.results
    other.calc = SinglePointCalculator(other, **{**results, "stress": results["stress"] * factor})
    return other


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.xyz", crystals(400))
    with small_disk(tmp_path / "disk", 64) as disk:
        assert main(["data", "convert", str(tmp_path / "a.xyz"), "-o", str(disk / "out"), "--buffer", "40"]) == 1
        assert capsys.readouterr().err == f"dpa4: error: {disk}/out cannot be written: No space left on device\n"
        assert listing(disk) == set()


@pytest.mark.parametrize("mixed", [False, True])
def test_conditions_go_along(mixed: bool, tmp_path: Path) -> None:
    """Frame parameters, atomic parameters in the new order of the atoms, charge and spin."""
    frames = toy_frames(4, seed=1)
    folder = write_system(tmp_path / "data", frames)
    words = ["--mixed"] if mixed else ["--type-map", "H", "O"]
    assert main(["data", "convert", str(folder), "-o", str(tmp_path / "out"), *words]) == 0
    before, after = (list(frames_at([path])) for path in (folder, tmp_path / "out"))
    assert len(after) == len(before) == 4
    for old, new in zip(before, after, strict=True):
        assert old.conditions.keys() == new.conditions.keys() == {"fparam", "aparam", "charge_spin"}
        order = [int(np.flatnonzero((old.positions == row).all(axis=1))[0]) for row in new.positions]
        assert mixed or order != sorted(order)
        np.testing.assert_array_equal(new.conditions["aparam"], old.conditions["aparam"][order])
        for name in ("fparam", "charge_spin"):
            np.testing.assert_array_equal(new.conditions[name], old.conditions[name])


def test_charge_and_spin_of_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pairs that are whole; a multiplicity is 1 or more, and charges of atoms are another quantity."""
    said = ["charge=-1 spin=2", "charge=1 spin=1", "charge=1", "charge=0 spin=0", ""]
    text = "".join(
        f'1\nProperties=species:S:1:pos:R:3:forces:R:3 energy={-1 - index} pbc="F F F" {words}\nH {index} 0 0 0 0 0\n'
        for index, words in enumerate(said)
    )
    (tmp_path / "a.xyz").write_text(text)
    assert main(["data", "convert", str(tmp_path / "a.xyz"), "-o", str(tmp_path / "out")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "charge and spin: 'charge, spin' in 2 frames" in printed
    assert "2 frames have `charge` or `spin` that are no charge with a multiplicity" in printed
    found = {frame.energy: frame.conditions for frame in frames_at([tmp_path / "out"])}
    assert {energy: value["charge_spin"].tolist() for energy, value in found.items() if value} == {
        -1: [-1, 2],
        -2: [1, 1],
    }
    assert len(found) == 5


def test_the_same_structure_under_other_conditions_is_another_frame() -> None:
    positions = np.zeros((1, 3))
    one, other = (
        Frame(Place("a", 0), ("H",), positions, None, conditions={"fparam": np.array([value])}) for value in (1.0, 2.0)
    )
    assert fingerprint(one) != fingerprint(other)
