"""What was counted for a graphics card, the least time that cards need for it, and times that others publish."""

import math
from dataclasses import dataclass

from deepmd_dpa4.tools.presets.sizes import SIZES

GIGA, TERA = 1e9, 1e12


@dataclass(frozen=True)
class Way:
    """Memory for what compiled stages keep, GB, none for torch operator by operator; and the backend of operations."""

    memory: float | None
    backend: str = "plain"


BUILTIN = "built-in"
"""Way of the graphs of DeePMD-kit's own DPA4."""
WAYS = {
    "plain": Way(None),
    "recomputing": Way(0.0),
    "keeping": Way(1e6),
    "recomputing, Triton": Way(0.0, "triton"),
    "keeping, Triton": Way(1e6, "triton"),
}


@dataclass(frozen=True)
class Card:
    """Peaks of a card without sparsity, TFLOP/s, and its memory bandwidth, TB/s."""

    fp32: float
    tf32: float
    bf16: float
    bandwidth: float
    source: str


HOPPER = "NVIDIA H100 and H200 data sheets, SXM"
BLACKWELL = "NVIDIA RTX Blackwell architecture white papers"
CARDS = {
    "H100": Card(67.0, 494.7, 989.4, 3.35, HOPPER),
    "H200": Card(67.0, 494.7, 989.4, 4.8, HOPPER),
    "RTX 5090": Card(104.8, 104.8, 209.5, 1.792, BLACKWELL),
    "RTX PRO 6000": Card(126.0, 251.9, 503.8, 1.792, BLACKWELL),
}
PUBLISHED = {
    ("nano", "training", 3192): (26.7, 20.4),
    ("mini", "training", 3192): (51.8, 36.3),
    ("neo", "training", 3192): (128.7, 89.9),
    ("air", "training", 3192): (224.6, 149.0),
    ("plus", "training", 396): (47.4, 36.8),
    ("pro", "training", 396): (156.5, 93.0),
    ("nano", "evaluation", 8000): (56.0, 34.4),
    ("mini", "evaluation", 8000): (116.9, 66.2),
    ("neo", "evaluation", 4096): (152.8, 137.1),
    ("air", "evaluation", 4096): (313.9, 272.6),
    ("plus", "evaluation", 1728): (275.8, 247.0),
}
"""Milliseconds on an RTX PRO 6000 that the authors of the built-in DPA4 publish: compiled, and with CUDA of their own;
bf16 blocks in training, fp32 in evaluation."""
NEAR = {400: 396, 3200: 3192}
"""Numbers of atoms that are taken for the published ones."""


@dataclass(frozen=True)
class Row:
    """One step of one network, run in one way."""

    network: str
    way: str
    step: str
    atoms: int
    edges: int
    flops: float
    moved: float
    kernels: int
    kept: int
    seconds: float
    """That counting took."""

    def roofline(self, card: Card) -> float:
        """Least time in ms: that of the traffic or that of the products in the precision of the step."""
        peak = card.bf16 if self.step == "training" else card.fp32
        return 1e3 * max(self.moved / (TERA * card.bandwidth), self.flops / (TERA * peak))


def table(rows: list[Row]) -> str:
    """Markdown."""
    names = list(CARDS)
    head = ["network", "step", "atoms", "way", "GFLOP", "GB moved", "kernels", "GB kept"]
    lines = [head + [f"{name}, ms" for name in names] + ["published, ms"]]
    lines.append(["---"] * len(lines[0]))
    for row in sorted(rows, key=_place):
        figures = [row.flops / GIGA, row.moved / GIGA, float(row.kernels), row.kept / GIGA]
        figures += [row.roofline(CARDS[name]) for name in names]
        key = row.network, row.step, NEAR.get(row.atoms, row.atoms)
        known = PUBLISHED.get(key)
        said = "" if known is None else f"{known[0]:g}; {known[1]:g}"
        lines.append([row.network, row.step, f"{row.atoms:,}", row.way, *map(_digits, figures), said])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _place(row: Row) -> tuple[int, bool, int, int]:
    return list(SIZES).index(row.network), row.step != "training", row.atoms, [*WAYS, BUILTIN].index(row.way)


def _digits(value: float) -> str:
    """Three digits."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
