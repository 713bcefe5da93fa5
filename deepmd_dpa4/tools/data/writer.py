"""DeePMD npy folders, written while frames come in."""

import io
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from deepmd_dpa4.files import replacing
from deepmd_dpa4.tools.data.errors import DataError
from deepmd_dpa4.tools.data.frame import Frame, by_element, formula

Group = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How frames are laid out in folders."""

    mixed: bool = False
    """One folder for a number of atoms, with the types of each frame; else one folder for a composition."""
    type_map: tuple[str, ...] | None = None
    """Names of the types in every folder; ``None``: those that occur."""
    set_size: int = 2000
    """Frames in a ``set.NNN`` folder."""
    buffer: int = 200_000
    """Atoms that wait in memory, all folders together, 100 to 300 bytes each."""


@dataclass(slots=True)
class Folder:
    """One system folder and the frames that wait for it."""

    path: Path
    type_map: tuple[str, ...]
    symbols: tuple[str, ...]
    periodic: bool
    frames: int = 0
    waiting: list[dict[str, np.ndarray]] = field(default_factory=list)


class Writer:
    """Writes frames into a folder that appears when everything is in it.

    Used as a context. Until it ends without an error the data lie in a hidden folder beside it, which is removed after
    an error. Memory: the waiting frames, and a few hundred bytes for each system folder.

    Raises
    ------
    DataError
        If the folder exists, or an element is not in the type map.
    WriteError
        If there is no space, or no permission.
    """

    partial: Path
    """Where the data lie until they are complete."""

    def __init__(self, output: Path, layout: Layout) -> None:
        self.output, self.layout = output, layout
        if output.exists():
            raise DataError(f"`--output` is {output} but it exists already: remove it or give another name")
        self.appearing = ExitStack()
        self.folders: dict[str, Folder] = {}
        self.types: list[str] = list(layout.type_map or ())
        self.atoms_waiting = 0

    def __enter__(self) -> "Writer":
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.partial = self.appearing.enter_context(replacing(self.output))
        self.partial.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.appearing:
            if error is not None:
                raise error  # for what removes the folder
            self.flush()
            for folder in self.folders.values():
                self.finish(folder)

    def add(self, frame: Frame, below: str = "") -> None:
        """Take a frame; in the standard layout its atoms are sorted by type, keeping the order within each.

        Parameters
        ----------
        frame : Frame
            The frame.
        below : str, optional
            Part of the output that its folder belongs into.
        """
        self.check_types(frame)
        folder = self.folder(frame, below)
        folder.waiting.append(self.row(frame, folder))
        self.atoms_waiting += len(frame.symbols)
        if self.atoms_waiting >= self.layout.buffer:
            self.flush()

    def check_types(self, frame: Frame) -> None:
        """Check that the types include all elements of the frame."""
        for symbol in frame.symbols:
            if symbol not in self.types:
                if self.layout.type_map is not None:
                    allowed = " ".join(self.layout.type_map)
                    raise DataError(f"`--type-map` is {allowed} but must hold {symbol}, which is in {frame.place}")
                self.types.append(symbol)

    def folder(self, frame: Frame, below: str) -> Folder:
        """Find where the frame belongs: every file of a folder has a row for each frame in it."""
        base = str(len(frame.symbols)) if self.layout.mixed else formula(frame.composition)
        name = str(Path(below) / "-".join([base, *variant(frame)]))
        if name not in self.folders:
            type_map = self.layout.type_map or tuple(by_element(set(frame.symbols)))
            symbols = tuple(sorted(frame.symbols, key=type_map.index))
            self.folders[name] = Folder(self.partial / name, type_map, symbols, frame.cell is not None)
        return self.folders[name]

    def row(self, frame: Frame, folder: Folder) -> dict[str, np.ndarray]:
        """Collect what the files get for a frame."""
        if self.layout.mixed:
            order = np.arange(len(frame.symbols))
            types = {"real_atom_types": np.array([self.types.index(s) for s in frame.symbols], dtype=np.int32)}
        else:
            order = np.argsort([folder.type_map.index(symbol) for symbol in frame.symbols], kind="stable")
            types = {}
        row = {**types, "coord": frame.positions[order].reshape(-1)}
        if frame.cell is not None:
            row["box"] = frame.cell.reshape(9)
        if frame.energy is not None:
            row["energy"] = np.array([frame.energy])
        if frame.force is not None:
            row["force"] = frame.force[order].reshape(-1)
        if frame.virial is not None:
            row["virial"] = frame.virial.reshape(9)
        for name, value in frame.conditions.items():
            row[name] = value[order].reshape(-1) if name == "aparam" else value
        return row

    def flush(self) -> None:
        """Write what waits, filling up each set before the next one is begun."""
        for folder in self.folders.values():
            while folder.waiting:
                number, filled = divmod(folder.frames, self.layout.set_size)
                rows = folder.waiting[: self.layout.set_size - filled]
                part = folder.path / f"set.{number:03d}"
                part.mkdir(parents=True, exist_ok=True)
                for name in rows[0]:
                    append(part / f"{name}.npy", np.stack([row[name] for row in rows]))
                folder.waiting = folder.waiting[len(rows) :]
                folder.frames += len(rows)
        self.atoms_waiting = 0

    def finish(self, folder: Folder) -> None:
        """Write the files that belong to a whole folder."""
        if self.layout.mixed:
            type_map, types = self.types, [0] * len(folder.symbols)
        else:
            type_map, types = list(folder.type_map), [folder.type_map.index(s) for s in folder.symbols]
        (folder.path / "type_map.raw").write_text("".join(f"{name}\n" for name in type_map))
        (folder.path / "type.raw").write_text("".join(f"{index}\n" for index in types))
        if not folder.periodic:
            (folder.path / "nopbc").touch()

    @property
    def names(self) -> list[str]:
        """Types that occurred, in the order of ``type_map.raw``."""
        chosen = self.layout.mixed or self.layout.type_map is not None
        return self.types if chosen else by_element(set(self.types))

    @property
    def frames_in_folders(self) -> dict[str, int]:
        """Frames in each folder."""
        return {name: folder.frames for name, folder in sorted(self.folders.items())}


def variant(frame: Frame) -> list[str]:
    """Name what sets frames of the same atoms apart: no cell, no label where others have it, conditions by width."""
    absent = [] if frame.cell is not None else ["nopbc"]
    labels = {"energy": frame.energy, "force": frame.force}
    if frame.cell is not None:
        labels["virial"] = frame.virial
    elif frame.virial is not None:
        absent.append("virial")
    conditions = [f"{name}_{value.shape[-1]}" for name, value in sorted(frame.conditions.items())]
    return absent + [f"no_{name}" for name, value in labels.items() if value is None] + conditions


def append(path: Path, rows: np.ndarray) -> None:
    """Add rows to an array in a ``.npy`` file, which is made if it does not exist.

    The header of the format leaves room for a longer first axis, so that only its first bytes are written again.
    """
    if not path.exists():
        # numpy's own writer of files does not say why it fails
        buffer = io.BytesIO()
        np.save(buffer, rows)
        path.write_bytes(buffer.getbuffer())
        return
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        file.seek(0, 2)
        file.write(np.ascontiguousarray(rows, dtype=dtype).tobytes())
        file.seek(0)
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (shape[0] + len(rows), *shape[1:])})
        if file.tell() != start:
            raise RuntimeError(f"the header of {path} grew from {start} to {file.tell()} bytes")
