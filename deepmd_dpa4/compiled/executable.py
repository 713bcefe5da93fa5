"""A program and its derivatives, compiled."""

from dataclasses import dataclass
from functools import cache

from torch import fx

from deepmd_dpa4.compiled.differentiate import Which, trace_pullback, trace_second
from deepmd_dpa4.compiled.lower import Compiled, Lowering, compile_graph, telling_failure
from deepmd_dpa4.compiled.partition import Bytes, Cut, cut
from deepmd_dpa4.compiled.trace import Program


@dataclass(frozen=True)
class Pattern:
    """Inputs of a program that need a gradient.

    Attributes
    ----------
    moving : tuple[int, ...]
        Those that depend on the edge vectors: forces need the gradients by them alone.
    fixed : tuple[int, ...]
        The others: weights, and features of types.
    """

    moving: Which
    fixed: Which

    @property
    def all(self) -> Which:
        """Return both, in the order of the inputs."""
        return tuple(sorted(self.moving + self.fixed))


@dataclass(frozen=True)
class Keeping:
    """Code for the graphs of a :class:`deepmd_dpa4.compiled.partition.Cut`, whose attributes it has."""

    value: Compiled
    n_read: int
    pullback: Compiled | None
    second: Compiled | None
    backward: Compiled | None
    of_value: Which

    def parts(self) -> list[Compiled]:
        """List all code."""
        return [part for part in (self.value, self.pullback, self.second, self.backward) if part is not None]


class Executable:
    """Code for a program and for its derivatives, as far as they have been prepared."""

    def __init__(self, program: Program, lowering: Lowering) -> None:
        self.program, self.lowering = program, lowering
        self._value: Compiled | None = None
        self.pullbacks: dict[Which, Compiled] = {}
        self.seconds: dict[tuple[Which, Which], Compiled] = {}
        self._cuts: dict[tuple[Pattern, bool], Cut] = {}
        self._keeping: dict[tuple[Pattern, bool], Keeping] = {}

    @property
    def value(self) -> Compiled:
        """Return the code for the program itself."""
        if self._value is None:
            self._value = compile_graph(lambda: self.program.graph, self.lowering)
        return self._value

    def kept(self, pattern: Pattern, training: bool) -> Bytes:
        """Return the size of what the code keeps that hands on its results, beyond the inputs.

        Raises
        ------
        CompileError
            If a derivative cannot be traced.
        """
        return self._cut(pattern, training).kept

    def keeping(self, pattern: Pattern, training: bool) -> Keeping:
        """Compile the code that hands on its results.

        Raises
        ------
        CompileError
            If a derivative cannot be traced or compiled.
        """
        key = pattern, training
        if key not in self._keeping:
            graphs = self._cut(pattern, training)
            value, pullback, second, backward = map(
                self._compiled, (graphs.value, graphs.pullback, graphs.second, graphs.backward)
            )
            assert value is not None
            self._keeping[key] = Keeping(value, graphs.n_read, pullback, second, backward, graphs.of_value)
        return self._keeping[key]

    def _compiled(self, graph: fx.GraphModule | None) -> Compiled | None:
        return None if graph is None else compile_graph(lambda: graph, self.lowering)

    def _cut(self, pattern: Pattern, training: bool) -> Cut:
        key = pattern, training
        if key not in self._cuts:
            with telling_failure():
                self._cuts[key] = cut(self.program, pattern.moving, pattern.fixed, training)
        return self._cuts[key]

    def prepare(self, pattern: Pattern, training: bool) -> list[Compiled]:
        """Compile what forces need, and in training what the gradient of a loss of energies and forces needs.

        Raises
        ------
        CompileError
            If a derivative cannot be traced or compiled.
        """
        parts = [self.value]
        if pattern.moving:
            parts.append(self._pullback(pattern.moving))
        if training and pattern.fixed:
            parts.append(self._pullback(pattern.all))
        if training and pattern.moving:
            parts.append(self._second(pattern.moving, pattern.all))
        return parts

    def _pullback(self, wanted: Which) -> Compiled:
        if wanted not in self.pullbacks:
            self.pullbacks[wanted] = compile_graph(lambda: trace_pullback(self.program, wanted), self.lowering)
        return self.pullbacks[wanted]

    def _second(self, wanted: Which, targets: Which) -> Compiled:
        key = wanted, targets
        if key not in self.seconds:
            self.seconds[key] = compile_graph(lambda: trace_second(self.program, *key), self.lowering)
        return self.seconds[key]


@cache
def executable(program: Program, lowering: Lowering) -> Executable:
    """Return the one executable of a program, which blocks and models of equal structure share."""
    return Executable(program, lowering)
