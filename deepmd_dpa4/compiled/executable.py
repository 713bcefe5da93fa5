"""A program and its derivatives, compiled."""

from dataclasses import dataclass
from functools import cache

from deepmd_dpa4.compiled.differentiate import Which, trace_pullback, trace_second
from deepmd_dpa4.compiled.lower import Compiled, Lowering, compile_graph
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


class Executable:
    """Code for a program and for its derivatives, as far as they have been prepared."""

    def __init__(self, program: Program, lowering: Lowering) -> None:
        self.program, self.lowering = program, lowering
        self.value = compile_graph(lambda: program.graph, lowering)
        self.pullbacks: dict[Which, Compiled] = {}
        self.seconds: dict[tuple[Which, Which], Compiled] = {}

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
