"""A graphics card that is not there: tensors that say they are on it and hold their numbers on the CPU.

Whatever runs on them computes as on the CPU, but an operation that meets a tensor of the CPU fails, as it does on a
card. Factories with a device of the card make such tensors too.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import vesin_torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from benchmarks.without_card import python_engine

CARD = torch.device("cuda", 0)
aten = torch.ops.aten
COPIES = (aten.copy_.default, aten._to_copy.default)
"""Operations that go from one device to the other."""


class OnCard(Tensor):
    """A tensor of the card; ``value`` has its numbers."""

    value: Tensor

    @staticmethod
    def __new__(cls, value: Tensor) -> "OnCard":
        shell = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        # the shell is on no device that has streams, which the history of a tensor asks for
        made = Tensor._make_subclass(cls, shell, False, dispatch_device=True, device_for_backend_keys=CARD)
        made.value = value
        return made

    def tolist(self) -> Any:
        return self.value.tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnCard({self.value!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return CARD
        raise AssertionError(f"{func} runs outside of `card()`")


class WrongDevice(RuntimeError):
    """An operation met tensors of both devices."""


class _Card(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        # with a mode of this kind torch does not look for a driver when a device is named
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return CARD
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        given = {id(tensor.value): tensor for tensor in tensors if isinstance(tensor, OnCard)}
        device = kwargs.get("device")
        if given and func not in COPIES:
            strays = [tuple(t.shape) for t in tensors if not isinstance(t, OnCard) and t.dim() > 0]
            if strays:
                raise WrongDevice(f"{func} on the card is given tensors of the CPU of shapes {strays}")
        if device is not None and torch.device(device).type == "cuda":
            kwargs["device"] = torch.device("cpu")
        result = func(*tree_map(_value, args), **tree_map(_value, kwargs))
        on_card = bool(given) if device is None else torch.device(device).type == "cuda"
        if func is aten.copy_.default:
            on_card = isinstance(args[0], OnCard)
        if not on_card:
            return result
        # an operation in place returns what it was given
        return tree_map(lambda leaf: given[id(leaf)] if id(leaf) in given else _on_card(leaf), result)


def _value(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, OnCard) else leaf


def _on_card(value: Any) -> Any:
    return OnCard(value) if isinstance(value, Tensor) else value


class _Cells(vesin_torch.NeighborList):
    """Cell lists of tensors of the card."""

    def compute(self, points: Any, box: Any, *arguments: Any) -> Any:
        assert isinstance(points, OnCard) and isinstance(box, OnCard), "the search is given tensors of the CPU"
        return [OnCard(found) for found in super().compute(points.value, box.value, *arguments)]


@contextmanager
def card() -> Iterator[torch.device]:
    """Run with a card; the device is ``CARD``."""
    with ExitStack() as stack:
        for target, name, value in (
            (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
            (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
            # `Module.to` makes new parameters, because old ones cannot change their class
            (torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        stack.enter_context(mock.patch("vesin_torch.NeighborList", _Cells))
        # streams of a device without a driver are nothing, as for tensors without data
        torch._C._ensureCUDADeviceGuardSet()
        # `torch.tensor` with a device makes a tensor of the CPU first
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        stack.enter_context(python_engine())
        stack.enter_context(_Card())
        yield CARD


def to_card(value: Any) -> Any:
    """Move the tensors of a nested structure to the card."""
    return tree_map(lambda leaf: leaf.to(CARD) if isinstance(leaf, Tensor) else leaf, value)


def from_card(value: Any) -> Any:
    """Take the numbers of all tensors, which have to be on the card."""

    def take(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        assert leaf.device == CARD, f"a result of shape {tuple(leaf.shape)} is on {leaf.device}"
        return leaf.detach().value  # type: ignore[attr-defined]

    return tree_map(take, value)
