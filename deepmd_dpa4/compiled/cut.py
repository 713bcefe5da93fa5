r"""Value, pullback and second derivative of a program as graphs that hand on what they have computed.

A derivative that is traced with what comes before it is cut where the value :math:`y` and the pullback :math:`g` end.
Every later graph takes results of earlier ones as inputs: those of products, sums and the like. Elementwise operations,
views and gathered rows are made again, which costs no more than reading them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from deepmd_dpa4.compiled.differentiate import Which, trace_pullback, trace_second
from deepmd_dpa4.compiled.trace import EDGES, HINTS, NODES, Program

aten = torch.ops.aten
GATHERED = {
    aten.index.Tensor, aten.index_select.default, aten.gather.default, aten.embedding.default, aten.cat.default,
    aten.full.default, aten.zeros.default, aten.ones.default, aten.new_zeros.default, aten.new_ones.default,
    aten.new_full.default, aten.zeros_like.default, aten.ones_like.default, aten.full_like.default,
    aten.arange.default, aten.arange.start, aten.scalar_tensor.default, aten.clone.default, aten._to_copy.default,
    aten.constant_pad_nd.default,
}  # fmt: skip
"""Operators that only read and write: rows of tables, constants, copies."""
SAME = {aten.detach.default, aten.alias.default}
"""Operators whose result is their argument."""


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
class Piece:
    """A graph that takes results of earlier ones.

    Attributes
    ----------
    graph : fx.GraphModule
        Of sizes, seeds, inputs, kept results and directions, in this order, as far as it has them.
    of_value, of_pullback : tuple[int, ...]
        Which results of the value and of the pullback it takes.
    """

    graph: fx.GraphModule
    of_value: Which = ()
    of_pullback: Which = ()


@dataclass(frozen=True)
class Cut:
    """Graphs that hand on results; the value and the pullback by moving inputs return them after their own.

    Attributes
    ----------
    value : fx.GraphModule
        Of sizes and inputs.
    pullbacks : dict[tuple[int, ...], Piece]
        By the inputs that are differentiated by.
    second : Piece, optional
        Derivative of the first pullback.
    kept : Bytes
        Size of what value and first pullback hand on.
    """

    value: fx.GraphModule
    pullbacks: dict[Which, Piece]
    second: Piece | None
    kept: Bytes


@dataclass
class _Names:
    """Numbers of results: equal for nodes of different graphs that compute the same from the same arguments."""

    known: dict[Any, int] = field(default_factory=dict)

    def number(self, key: Any) -> int:
        return self.known.setdefault(key, len(self.known))


class _Traced:
    """A traced graph, with a number for each node."""

    def __init__(self, module: fx.GraphModule, groups: Sequence[tuple[str, int]], names: _Names) -> None:
        self.module = module
        self.number: dict[fx.Node, int] = {}
        self.given: dict[str, list[fx.Node]] = {}
        placeholders = iter(module.graph.find_nodes(op="placeholder"))
        for group, count in groups:
            self.given[group] = [next(placeholders) for _ in range(count)]
            self.number |= {node: names.number((group, index)) for index, node in enumerate(self.given[group])}
        for node in module.graph.nodes:
            if node.op == "call_function":
                self.number[node] = self._number(node, names)
            elif node.op == "get_attr":
                self.number[node] = names.number((id(module), node.target))
        self.results: list[fx.Node | None] = list(module.graph.output_node().args[0])  # type: ignore[arg-type]

    def _number(self, node: fx.Node, names: _Names) -> int:
        if node.target in SAME:
            return self.number[node.args[0]]  # type: ignore[index]
        return names.number((node.target, self._key(node.args), self._key(dict(node.kwargs))))

    def _key(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return "result", self.number[value]
        if isinstance(value, dict):
            return tuple((name, self._key(part)) for name, part in value.items())
        if isinstance(value, list | tuple):
            return tuple(map(self._key, value))
        # 1, 1.0 and True are equal but not the same argument
        return type(value), value

    def before(self, results: Iterable[fx.Node | None], stop: set[int] | None = None) -> set[int]:
        """Numbers of the operations that results are made by, up to those in ``stop``."""
        found, todo = set[int](), [node for node in results if node is not None]
        while todo:
            node = todo.pop()
            number = self.number[node]
            if node.op != "call_function" or number in found or number in (stop or ()):
                continue
            if node.target not in SAME:
                found.add(number)
            todo.extend(node.all_input_nodes)
        return found

    def read(self, results: Iterable[fx.Node | None], part: set[int], later: set[int]) -> dict[int, fx.Node]:
        """Find what results read of the operations in ``part`` that is worth keeping.

        Operations in ``later`` come between; those in neither are made from inputs alone.
        """
        found, seen, todo = dict[int, fx.Node](), set[fx.Node](), [node for node in results if node is not None]
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            number = self.number[node]
            if number in part and number not in later and not _cheap(node):
                found[number] = node
            else:
                todo.extend(node.all_input_nodes)
        return found


def cut(program: Program, moving: Which, fixed: Which, training: bool) -> Cut:
    """Trace a program with its derivatives and cut it.

    Parameters
    ----------
    program : Program
        y.
    moving, fixed : tuple[int, ...]
        Inputs that need a gradient, see :class:`deepmd_dpa4.compiled.executable.Pattern`.
    training : bool
        Whether derivatives of the pullback, and gradients by ``fixed``, are needed.
    """
    names, everything = _Names(), tuple(sorted(moving + fixed))
    outputs, inputs = len(program.outputs), len(program.inputs)
    groups = [("size", len(HINTS)), ("seed", outputs), ("input", inputs)]
    firsts = [which for which, used in ((moving, not training), (everything, training and fixed)) if used and which]
    traced = {which: _Traced(trace_pullback(program, which, True), groups, names) for which in firsts}
    kept, kept_pullback, readers = dict[int, tuple[_Traced, fx.Node]](), dict[int, fx.Node](), []
    second = None
    if training and moving:
        graph = trace_second(program, moving, everything, True)
        second = _Traced(graph, [*groups, ("direction", len(moving))], names)
        readers.append(second)
    readers.extend(traced.values())
    for reader in readers:
        part = reader.before(reader.results[:outputs])
        for number, node in reader.read(reader.results[outputs:], part, set()).items():
            kept.setdefault(number, (reader, node))
    pieces: dict[Which, Piece] = {}
    of_value = list(kept)
    if second is not None:
        value = second.before(second.results[:outputs])
        middle = outputs + len(moving)
        part = second.before(second.results[outputs:middle], value)
        kept_pullback = second.read(second.results[middle:], part, value)
        results = [*second.results[outputs:middle], *kept_pullback.values()]
        pieces[moving] = _piece(second, results, of_value, [], ())
        last = _piece(second, second.results[middle:], of_value, list(kept_pullback), ("direction",))
    for which, reader in traced.items():
        if which not in pieces:
            pieces[which] = _piece(reader, reader.results[outputs:], of_value, [], ())
    first = readers[0]
    wanted = [(first, node) for node in first.results[:outputs]] + list(kept.values())
    total = _total([node for _, node in kept.values()] + list(kept_pullback.values()))
    return Cut(_extract(first, ("size", "input"), {}, wanted), pieces, None if second is None else last, total)


def _piece(
    reader: _Traced,
    results: Sequence[fx.Node | None],
    of_value: list[int],
    of_pullback: list[int],
    more: tuple[str, ...],
) -> Piece:
    """Cut the graph of results that takes what is kept."""
    available = {reader.number[node]: node for node in reader.module.graph.nodes if node in reader.number}
    stop = set(of_value) | set(of_pullback)
    read = _reached(reader, results, stop)
    value = tuple(index for index, number in enumerate(of_value) if number in read)
    pullback = tuple(index for index, number in enumerate(of_pullback) if number in read)
    given = {number: available[number] for number in [of_value[i] for i in value] + [of_pullback[i] for i in pullback]}
    graph = _extract(reader, ("size", "seed", "input"), given, [(reader, node) for node in results], more)
    return Piece(graph, value, pullback)


def _reached(reader: _Traced, results: Iterable[fx.Node | None], stop: set[int]) -> set[int]:
    """Numbers in ``stop`` at which a walk from results to inputs ends."""
    found, seen, todo = set[int](), set[fx.Node](), [node for node in results if node is not None]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if reader.number[node] in stop:
            found.add(reader.number[node])
        else:
            todo.extend(node.all_input_nodes)
    return found


def _extract(
    reader: _Traced,
    groups: tuple[str, ...],
    kept: dict[int, fx.Node],
    results: Sequence[tuple[_Traced, fx.Node | None]],
    more: tuple[str, ...] = (),
) -> fx.GraphModule:
    """Copy what results need into a graph of its own, whose arguments are ``groups``, ``kept`` and ``more``."""
    graph = fx.Graph()
    copies: dict[int, fx.Node] = {}
    for group in groups:
        for index, node in enumerate(reader.given[group]):
            copies[reader.number[node]] = _argument(graph, f"{group}_{index}", node.meta["val"])
    for number, node in kept.items():
        # a placeholder of the value or of the pullback may be kept under several names
        copies[number] = _argument(graph, f"kept_{number}", node.meta["val"].contiguous())
    for group in more:
        for index, node in enumerate(reader.given[group]):
            copies[reader.number[node]] = _argument(graph, f"{group}_{index}", node.meta["val"])
    for source in dict.fromkeys(source for source, _ in results):
        needed = source.before((node for owner, node in results if owner is source), set(copies))
        for node in source.module.graph.nodes:
            number = source.number.get(node, -1)
            if number in copies or node.op in ("placeholder", "output"):
                continue
            if node.op == "get_attr" or (number in needed and node.target not in SAME):
                copies[number] = graph.node_copy(node, lambda argument, s=source: copies[s.number[argument]])  # type: ignore[misc, index]
    graph.output(tuple(None if node is None else copies[source.number[node]] for source, node in results))
    graph.eliminate_dead_code()
    return fx.GraphModule(reader.module, graph)


def _argument(graph: fx.Graph, name: str, value: Any) -> fx.Node:
    node = graph.placeholder(name)
    node.meta["val"] = value
    return node


def _cheap(node: fx.Node) -> bool:
    """Tell whether a result is made again rather than kept."""
    if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
        return True
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return False
    views = any(returned.alias_info is not None for returned in target._schema.returns)
    return views or target in GATHERED or torch.Tag.pointwise in target.tags


def _total(nodes: Iterable[fx.Node]) -> Bytes:
    """Size of results; each has the size of nodes or edges in one axis at most."""
    sums = {NODES: 0, EDGES: 0, None: 0}
    for node in nodes:
        value = node.meta["val"]
        size, axis = value.element_size(), None
        for length in value.shape:
            if isinstance(length, int):
                size *= length
            else:
                hint = length.node.hint
                axis = next(name for name, traced in HINTS.items() if hint % traced == 0)
                size *= hint // HINTS[axis]
        sums[axis] += size
    return Bytes(sums[NODES], sums[EDGES], sums[None])
