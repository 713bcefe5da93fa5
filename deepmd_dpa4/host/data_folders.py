"""Folders of data that an input names, as DeePMD-kit finds them; it leaves out what it does not find."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepmd.utils.data_system import process_systems

from deepmd_dpa4.host.npy_files import DataError


def systems_of(part: Mapping[str, Any], where: str) -> list[str]:
    """Find the systems that DeePMD-kit will read: folders, or files such as HDF5 and LMDB.

    Parameters
    ----------
    part : mapping
        The section ``training_data`` or ``validation_data``.
    where : str
        Its path in the input, for messages.

    Raises
    ------
    DataError
        If no data are named, a path does not exist or leads to no data, or there are not as many sizes of batches as
        folders.
    """
    systems, patterns = part.get("systems"), part.get("rglob_patterns")
    given = [systems] if isinstance(systems, str) else list(systems or [])
    if not given:
        raise DataError(f"`{where}/systems` is {systems!r} but must name folders of data")
    found: list[str] = []
    for name in given:
        if not Path(name.partition("#")[0]).exists():
            raise DataError(f"`{where}/systems` holds {name!r} but there is no such folder or file")
        below = process_systems(name, patterns)
        if not below:
            raise DataError(f"`{where}/systems` holds {name!r} but no folder in it or below has a file type.raw")
        found += below
    sizes = part.get("batch_size")
    if isinstance(sizes, list) and len(sizes) != len(found):
        raise DataError(
            f"`{where}/batch_size` is {sizes} but must hold one number for each of the {len(found)} folders of data"
        )
    return found


def check_names(folder: Path, type_map: Sequence[str], place: str) -> int:
    """Check that the model knows the names of a folder and return how many types the folder may have.

    Raises
    ------
    DataError
        If ``type_map.raw`` names a type that the model lacks.
    """
    file = folder / "type_map.raw"
    if not file.is_file():
        return len(type_map)
    names = file.read_text(encoding="utf-8").split()
    lacking = [name for name in names if name not in type_map]
    if lacking:
        raise DataError(
            f"`{place}/type_map` is {list(type_map)} but must hold {', '.join(map(repr, lacking))} too, which {file} "
            "names, also if no atom is of that type"
        )
    return len(names)
