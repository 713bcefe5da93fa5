"""A program and its derivatives, compiled."""

from dataclasses import dataclass
from functools import cache

import torch

from deepmd_dpa4.compiled.cut import Bytes, Cut, Piece, cut
from deepmd_dpa4.compiled.differentiate import Which, trace_pullback, trace_second
from deepmd_dpa4.compiled.lower import Compiled, CompileError, Lowering, compile_graph
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
class CompiledPiece:
    """Code that takes results of earlier code: which of the value and which of the pullback."""

    code: Compiled
    of_value: Which
    of_pullback: Which


@dataclass(frozen=True)
class Keeping:
    """Code for a program and its derivatives of which each hands on what it computed.

    Attributes
    ----------
    value : Compiled
        Returns the outputs, and what derivatives read.
    pullbacks : dict[tuple[int, ...], CompiledPiece]
        By the inputs that are differentiated by; that by moving inputs returns what the second derivative reads too.
    second : CompiledPiece, optional
        Derivative of the pullback by moving inputs.
    kept : Bytes
        Size of what is handed on.
    """

    value: Compiled
    pullbacks: dict[Which, CompiledPiece]
    second: CompiledPiece | None
    kept: Bytes

    def parts(self) -> list[Compiled]:
        """List all code."""
        pieces = [*self.pullbacks.values(), *([self.second] if self.second is not None else [])]
        return [self.value, *(piece.code for piece in pieces)]


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
            self._keeping[key] = Keeping(
                compile_graph(lambda: graphs.value, self.lowering),
                {which: self._piece(piece) for which, piece in graphs.pullbacks.items()},
                None if graphs.second is None else self._piece(graphs.second),
                graphs.kept,
            )
        return self._keeping[key]

    def _piece(self, piece: Piece) -> CompiledPiece:
        return CompiledPiece(compile_graph(lambda: piece.graph, self.lowering), piece.of_value, piece.of_pullback)

    def _cut(self, pattern: Pattern, training: bool) -> Cut:
        key = pattern, training
        if key not in self._cuts:
            try:
                self._cuts[key] = cut(self.program, pattern.moving, pattern.fixed, training)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                raise CompileError from error
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
