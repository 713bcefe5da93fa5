"""Data systems in HDF5 files (``data.h5#/path``), looked through before DeePMD-kit reads them."""

from pathlib import Path

import h5py

from deepmd_dpa4.host.npy_files import (
    CHUNK,
    FINITE,
    DataError,
    first_not_finite,
    refuse_bad_frame,
    refuse_impossible_state,
)


def is_hdf5(system: str) -> bool:
    """Tell whether a system lies in a file of HDF5, as DeePMD-kit names it."""
    return "#" in system and Path(system.split("#")[0]).is_file()


def check_system(system: str, budget: int, charged: bool = False) -> tuple[int, int]:
    """Check that the arrays of a system hold finite numbers.

    Parameters
    ----------
    system : str
        File and group, with ``#`` between them.
    budget : int
        Bytes that may be read; of larger arrays only the type is checked.
    charged : bool
        Whether the model reads charges and spins.

    Returns
    -------
    read, skipped : int
        Bytes that were read, and how many arrays were not.

    Raises
    ------
    DataError
        If an array holds something else than numbers, NaN or infinity, or a charge and spin that are none; names the
        file and the dataset.
    """
    path, group = system.split("#")[:2]
    read = skipped = 0
    with h5py.File(path) as file:
        for part in sorted(name for name in file[group] if name.startswith("set.")):
            for name in FINITE:
                array = file[group][part].get(f"{name}.npy")
                if array is None:
                    continue
                if array.dtype.kind not in "biuf":
                    raise DataError(f"{path}#{array.name} holds values of type {array.dtype} but must hold numbers")
                if array.nbytes > budget - read:
                    skipped += 1
                    continue
                read += array.nbytes
                refuse_bad_frame(f"{path}#{array.name}", first_bad_frame(array))
                if charged and name == "charge_spin":
                    refuse_impossible_state(f"{path}#{array.name}", array[()])
    return read, skipped


def first_bad_frame(array: h5py.Dataset) -> int | None:
    """Find the first frame with a number that is not finite, a piece of the file at a time."""
    if array.dtype.kind != "f" or array.size == 0:
        return None
    frames = max(1, CHUNK * array.shape[0] // array.size)
    for start in range(0, array.shape[0], frames):
        part = array[start : start + frames]
        position = first_not_finite(part.reshape(-1))
        if position is not None:
            return start + position // (part.size // len(part))
    return None
