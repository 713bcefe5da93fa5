"""Draw ``architecture.png``: how positions become energies and forces, and which module does what.

``make generate`` runs this.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

TARGET = Path(__file__).with_name("architecture.png")
Point = tuple[float, float]

GEOMETRY, NODES, EDGES, OUTPUT = "#dcebf7", "#e3f1de", "#fdebd0", "#ececec"
GRADIENT = "#b03030"


@dataclass(frozen=True)
class Box:
    """Rectangle around (x, y) with a title and the module that holds it."""

    x: float
    y: float
    width: float
    title: str
    module: str
    color: str
    height: float = 0.92

    def side(self, name: str) -> Point:
        """Middle of one side: left, right, top or bottom."""
        dx = {"left": -0.5, "right": 0.5}.get(name, 0.0) * self.width
        dy = {"bottom": -0.5, "top": 0.5}.get(name, 0.0) * self.height
        return self.x + dx, self.y + dy

    def draw(self, axes: Axes) -> None:
        """Add to the picture."""
        corner = (self.x - self.width / 2, self.y - self.height / 2)
        style = "round,pad=0,rounding_size=0.08"
        axes.add_patch(
            FancyBboxPatch(corner, self.width, self.height, boxstyle=style, facecolor=self.color, edgecolor="0.25")
        )
        shift = 0.14 if self.module else 0.0
        axes.text(self.x, self.y + shift, self.title, ha="center", va="center", fontsize=9.5, linespacing=1.25)
        lines = self.title.count("\n")
        axes.text(
            self.x,
            self.y - 0.22 - 0.09 * lines,
            self.module,
            ha="center",
            va="center",
            fontsize=7.5,
            family="monospace",
            color="0.35",
        )


def arrow(axes: Axes, start: Point, end: Point, color: str = "0.25", style: str = "-", bend: float = 0.0) -> None:
    """Arrow between two points."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=12,
            color=color,
            linestyle=style,
            linewidth=1.3,
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=1,
            shrinkB=1,
        )
    )


def path(axes: Axes, points: list[Point], color: str = "0.25", style: str = "-") -> None:
    """Line through points, with an arrow head at the end."""
    xs, ys = zip(*points[:-1], strict=True)
    axes.plot(xs, ys, color=color, linestyle=style, linewidth=1.3, solid_capstyle="butt")
    arrow(axes, points[-2], points[-1], color, style)


def frame(axes: Axes, left: float, bottom: float, right: float, top: float, text: str) -> None:
    """Dashed frame with a caption in its upper right corner."""
    axes.add_patch(
        FancyBboxPatch(
            (left, bottom),
            right - left,
            top - bottom,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor="none",
            edgecolor="0.45",
            linestyle=(0, (4, 3)),
        )
    )
    axes.text(right - 0.15, top - 0.22, text, ha="right", va="center", fontsize=9, color="0.3")


def draw_geometry(axes: Axes) -> tuple[Box, Box, Box, Box]:
    """Upper row: positions to what is known of each edge."""
    atoms = Box(1.1, 8.3, 1.7, "positions, types,\ncell", "", OUTPUT)
    edges = Box(3.65, 8.3, 2.4, "edge vectors $v_e$\nwithin rcut", "graph/neighbors.py", GEOMETRY, 1.05)
    features = Box(
        7.0,
        8.3,
        3.2,
        "distance, envelope $w_e$,\nharmonics, rotation $D(R_e)$",
        "ops/measure_edges.py  so3/",
        GEOMETRY,
        1.05,
    )
    radial = Box(
        11.05,
        8.3,
        3.4,
        "radial basis, radial network,\nedge condition",
        "graph/radial.py  nn/radial_mlp.py",
        EDGES,
        1.05,
    )
    for box in (atoms, edges, features, radial):
        box.draw(axes)
    for first, second in ((atoms, edges), (edges, features), (features, radial)):
        arrow(axes, first.side("right"), second.side("left"))
    return atoms, edges, features, radial


def draw_convolution(axes: Axes) -> None:
    """One message-passing step, spelled out."""
    frame(axes, 3.1, 2.75, 12.9, 6.95, "block, repeated n_blocks times (descriptor/block.py)")
    y = 5.75
    boxes = [
        Box(4.15, y, 1.6, "channel mix,\nper degree", "nn/linear.py", NODES, 1.05),
        Box(6.3, y, 2.1, "into edge frames,\n$\\times$ edge condition", "degree_mixer.py", EDGES, 1.05),
        Box(8.7, y, 2.1, "SO(2) layers,\ngates", "so2_linear.py gate.py", EDGES, 1.05),
        Box(11.25, y, 2.4, "attention-weighted sum,\nback to global frame", "attention.py", EDGES, 1.05),
    ]
    lower = [
        Box(10.95, 3.6, 3.0, "$\\times$ node features on SO(3) grid,\nchannel mix", "grid_product.py", NODES, 1.05),
        Box(7.85, 3.6, 2.3, "norm, add to\nnode features", "nn/norm.py", NODES, 1.05),
        Box(4.8, 3.6, 2.7, "feed-forward on a grid,\nnorm, add", "nn/feedforward.py", NODES, 1.05),
    ]
    for box in boxes + lower:
        box.draw(axes)
    for first, second in pairwise(boxes):
        arrow(axes, first.side("right"), second.side("left"))
    arrow(axes, boxes[-1].side("bottom"), (boxes[-1].x, lower[0].side("top")[1]))
    for first, second in pairwise(lower):
        arrow(axes, first.side("left"), second.side("right"))
    axes.text(
        7.45, 4.7, "convolution: descriptor/convolution.py", ha="center", fontsize=8.5, color="0.35", style="italic"
    )


def draw_ends(axes: Axes, edges: Box, features: Box, radial: Box) -> None:
    """First node state, read-out, energy, and the way back of the gradient."""
    state = Box(1.35, 5.75, 2.3, "first node state:\ntypes, environment", "descriptor/embedding.py", NODES, 1.05)
    readout = Box(1.35, 3.6, 2.3, "read-out:\ninvariants $d_i$", "descriptor/readout.py", NODES, 1.05)
    fitting = Box(1.35, 1.5, 2.3, "atomic energies\n+ bias (+ ZBL)", "fitting/energy.py", OUTPUT, 1.05)
    energy = Box(4.3, 1.5, 1.6, "energy\n$E = \\Sigma_i\\, E_i$", "", OUTPUT)
    gradient = Box(
        7.5, 1.5, 2.8, "$g_e = \\partial E / \\partial v_e$\none backward pass", "model/derivatives.py", OUTPUT, 1.05
    )
    forces = Box(
        11.3,
        1.5,
        3.0,
        "forces $F_k = \\Sigma_{i(e)=k}\\, g_e - \\Sigma_{j(e)=k}\\, g_e$\nvirial $W = -\\Sigma_e\\, g_e \\otimes v_e$",
        "",
        OUTPUT,
    )
    for box in (state, readout, fitting, energy, gradient, forces):
        box.draw(axes)
    path(axes, [(features.x, features.side("bottom")[1]), (features.x, 7.35), (1.35, 7.35), state.side("top")])
    path(axes, [(radial.x, radial.side("bottom")[1]), (radial.x, 7.2), (6.3, 7.2), (6.3, 6.28)])
    arrow(axes, state.side("right"), (3.35, 5.75))
    arrow(axes, (3.45, 3.6), readout.side("right"))
    arrow(axes, readout.side("bottom"), fitting.side("top"))
    arrow(axes, fitting.side("right"), energy.side("left"))
    arrow(axes, energy.side("right"), gradient.side("left"), GRADIENT, "--")
    arrow(axes, gradient.side("right"), forces.side("left"), GRADIENT)
    turn = 13.25
    path(
        axes,
        [(7.5, 2.03), (7.5, 2.4), (turn, 2.4), (turn, 9.25), (edges.x, 9.25), edges.side("top")],
        GRADIENT,
        "--",
    )
    axes.text(8.6, 9.36, "the only variable that gradients are taken of", color=GRADIENT, fontsize=8.5, ha="center")


def main() -> None:
    """Draw and save."""
    figure, axes = plt.subplots(figsize=(11, 7.2), layout="constrained")
    axes.set(xlim=(0, 13.5), ylim=(0.75, 9.75))
    axes.set_axis_off()
    _, edges, features, radial = draw_geometry(axes)
    draw_convolution(axes)
    draw_ends(axes, edges, features, radial)
    # a fixed software name keeps the file the same from run to run
    figure.savefig(TARGET, dpi=150, metadata={"Software": None})
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
