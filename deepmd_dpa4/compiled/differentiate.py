"""Derivatives of a program as flat graphs without history; each recomputes what it needs of the ones before."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, fx

from deepmd_dpa4.compiled.trace import Program, trace

Which = tuple[int, ...]
Gradients = tuple[Tensor | None, ...]
Sizes = tuple[int, int]


def trace_pullback(
    program: Program, wanted: Which, whole: bool = False, differentiable: bool = False
) -> fx.GraphModule:
    r"""Trace the pullback :math:`(\bar y, x) \mapsto \bar y^T\,\partial y/\partial x_w` of :math:`y(x)`.

    Parameters
    ----------
    program : Program
        y.
    wanted : tuple[int, ...]
        Inputs w by which y is differentiated.
    whole : bool
        Return y before the gradients.
    differentiable : bool
        Use formulas that have derivatives themselves.
    """
    n_outputs = len(program.outputs)

    def pullback(nodes: int, edges: int, *arguments: Tensor) -> Gradients:
        seeds, inputs = arguments[:n_outputs], _leaves(arguments[n_outputs:], wanted)
        outputs, pulled = pull(program, (nodes, edges), inputs, seeds, wanted, create_graph=differentiable)
        return (*outputs, *pulled) if whole else pulled

    return trace(pullback, [*program.outputs, *program.inputs])


def trace_second(program: Program, wanted: Which, targets: Which) -> fx.GraphModule:
    r"""Trace the derivative of the pullback :math:`g_w(\bar y, x)`.

    It maps :math:`(\bar y, x, \bar g)` to the gradients of :math:`\sum_w \langle\bar g_w, g_w\rangle` by all
    :math:`\bar y` and by the inputs ``targets``.

    Parameters
    ----------
    program : Program
        y.
    wanted, targets : tuple[int, ...]
        Inputs by which y is differentiated first, and then.
    """
    n_outputs, n_inputs = len(program.outputs), len(program.inputs)
    directions = [program.inputs[index] for index in wanted]

    def second(nodes: int, edges: int, *arguments: Tensor) -> Gradients:
        seeds = _leaves(arguments[:n_outputs], range(n_outputs))
        inputs = _leaves(arguments[n_outputs : n_outputs + n_inputs], (*wanted, *targets))
        _, pulled = pull(program, (nodes, edges), inputs, seeds, wanted, create_graph=True)
        given = zip(pulled, arguments[n_outputs + n_inputs :], strict=True)
        by = [*seeds, *(inputs[index] for index in targets)]
        return _gradients(given, by, create_graph=False)

    return trace(second, [*program.outputs, *program.inputs, *directions])


def pull(
    program: Program, sizes: Sizes, inputs: Sequence[Tensor], seeds: Sequence[Tensor], wanted: Which, create_graph: bool
) -> tuple[tuple[Tensor, ...], Gradients]:
    """Compute the outputs, and the pullback by autograd at inputs of which those ``wanted`` need a gradient."""
    with torch.enable_grad():
        outputs = tuple(program.graph(*sizes, *inputs))
        by = [inputs[index] for index in wanted]
        return outputs, _gradients(zip(outputs, seeds, strict=True), by, create_graph)


def _gradients(pairs: Iterable[tuple[Tensor | None, Tensor]], by: list[Tensor], create_graph: bool) -> Gradients:
    live = [(value, seed) for value, seed in pairs if value is not None and value.requires_grad]
    if not live:
        return (None,) * len(by)
    values, seeds = zip(*live, strict=True)
    return torch.autograd.grad(values, by, seeds, create_graph=create_graph, allow_unused=True)


def _leaves(tensors: Sequence[Tensor], which: Iterable[int]) -> list[Tensor]:
    chosen = set(which)
    return [tensor.detach().requires_grad_(True) if index in chosen else tensor for index, tensor in enumerate(tensors)]
