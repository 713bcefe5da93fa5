"""A compiled program as a function that autograd can differentiate twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from deepmd_dpa4.compiled.differentiate import Gradients, Sizes, Which, pull
from deepmd_dpa4.compiled.executable import Executable, Pattern


@dataclass(frozen=True)
class Call:
    """One evaluation of a program."""

    executable: Executable
    sizes: Sizes
    pattern: Pattern

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Outputs of the program."""
        return _Value.apply(self, *(tensor.contiguous() for tensor in inputs))


class _Value(torch.autograd.Function):
    """Outputs; keeps nothing but the inputs."""

    @staticmethod
    def forward(ctx: Any, call: Call, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.call = call
        ctx.save_for_backward(*inputs)
        return tuple(call.executable.value.run(*call.sizes, *inputs))

    @staticmethod
    def backward(ctx: Any, *seeds: Tensor) -> Gradients:
        call, inputs = ctx.call, ctx.saved_tensors
        executable, pattern = call.executable, call.pattern
        wanted = pattern.all if _reaches(ctx.next_functions, pattern.fixed) else pattern.moving
        seeds = tuple(seed.contiguous() for seed in seeds)
        if not torch.is_grad_enabled():
            code = executable.pullbacks[wanted]
            gradients = code.run(*call.sizes, *seeds, *inputs)
        elif (wanted, pattern.all) in executable.seconds:
            gradients = _Pullback.apply(call, wanted, *seeds, *inputs)
        else:
            # not asked for by forces and losses: derivatives of gradients by weights
            gradients = pull(executable.program, call.sizes, inputs, seeds, wanted, create_graph=True)
        return None, *_spread(gradients, wanted, len(inputs))


class _Pullback(torch.autograd.Function):
    """Gradients by some inputs, from the gradients by the outputs."""

    @staticmethod
    def forward(ctx: Any, call: Call, wanted: Which, *tensors: Tensor) -> Gradients:
        ctx.call, ctx.wanted = call, wanted
        ctx.save_for_backward(*tensors)
        return tuple(call.executable.pullbacks[wanted].run(*call.sizes, *tensors))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor) -> Gradients:
        call, wanted, tensors = ctx.call, ctx.wanted, ctx.saved_tensors
        executable, targets = call.executable, call.pattern.all
        program = executable.program
        code = executable.seconds[wanted, targets]
        given = [
            inputs.new_zeros(inputs.shape) if direction is None else direction.contiguous()
            for direction, inputs in zip(directions, (tensors[len(program.outputs) + w] for w in wanted), strict=True)
        ]
        found = code.run(*call.sizes, *tensors, *given)
        n_outputs = len(program.outputs)
        return None, None, *found[:n_outputs], *_spread(found[n_outputs:], targets, len(program.inputs))


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
