"""TorchScript files, ``.pth``: attributes and shapes, read without loading the program in them.

The pickle in the archive names classes. Every name is answered with the same inert record, so that nothing is imported
and nothing called: what comes back are the attributes of the modules, as they were written.
"""

import io
import pickle
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepmd_dpa4.checkpoint.archive import Archive, FileError

LARGEST_PICKLE = 256 * 2**20

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of the archive: where its numbers are, and what they are."""

    entry: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    trainable: bool

    @property
    def count(self) -> int:
        """Number of entries."""
        return int(torch.Size(self.shape).numel())


@dataclass(frozen=True)
class Script:
    """Contents of a TorchScript file.

    Parameters
    ----------
    texts : dict
        Attributes that are texts, by dotted name.
    tensors : dict
        Parameters, buffers and constants, by dotted name.
    """

    texts: dict[str, str]
    tensors: dict[str, StoredTensor]


def read_script(archive: Archive) -> Script:
    """Read the attributes of the module in a TorchScript file.

    Raises
    ------
    FileError
        If it is damaged.
    """
    data = archive.read("data.pkl")
    if len(data) > LARGEST_PICKLE:
        raise FileError(f"{archive.path} has a data.pkl of {len(data)} bytes, more than a model needs")
    try:
        _check_memo(data)
        found = list(_attributes(_Inert(io.BytesIO(data)).load(), "", set()))
    except Exception as error:  # whatever a crafted or broken pickle leads to
        raise FileError(f"{archive.path} is damaged: data.pkl: {error or type(error).__name__}") from error
    return Script(
        {name: value for name, value in found if isinstance(value, str)},
        {name: value for name, value in found if isinstance(value, StoredTensor)},
    )


def read_tensor(archive: Archive, tensor: StoredTensor) -> Tensor:
    """Read the numbers of a contiguous tensor.

    Raises
    ------
    FileError
        If the archive does not hold them.
    """
    data = archive.read(f"data/{tensor.entry}")
    size = tensor.dtype.itemsize
    if len(data) < (tensor.offset + tensor.count) * size:
        raise FileError(f"{archive.path} is damaged: data/{tensor.entry} is too short")
    if tensor.count == 0:
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    flat = torch.frombuffer(bytearray(data), dtype=tensor.dtype, count=tensor.count, offset=tensor.offset * size)
    return flat.view(tensor.shape)


class _Record:
    """Stands for an object of any class."""

    origin = ""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Inert(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Record]:
        return type(name.rpartition(".")[2], (_Record,), {"origin": module})

    def persistent_load(self, where: Any) -> Any:
        return where


def _check_memo(data: bytes) -> None:
    """The memo of the unpickler is an array, and a file may name any place in it."""
    for operation, argument, _ in pickletools.genops(data):
        if operation.name == "LONG_BINPUT" and (argument or 0) > len(data):
            raise ValueError(f"memo entry {argument}")


def _attributes(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, str | StoredTensor]]:
    """Texts and tensors below a module, by dotted name; a module that occurs twice, by the first of its names."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, _Record):
        if type(value).__name__ == "_rebuild_tensor_v2":
            yield name, _stored(*value.arguments)
        elif isinstance(value.state, dict) and id(value) not in seen:
            seen.add(id(value))
            for key, part in value.state.items():
                yield from _attributes(part, f"{name}.{key}" if name else str(key), seen)


def _stored(storage: tuple[Any, ...], offset: int, shape: tuple[int, ...], *more: Any) -> StoredTensor:
    _, kind, entry, *_ = storage
    return StoredTensor(str(entry), _DTYPES[kind.__name__], int(offset), tuple(map(int, shape)), bool(more[1]))
