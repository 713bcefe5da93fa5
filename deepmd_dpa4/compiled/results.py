"""Results of traced graphs: which are the same, which are worth keeping, and graphs of some of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

READING = ("index.Tensor", "index_select", "gather", "embedding", "cat", "clone", "_to_copy")
PADDING = ("constant_pad_nd", "slice_backward", "select_backward")
MAKING = ("full", "zeros", "ones", "arange", "arange.start", "scalar_tensor", "new_zeros", "new_ones", "new_full")
MAKING_LIKE = ("zeros_like", "ones_like", "full_like")
COPIES = frozenset(f"aten::{name}" for name in (*READING, *PADDING, *MAKING, *MAKING_LIKE))
"""Operators that only read and write: rows of tables, copies, copies among zeros, constants."""
BY_HAND = "dpa4_triton"
"""Namespace of operators whose kernels are written by hand."""
PRODUCTS = frozenset(f"aten::{name}" for name in ("mm", "bmm", "addmm", "baddbmm"))
"""Matrix products."""
SAME = frozenset({torch.ops.aten.detach.default, torch.ops.aten.alias.default})
"""Operators whose result is their argument."""

Number = Callable[[Any], int]


def names() -> Number:
    """Return a function that numbers descriptions of results; equal ones get the same number."""
    known: dict[Any, int] = {}
    return lambda description: known.setdefault(description, len(known))


class Traced:
    """A traced graph with a number for each node, the same for all that compute the same from the same arguments.

    Parameters
    ----------
    module : fx.GraphModule
        The graph; it returns a tuple.
    groups : mapping
        Names of consecutive arguments and how many there are.
    number : callable
        Of :func:`names`; graphs that share it are comparable where they share names of arguments.
    """

    def __init__(self, module: fx.GraphModule, groups: Mapping[str, int], number: Number) -> None:
        self.module = module
        self.number: dict[fx.Node, int] = {}
        self.arguments: dict[str, list[fx.Node]] = {}
        placeholders = iter(module.graph.find_nodes(op="placeholder"))
        for group, count in groups.items():
            self.arguments[group] = [next(placeholders) for _ in range(count)]
            self.number |= {node: number((group, index)) for index, node in enumerate(self.arguments[group])}
        for node in module.graph.nodes:
            if node.op == "get_attr":
                self.number[node] = number((id(module), node.target))
            elif node.op == "call_function":
                same = node.target in SAME
                self.number[node] = self.number[node.args[0]] if same else number(self._description(node))
        # by their numbers
        self.stored = {self.number[node] for node in _read_by_kernels(module.graph)}
        (results,) = module.graph.output_node().args
        self.results: list[fx.Node | None] = list(results)  # type: ignore[arg-type]

    def _description(self, node: fx.Node) -> Any:
        return node.target, self._hashable(node.args), self._hashable(node.kwargs)

    def _hashable(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return "result", self.number[value]
        if isinstance(value, Mapping):
            return tuple((name, self._hashable(part)) for name, part in value.items())
        if isinstance(value, list | tuple):
            return tuple(map(self._hashable, value))
        # 1, 1.0 and True are equal but not the same argument
        return type(value), value

    def operations(self, results: Iterable[fx.Node | None], stop: Iterable[int] = ()) -> set[int]:
        """Collect the numbers of the operations that make results, back to those in ``stop``."""
        found, ends, todo = set[int](), set(stop), [node for node in results if node is not None]
        while todo:
            node = todo.pop()
            number = self.number[node]
            if node.op != "call_function" or number in found or number in ends:
                continue
            if node.target not in SAME:
                found.add(number)
            todo.extend(node.all_input_nodes)
        return found

    def read(self, results: Iterable[fx.Node | None], made: set[int]) -> dict[int, fx.Node]:
        """Find what results read of the operations in ``made`` that is worth keeping, by number."""
        found, seen, todo = dict[int, fx.Node](), set[fx.Node](), [node for node in results if node is not None]
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            if self.number[node] in made and (self.number[node] in self.stored or not _made_again(node)):
                found.setdefault(self.number[node], node)
            else:
                todo.extend(node.all_input_nodes)
        return found


@dataclass(frozen=True)
class Write:
    """Results of a graph that another one returns."""

    source: Traced
    nodes: Sequence[fx.Node | None]


def extract(
    traced: Traced, groups: Sequence[str], kept: Sequence[fx.Node], results: Sequence[Write], more: Sequence[str] = ()
) -> fx.GraphModule:
    """Copy what results need into a graph of its own.

    Parameters
    ----------
    traced : Traced
        Where the arguments come from.
    groups, more : sequence of str
        Groups of arguments, before and after those that are kept.
    kept : sequence of fx.Node
        Results that are arguments of the graph, contiguous.
    results : sequence of Write
        What the graph returns.
    """
    graph = fx.Graph()
    copies: dict[int, fx.Node] = {}

    def take(group: str) -> None:
        for index, node in enumerate(traced.arguments[group]):
            copies[traced.number[node]] = _argument(graph, f"{group}_{index}", node.meta["val"])

    for group in groups:
        take(group)
    for index, node in enumerate(kept):
        copies[traced.number[node]] = _argument(graph, f"given_{index}", _contiguous(node.meta["val"]))
    for group in more:
        take(group)
    for write in results:
        _copy(write, graph, copies)
    graph.output(
        tuple(None if node is None else copies[write.source.number[node]] for write in results for node in write.nodes)
    )
    graph.eliminate_dead_code()
    return fx.GraphModule(traced.module, graph)


def _copy(write: Write, graph: fx.Graph, copies: dict[int, fx.Node]) -> None:
    number = write.source.number
    needed = write.source.operations(write.nodes, copies)
    for node in write.source.module.graph.nodes:
        constant = node.op == "get_attr"
        if not constant and (node.op != "call_function" or node.target in SAME or number[node] not in needed):
            continue
        if number[node] not in copies:
            copies[number[node]] = graph.node_copy(node, lambda argument: copies[number[argument]])


def _argument(graph: fx.Graph, name: str, value: Any) -> fx.Node:
    node = graph.placeholder(name)
    node.meta["val"] = value
    return node


def _contiguous(value: Any) -> Any:
    # a caller may itself run on tensors without data, of another mode
    with value.fake_mode:
        return value.contiguous()


def _read_by_kernels(graph: fx.Graph) -> Iterator[fx.Node]:
    """Find what products and operators in Triton read, which has to be stored whatever it is made of."""
    for node in graph.nodes:
        target = node.target
        if isinstance(target, torch._ops.OpOverload) and (target.namespace == BY_HAND or target.name() in PRODUCTS):
            for argument in node.all_input_nodes:
                while _is_view(argument):
                    argument = argument.all_input_nodes[0]
                if argument.op == "call_function" and argument.all_input_nodes:
                    yield argument


def _is_view(node: fx.Node) -> bool:
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return False
    return any(returned.alias_info is not None for returned in target._schema.returns)


def _made_again(node: fx.Node) -> bool:
    """Tell whether making a result again costs no more than reading it.

    Of what has no axis of nodes or edges, such as weights in another precision, launching a kernel is the cost.
    """
    value, target = node.meta.get("val"), node.target
    if node.op != "call_function" or not isinstance(value, Tensor):
        return True
    if not isinstance(target, torch._ops.OpOverload):
        return False
    if _is_view(node):
        return True
    constant = not node.all_input_nodes
    small = all(isinstance(size, int) for size in value.shape)
    cheap = target.name() in COPIES or torch.Tag.pointwise in target.tags
    return cheap and (constant or not small)
