"""How fast is the product of a tile of edges with a matrix, by the native kernel and by libraries that torch brings?

One thread, fp32, operands in cache: 48 edges with matrices of the usual sizes, and the sums over edges that gradients
of matrices are.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare import HERE, OURS, Bench, parser, summary, take_turns

from deepmd_dpa4.ops.native.build import SOURCES
from deepmd_dpa4.ops.native.compiler import find_compiler

if TYPE_CHECKING:
    from worker import Worker

SIZES = ((48, 64, 64), (48, 96, 96), (48, 128, 128), (48, 192, 192), (96, 96, 48), (192, 192, 48))
"""Rows, columns and inner length."""
WAYS = ("native", "sgemm", "brgemm")
FLOPS = 2e9
"""Of one measurement."""


def main(arguments: list[str] | None = None) -> None:
    bench = Bench("tile_product", __doc__, parser(__doc__).parse_args(arguments))
    with bench.workers([OURS]) as workers:
        for sizes in SIZES[: 1 if bench.options.quick else None]:
            order = {"sizes": sizes, "repeats": bench.options.repeats}
            found = workers[OURS].ask(do="call", function="tile_product:times", **order)
            speeds = ", ".join(f"{way} {flops(sizes) / times['median_s'] / 1e9:.0f}" for way, times in found.items())
            bench.add(f"{' x '.join(map(str, sizes))}; GFLOP/s: {speeds}", "", "", 0, found)


def flops(sizes: tuple[int, ...]) -> float:
    rows, columns, inner = sizes
    return 2.0 * rows * columns * inner


def times(worker: Worker, sizes: tuple[int, ...], repeats: int) -> dict[str, Any]:
    """Times of each way, in turns; runs in the worker."""
    with tempfile.TemporaryDirectory() as folder:
        library = ctypes.CDLL(compiled(Path(folder)))
    library.seconds.restype = ctypes.c_double
    runs = int(FLOPS / flops(sizes))

    def run(way: int) -> dict[str, float]:
        return worker.yardstick() | {"seconds": library.seconds(way, *sizes, runs)}

    possible = {name: partial(run, way) for way, name in enumerate(WAYS) if library.seconds(way, *sizes, 1) >= 0}
    return {name: summary(values) for name, values in take_turns(possible, repeats).items()}


def compiled(folder: Path) -> str:
    compiler = find_compiler()
    assert compiler is not None
    library, made = folder / "tile_product.so", []
    for source in (HERE / "tile_product.cpp", SOURCES / "dense" / "gemm.cpp"):
        made.append(folder / f"{source.stem}.o")
        subprocess.run([*compiler.compiling(source, False, made[-1]), "-I", str(SOURCES)], check=True)
    subprocess.run(compiler.linking(made, library), check=True)
    return str(library)


if __name__ == "__main__":
    main()
