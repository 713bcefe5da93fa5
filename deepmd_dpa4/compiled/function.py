"""A compiled program as a function that autograd can differentiate twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from deepmd_dpa4.compiled.differentiate import Gradients, Sizes, Which, pull
from deepmd_dpa4.compiled.executable import Executable, Keeping, Pattern


@dataclass(frozen=True)
class Call:
    """One evaluation of a program; with ``keeping``, its derivatives read what it computed."""

    executable: Executable
    sizes: Sizes
    pattern: Pattern
    keeping: Keeping | None = None

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Outputs of the program."""
        return _Value.apply(self, *(tensor.contiguous() for tensor in inputs))


class _Value(torch.autograd.Function):
    """Outputs; keeps the inputs, and what derivatives read if the call asks for it."""

    @staticmethod
    def forward(ctx: Any, call: Call, *inputs: Tensor) -> tuple[Tensor, ...]:
        code = call.executable.value if call.keeping is None else call.keeping.value
        outputs, kept = _divided(code.run(*call.sizes, *inputs), len(call.executable.program.outputs))
        ctx.call = call
        ctx.save_for_backward(*inputs, *kept)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *seeds: Tensor) -> Gradients:
        call: Call = ctx.call
        executable, pattern = call.executable, call.pattern
        inputs, kept = _divided(ctx.saved_tensors, len(executable.program.inputs))
        wanted = pattern.all if _reaches(ctx.next_functions, pattern.fixed) else pattern.moving
        seeds = tuple(seed.contiguous() for seed in seeds)
        if not torch.is_grad_enabled():
            gradients, _ = _pulled(call, wanted, seeds, inputs, kept)
        elif _has_second(call, wanted):
            gradients = _Pullback.apply(call, wanted, *seeds, *inputs, *kept)
        else:
            # not asked for by forces and losses: derivatives of gradients by weights
            _, gradients = pull(executable.program, call.sizes, inputs, seeds, wanted, create_graph=True)
        return None, *_spread(gradients, wanted, len(inputs))


class _Pullback(torch.autograd.Function):
    """Gradients by some inputs, from the gradients by the outputs."""

    @staticmethod
    def forward(ctx: Any, call: Call, wanted: Which, *tensors: Tensor) -> Gradients:
        outputs, inputs = len(call.executable.program.outputs), len(call.executable.program.inputs)
        seeds, others = _divided(tensors, outputs)
        given, kept = _divided(others, inputs)
        gradients, more = _pulled(call, wanted, seeds, given, kept)
        ctx.call, ctx.wanted = call, wanted
        ctx.save_for_backward(*tensors, *more)
        ctx.kept = len(kept)
        return tuple(gradients)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor) -> Gradients:
        call, wanted, targets = ctx.call, ctx.wanted, ctx.call.pattern.all
        program = call.executable.program
        n_outputs, n_inputs = len(program.outputs), len(program.inputs)
        tensors, others = _divided(ctx.saved_tensors, n_outputs + n_inputs)
        kept, more = _divided(others, ctx.kept)
        given = [
            inputs.new_zeros(inputs.shape) if direction is None else direction.contiguous()
            for direction, inputs in zip(directions, (tensors[n_outputs + w] for w in wanted), strict=True)
        ]
        if call.keeping is None:
            found = call.executable.seconds[wanted, targets].run(*call.sizes, *tensors, *given)
        else:
            second = call.keeping.second
            handed = [kept[index] for index in second.of_value] + [more[index] for index in second.of_pullback]
            found = second.code.run(*call.sizes, *tensors, *handed, *given)
        nothing = [None] * ctx.kept
        return None, None, *found[:n_outputs], *_spread(found[n_outputs:], targets, n_inputs), *nothing


def _pulled(
    call: Call, wanted: Which, seeds: Sequence[Tensor], inputs: Sequence[Tensor], kept: Sequence[Tensor]
) -> tuple[Sequence[Tensor | None], Sequence[Tensor]]:
    """Run the pullback; return gradients, and what the second derivative reads."""
    if call.keeping is None:
        return call.executable.pullbacks[wanted].run(*call.sizes, *seeds, *inputs), ()
    piece = call.keeping.pullbacks[wanted]
    found = piece.code.run(*call.sizes, *seeds, *inputs, *(kept[index] for index in piece.of_value))
    return _divided(found, len(wanted))


def _has_second(call: Call, wanted: Which) -> bool:
    if call.keeping is None:
        return (wanted, call.pattern.all) in call.executable.seconds
    return call.keeping.second is not None and wanted == call.pattern.moving


def _divided(tensors: Sequence[Any], count: int) -> tuple[Sequence[Any], Sequence[Any]]:
    """Divide into the first ones and the rest, which later code takes as contiguous."""
    return tensors[:count], [tensor.contiguous() for tensor in tensors[count:]]


def _spread(gradients: Sequence[Tensor | None], which: Which, count: int) -> list[Tensor | None]:
    spread: list[Tensor | None] = [None] * count
    for index, gradient in zip(which, gradients, strict=True):
        spread[index] = gradient
    return spread


def _reaches(next_functions: Sequence[tuple[Any, int]], which: Which) -> bool:
    """Whether the gradients by some of the inputs are used in the backward pass that runs."""
    return any(_is_used(next_functions[index][0]) for index in which)


def _is_used(node: Any) -> bool:
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:
        # raised for exactly those leaves by which `torch.autograd.grad` differentiates
        return True
