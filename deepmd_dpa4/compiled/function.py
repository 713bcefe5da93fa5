"""A compiled program as a function that autograd can differentiate twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from deepmd_dpa4.compiled.differentiate import Gradients, Sizes, Which, pull
from deepmd_dpa4.compiled.executable import Executable, Keeping, Pattern
from deepmd_dpa4.compiled.trace import HINTS, Spec, shape_of


@dataclass(frozen=True)
class Call:
    """One evaluation of a program; with ``keeping``, its derivatives read what it computed."""

    executable: Executable
    sizes: Sizes
    pattern: Pattern
    keeping: Keeping | None = None

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Outputs of the program."""
        given = [tensor.contiguous() for tensor in inputs]
        if self.keeping is None:
            return _Value.apply(self, *given)
        return _KeepingValue.apply(self, self.keeping, *given)[: len(self.executable.program.outputs)]


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
        executable, wanted = call.executable, _wanted(ctx, call.pattern)
        seeds = tuple(seed.contiguous() for seed in seeds)
        if not torch.is_grad_enabled():
            code = executable.pullbacks[wanted]
            gradients = code.run(*call.sizes, *seeds, *inputs)
        elif (wanted, call.pattern.all) in executable.seconds:
            gradients = _Pullback.apply(call, wanted, *seeds, *inputs)
        else:
            # not asked for by forces and losses: derivatives of gradients by weights
            _, gradients = pull(executable.program, call.sizes, inputs, seeds, wanted, create_graph=True)
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
        moved = [tensors[len(program.outputs) + index] for index in wanted]
        found = code.run(*call.sizes, *tensors, *_filled(directions, moved))
        n_outputs = len(program.outputs)
        return None, None, *found[:n_outputs], *_spread(found[n_outputs:], targets, len(program.inputs))


class _KeepingValue(torch.autograd.Function):
    """Outputs, and what the pullback reads; keeps both, and what the last pass reads besides."""

    @staticmethod
    def forward(ctx: Any, call: Call, keeping: Keeping, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs, kept = _divided(keeping.value.run(*call.sizes, *inputs), len(call.executable.program.outputs))
        kept = [tensor.contiguous() for tensor in kept]
        ctx.call, ctx.keeping = call, keeping
        ctx.save_for_backward(*inputs, *kept)
        ctx.set_materialize_grads(False)
        return *outputs, *kept[: keeping.n_read]

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> Gradients:
        call: Call = ctx.call
        keeping: Keeping = ctx.keeping
        program, wanted = call.executable.program, _wanted(ctx, call.pattern)
        inputs, kept = _divided(ctx.saved_tensors, len(program.inputs))
        read = kept[: keeping.n_read]
        outputs = len(program.outputs)
        of_outputs = [
            _zeros(spec, call.sizes) if seed is None else seed.contiguous()
            for seed, spec in zip(given[:outputs], program.outputs, strict=True)
        ]
        only_outputs = all(seed is None for seed in given[outputs:])
        if keeping.pullback is not None and only_outputs and wanted == call.pattern.moving:
            if torch.is_grad_enabled() and keeping.second is not None:
                gradients = _KeepingPullback.apply(call, keeping, *of_outputs, *inputs, *read)
            else:
                gradients = keeping.pullback.run(*call.sizes, *of_outputs, *inputs, *read)[: len(wanted)]
            return None, None, *_spread(gradients, wanted, len(inputs))
        if torch.is_grad_enabled() or keeping.backward is None:
            # not asked for by forces and losses: derivatives of gradients by weights
            _, gradients = pull(program, call.sizes, inputs, of_outputs, wanted, create_graph=torch.is_grad_enabled())
            return None, None, *_spread(gradients, wanted, len(inputs))
        seeds = [*of_outputs, *_filled(given[outputs:], read)]
        gradients = keeping.backward.run(*call.sizes, *seeds, *inputs, *(kept[index] for index in keeping.of_value))
        return None, None, *_spread(gradients, call.pattern.all, len(inputs))


class _KeepingPullback(torch.autograd.Function):
    """Gradients by moving inputs; keeps what the second derivative reads."""

    @staticmethod
    def forward(ctx: Any, call: Call, keeping: Keeping, *tensors: Tensor) -> Gradients:
        assert keeping.pullback is not None
        gradients, more = _divided(keeping.pullback.run(*call.sizes, *tensors), len(call.pattern.moving))
        ctx.call, ctx.keeping = call, keeping
        ctx.save_for_backward(*tensors, *(tensor.contiguous() for tensor in more))
        return tuple(gradients)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor) -> Gradients:
        call, keeping, tensors = ctx.call, ctx.keeping, ctx.saved_tensors
        outputs, inputs = len(call.executable.program.outputs), len(call.executable.program.inputs)
        moved = [tensors[outputs + index] for index in call.pattern.moving]
        found = keeping.second.run(*call.sizes, *tensors, *_filled(directions, moved))
        last = outputs + len(call.pattern.all)
        spread = _spread(found[outputs:last], call.pattern.all, inputs)
        return None, None, *found[:outputs], *spread, *found[last:]


def _wanted(ctx: Any, pattern: Pattern) -> Which:
    """Inputs by which gradients are used in the backward pass that runs."""
    return pattern.all if _reaches(ctx.next_functions, pattern.fixed) else pattern.moving


def _filled(gradients: Sequence[Tensor | None], values: Sequence[Tensor]) -> list[Tensor]:
    """Gradients by values, contiguous; zeros where there is none."""
    pairs = zip(gradients, values, strict=True)
    return [value.new_zeros(value.shape) if one is None else one.contiguous() for one, value in pairs]


def _zeros(spec: Spec, sizes: Sizes) -> Tensor:
    numbers = dict(zip(HINTS, sizes, strict=True))
    return torch.zeros(shape_of(spec, numbers), dtype=spec.dtype, device=spec.device)


def _divided(tensors: Sequence[Any], count: int) -> tuple[Sequence[Any], Sequence[Any]]:
    return tensors[:count], tensors[count:]


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
