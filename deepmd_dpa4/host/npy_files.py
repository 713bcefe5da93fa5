"""Files of numpy, judged by their headers; nothing in them is run."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from deepmd_dpa4.charge_spin import ALLOWED, first_impossible
from deepmd_dpa4.errors import UserError

FINITE = ("energy", "force", "virial", "coord", "box", "fparam", "aparam", "charge_spin")
"""Arrays in which NaN or infinity ends a training, at the step that meets it and without the name of a file."""
CHUNK = 2**22
"""Numbers that are summed at a time."""


class DataError(UserError, ValueError):
    """A file of training data is not what DeePMD-kit takes it for; the message names it."""


@dataclass(frozen=True)
class Array:
    """What the header of a ``.npy`` file says.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Of the array.
    dtype : numpy.dtype
        Of its numbers.
    fortran : bool
        Whether the first index varies fastest.
    offset : int
        Bytes before the numbers.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return self.size * self.dtype.itemsize

    def check_numbers(self) -> None:
        """Check that it holds numbers.

        Raises
        ------
        DataError
            If it holds something else, such as texts.
        """
        if self.dtype.kind not in "biuf":
            raise DataError(f"{self.path} holds values of type {self.dtype} but must hold numbers: write it again")

    def values(self) -> np.ndarray:
        """Map the numbers into memory."""
        if self.size == 0:
            return np.empty(self.shape, self.dtype)
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        return np.memmap(self.path, self.dtype, mode="r", offset=self.offset, shape=self.shape, order=order)


def read_header(path: Path) -> Array:
    """Read the header of a file.

    Parameters
    ----------
    path : Path
        A ``.npy`` file.

    Raises
    ------
    DataError
        If it is not one, holds Python objects, or is shorter than its header says.
    """
    with path.open("rb") as file:
        try:
            major = np.lib.format.read_magic(file)[0]
            read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except (ValueError, EOFError) as error:
            raise DataError(f"{path} is not a file of numpy, or damaged: {error}") from error
        array = Array(path, shape, dtype, fortran, file.tell())
        length = os.fstat(file.fileno()).st_size
    if dtype.hasobject:
        raise DataError(
            f"{path} holds Python objects but must hold numbers: write it again from an array with `dtype=float`"
        )
    if length < array.offset + array.bytes:
        raise DataError(
            f"{path} is cut short: it has {length} bytes but its header announces {array.offset + array.bytes}"
        )
    return array


def first_bad_frame(array: Array, frames: int) -> int | None:
    """Find the first of ``frames`` frames with a number that is not finite."""
    if array.dtype.kind != "f" or array.size == 0:
        return None
    values = array.values()
    if array.fortran and values.ndim > 1:
        return _first(~np.isfinite(values).reshape(frames, -1).all(axis=1))
    flat = values.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        position = first_not_finite(flat[start : start + CHUNK])
        if position is not None:
            return (start + position) // (array.size // frames)
    return None


def first_not_finite(part: np.ndarray) -> int | None:
    """Find the position of the first number that is not finite in a flat array, None if there is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        # a number that is not finite makes the sum so; half the time of testing each
        if np.isfinite(part.sum()):
            return None
    return _first(~np.isfinite(part))


def refuse_bad_frame(name: object, frame: int | None) -> None:
    """Refuse an array with a frame that is not finite, if there is one; raises :class:`DataError`."""
    if frame is not None:
        raise DataError(
            f"{name} is not finite (NaN or infinity) in frame {frame}, counted from 0: fix it or remove the frame"
        )


def refuse_impossible_state(name: object, states: np.ndarray) -> None:
    """Refuse charges and spin multiplicities of frames, (frames, 2), that are none; raises :class:`DataError`."""
    states = states.reshape(-1, 2)
    frame = first_impossible(states)
    if frame is not None:
        raise DataError(
            f"{name} holds {states[frame].tolist()} in frame {frame}, counted from 0, but must hold {ALLOWED}"
        )


def _first(wrong: np.ndarray) -> int | None:
    return int(np.argmax(wrong)) if wrong.any() else None
