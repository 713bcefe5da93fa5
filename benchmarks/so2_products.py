"""Are the matrix products of the SO(2) layers on graphics cards bound by memory or by arithmetic?

From the sizes of the published networks and the peaks of the cards alone; printed as the tables of ``docs/gpu.md``.
"""

from benchmarks.roofs import CARDS, TERA, Card
from deepmd_dpa4.tools.presets.sizes import SIZES

NETWORKS = ("nano", "mini", "neo", "air", "plus", "pro")
PARTS = 3
"""Products of half precision that make one of nearly full precision."""


def layer(name: str) -> tuple[int, int, int]:
    """Count, for one edge and one layer, the FLOP of its products, the numbers of its features, and its weights."""
    options = SIZES[name].options
    lmax, streams, channels = options["lmax"], options["n_focus"], options["channels"]
    # m = 0 and the pair m = +-1, of each stream
    widths = (lmax + 1) * channels, 2 * lmax * channels
    weights = sum(width * width for width in widths)
    return 2 * streams * weights, streams * sum(widths), weights


def intensity(name: str, size: int, layers: int = 1) -> float:
    """FLOP for each byte if features of ``size`` bytes are read and written once for so many layers."""
    flops, numbers, _ = layer(name)
    return layers * flops / (2 * numbers * size)


def ridges(card: Card) -> tuple[float, float, float, float]:
    """FLOP for each byte from which arithmetic takes longer than memory: bf16, fp32, and fp32 by TF32 or by fp16."""
    peaks = card.bf16, card.fp32, card.tf32 / PARTS, card.bf16 / PARTS
    return tuple(peak * TERA / (card.bandwidth * TERA) for peak in peaks)  # type: ignore[return-value]


def table_of_networks() -> str:
    """Markdown."""
    head = ["network", "kFLOP", "numbers", "bf16: one layer", "bf16: all layers in one kernel"]
    lines = [[*head, "fp32: one layer", "weights of a stream, KiB in bf16"], ["---"] * 7]
    for name in NETWORKS:
        flops, numbers, weights = layer(name)
        whole = intensity(name, 2, SIZES[name].options["mixing_layers"])
        cells = [f"{flops / 1e3:.0f}", f"{numbers}", f"{intensity(name, 2):.0f}", f"{whole:.0f}"]
        lines.append([name, *cells, f"{intensity(name, 4):.0f}", f"{2 * weights / 1024:.0f}"])
    return _rendered(lines)


def table_of_cards() -> str:
    """Markdown."""
    lines = [["card", "bf16", "fp32", "fp32 by three products in TF32", "by three in fp16"], ["---"] * 5]
    lines += [[name, *(f"{ridge:.0f}" for ridge in ridges(card))] for name, card in CARDS.items()]
    return _rendered(lines)


def _rendered(lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    print(table_of_networks(), table_of_cards(), sep="\n\n")


if __name__ == "__main__":
    main()
