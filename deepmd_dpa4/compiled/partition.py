r"""Value and derivatives of a program as graphs of which each hands on what it has computed.

What the pullback reads of the value becomes further outputs k of it, what the second derivative reads of the pullback
further outputs m:

.. math::

   (y, k) = v(x), \qquad (g, m) = p(\bar y, x, k), \qquad (\bar{\bar y}, \bar x, \bar k) = s(\bar y, x, k, m, \bar g),
   \qquad \bar x = b(\bar y, \bar k, x, k).

So nothing that is expensive is computed twice: handed on are results of products, sums and the like, while elementwise
operations, views and gathered rows are made again, which costs no more than reading them, unless a matrix product or a
kernel written by hand reads their result: then it has to be stored in any case. Of what has no axis of nodes
or edges, such as weights in bfloat16, elementwise results are handed on too: to make them again costs a launch.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, fx

from deepmd_dpa4.compiled.differentiate import Which, trace_pullback
from deepmd_dpa4.compiled.results import Traced, Write, extract, names
from deepmd_dpa4.compiled.trace import EDGES, HINTS, NODES, Program, spec_of_fake


@dataclass(frozen=True)
class Bytes:
    """Size of tensors: of each node, of each edge, and besides."""

    nodes: int = 0
    edges: int = 0
    others: int = 0

    def of(self, nodes: int, edges: int) -> int:
        """Return the size for numbers of nodes and edges."""
        return self.nodes * nodes + self.edges * edges + self.others


@dataclass(frozen=True)
class Cut:
    """Graphs v, p, s and b; those that a pattern of gradients does not need are missing.

    Attributes
    ----------
    value : fx.GraphModule
        Of sizes and x: y, k, and what b reads besides.
    n_read : int
        Number of tensors in k.
    pullback : fx.GraphModule, optional
        Of sizes, gradients by y, x and k: gradients by the moving x, and m.
    second : fx.GraphModule, optional
        Of sizes, gradients by y, x, k, m and gradients by g: gradients by those of y, by all x and by k.
    backward : fx.GraphModule, optional
        Of sizes, gradients by y and k, x, and ``of_value``: gradients by all x.
    of_value : tuple[int, ...]
        Which results of the value, after y, the last graph takes.
    kept : Bytes
        Size of what is handed on.
    """

    value: fx.GraphModule
    n_read: int
    pullback: fx.GraphModule | None
    second: fx.GraphModule | None
    backward: fx.GraphModule | None
    of_value: Which
    kept: Bytes


def cut(program: Program, moving: Which, fixed: Which, training: bool) -> Cut:
    """Trace a program and its derivatives and cut them.

    Parameters
    ----------
    program : Program
        y.
    moving, fixed : tuple[int, ...]
        Inputs that need a gradient, at least one, see :class:`deepmd_dpa4.compiled.executable.Pattern`.
    training : bool
        Whether derivatives of the pullback, and gradients by ``fixed``, are needed.
    """
    number = names()
    outputs, inputs = len(program.outputs), len(program.inputs)
    everything = tuple(sorted(moving + fixed))
    value, read, pullback = program, list[fx.Node](), None
    if moving:
        graph = trace_pullback(program, moving, whole=True, differentiable=training)
        whole = Traced(graph, {"size": len(HINTS), "seed": outputs, "input": inputs}, number)
        made = whole.operations(whole.results[:outputs])
        read = list(whole.read(whole.results[outputs:], made).values())
        pullback = extract(whole, ("size", "seed", "input"), read, [Write(whole, whole.results[outputs:])])
        graph = extract(whole, ("size", "input"), [], [Write(whole, whole.results[:outputs]), Write(whole, read)])
        kept = tuple(spec_of_fake(node.meta["val"]) for node in read)
        value = Program(graph.code, program.inputs, program.outputs + kept, graph)
    if not training:
        return Cut(value.graph, len(read), pullback, None, None, (), _total(read))
    second, more = None, list[fx.Node]()
    if pullback is not None:
        pullback, second, more = _second(program, value, pullback, moving, everything)
    graph = trace_pullback(value, everything, whole=True)
    last = Traced(graph, {"size": len(HINTS), "seed": len(value.outputs), "input": inputs}, number)
    results = last.results[: len(value.outputs)]
    reread = last.read(last.results[len(value.outputs) :], last.operations(results))
    handed = {last.number[node]: index for index, node in enumerate(results[outputs:]) if node is not None}
    others = [node for name, node in reread.items() if name not in handed]
    handed |= {last.number[node]: len(read) + index for index, node in enumerate(others)}
    return Cut(
        extract(last, ("size", "input"), [], [Write(last, results), Write(last, others)]),
        len(read),
        pullback,
        second,
        extract(last, ("size", "seed", "input"), list(reread.values()), [Write(last, last.results[len(results) :])]),
        tuple(handed[name] for name in reread),
        _total(read + more + others),
    )


def _second(
    program: Program, value: Program, pullback: fx.GraphModule, moving: Which, everything: Which
) -> tuple[fx.GraphModule, fx.GraphModule, list[fx.Node]]:
    """Trace the derivative of the pullback, and cut it between the two; the third is m."""
    outputs, inputs, kept = len(program.outputs), program.inputs, value.outputs[len(program.outputs) :]
    pulled = tuple(inputs[index] for index in moving)
    function = Program(pullback.code, (*program.outputs, *inputs, *kept), pulled, pullback)
    # by the gradients of y, by x and by k
    first, last = outputs, outputs + len(inputs)
    wanted = (*range(outputs), *(first + index for index in everything), *range(last, last + len(kept)))
    traced = Traced(
        trace_pullback(function, wanted, whole=True),
        {"size": len(HINTS), "direction": len(moving), "seed": outputs, "input": len(inputs), "kept": len(kept)},
        names(),
    )
    results = traced.results[: len(moving)]
    read = list(traced.read(traced.results[len(moving) :], traced.operations(results)).values())
    given = ("size", "seed", "input", "kept")
    return (
        extract(traced, given, [], [Write(traced, results), Write(traced, read)]),
        extract(traced, given, read, [Write(traced, traced.results[len(moving) :])], ("direction",)),
        read,
    )


def _total(nodes: Iterable[fx.Node]) -> Bytes:
    """Size of results; each has the size of nodes or edges in one axis at most."""
    sums = {NODES: 0, EDGES: 0, "": 0}
    for node in nodes:
        value: Tensor = node.meta["val"]
        size, name = value.element_size(), ""
        for axis in spec_of_fake(value).shape:
            if isinstance(axis, int):
                size *= axis
            elif isinstance(axis, str):
                name = axis
            else:
                name, size = axis[0], size * axis[1]
        sums[name] += size
    return Bytes(sums[NODES], sums[EDGES], sums[""])
