"""One part of a potential, traced, compiled and run."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from deepmd_dpa4.compiled.executable import Pattern, executable
from deepmd_dpa4.compiled.function import Call
from deepmd_dpa4.compiled.lower import CompileError, Lowering
from deepmd_dpa4.compiled.trace import Program, Spec, program_of, spec_of

Optionals = tuple[Tensor | None, ...]


class UnsuitableSizes(Exception):
    """Compiled code does not serve systems of this size."""


@dataclass
class Budget:
    """Memory of one evaluation for what is kept between its passes, in bytes."""

    left: int

    def take(self, size: int) -> bool:
        """Take memory if there is enough; tell whether there was."""
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


class Part(Protocol):
    """A part of a potential as a function of tensors.

    It maps the potential, the numbers of nodes and edges and tensors, of which a potential may lack some (None), to a
    tuple of the same kind. The first ``n_moving`` tensors may depend on the edge vectors; ``axes`` are those of all, as
    in :func:`deepmd_dpa4.compiled.trace.spec_of`.
    """

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes of the tensors."""

    @property
    def n_moving(self) -> int:
        """Number of tensors that may depend on the edge vectors."""

    def __call__(self, potential: Any, nodes: int, edges: int, *arguments: Tensor | None) -> Optionals:
        """Run the part."""


@dataclass(frozen=True)
class Bound:
    """A part traced for one potential: its program, and where the inputs of the program come from."""

    program: Program
    arguments: tuple[int, ...]
    weights: tuple[str, ...]
    present: tuple[bool, ...]
    n_moving: int

    def inputs(self, potential: Any, arguments: Optionals) -> list[Tensor]:
        """Inputs of the program."""
        given: list[Any] = [arguments[index] for index in self.arguments]
        return given + [attrgetter(name)(potential) for name in self.weights]


class Segment:
    """Runs a part; traced again for other types, devices and modes of training, but not for other sizes."""

    def __init__(self, part: Part, lowering: Lowering) -> None:
        self.part, self.lowering = part, lowering
        self._bound: dict[Any, Bound] = {}

    def __call__(self, potential: Any, sizes: tuple[int, int], budget: Budget, *arguments: Tensor | None) -> Optionals:
        """Compute the results of the part, keeping what its derivatives read if the budget has room for it.

        Raises
        ------
        CompileError
            If it cannot be compiled.
        UnsuitableSizes
            If the code does not serve systems of this size.
        """
        bound = self._find(potential, arguments)
        inputs = bound.inputs(potential, arguments)
        grad = [index for index, tensor in enumerate(inputs) if tensor.requires_grad and torch.is_grad_enabled()]
        moving = tuple(index for index in grad if index < bound.n_moving)
        pattern = Pattern(moving, tuple(grad[len(moving) :]))
        code = executable(bound.program, self.lowering)
        training, keeping = potential.training, None
        if grad and budget.left > 0 and budget.take(code.kept(pattern, training).of(*sizes)):
            keeping = code.keeping(pattern, training)
        parts = code.prepare(pattern, training) if keeping is None else keeping.parts()
        if not all(part.serves(*sizes) for part in parts):
            raise UnsuitableSizes
        outputs = iter(Call(code, sizes, pattern, keeping)(inputs))
        return tuple(next(outputs) if present else None for present in bound.present)

    def _find(self, potential: Any, arguments: Optionals) -> Bound:
        specs = tuple(
            None if tensor is None else spec_of(tensor, letters)
            for tensor, letters in zip(arguments, self.part.axes, strict=True)
        )
        key = potential.training, specs
        if key not in self._bound:
            try:
                self._bound[key] = bind(self.part, potential, specs)
            except Exception as error:
                raise CompileError from error
        return self._bound[key]


class _Root(nn.Module):
    """Part of a potential as a module, so that its weights can be exchanged."""

    def __init__(self, part: Part, potential: nn.Module) -> None:
        super().__init__()
        self.part, self.potential = part, potential

    def forward(self, *arguments: Any) -> Optionals:
        return self.part(self.potential, *arguments)


def bind(part: Part, potential: Any, specs: tuple[Spec | None, ...]) -> Bound:
    """Trace a part with the weights of the potential as inputs, and keep those it uses."""
    weights = dict(potential.named_parameters()) | dict(potential.named_buffers())
    names = list(weights)
    given = [index for index, spec in enumerate(specs) if spec is not None]
    root = _Root(part, potential)
    present: tuple[bool, ...] = ()

    def function(nodes: int, edges: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        nonlocal present
        arguments: list[Tensor | None] = [None] * len(specs)
        for index, tensor in zip(given, tensors, strict=False):
            arguments[index] = tensor
        exchanged = {f"potential.{name}": tensor for name, tensor in zip(names, tensors[len(given) :], strict=True)}
        outputs = torch.func.functional_call(root, exchanged, (nodes, edges, *arguments))
        present = tuple(output is not None for output in outputs)
        return tuple(output for output in outputs if output is not None)

    of_weights = [spec_of(weight, "-" * weight.dim()) for weight in weights.values()]
    program, used = program_of(function, [spec for spec in specs if spec is not None] + of_weights)
    arguments = tuple(given[index] for index in used if index < len(given))
    used_weights = tuple(names[index - len(given)] for index in used if index >= len(given))
    n_moving = sum(index < part.n_moving for index in arguments)
    return Bound(program, arguments, used_weights, present, n_moving)
