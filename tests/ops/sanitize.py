"""Runs tests of the native operators on a library that checks its memory accesses and arithmetic.

Memory comes filled with NaNs, so that results which depend on uninitialised values differ from the expected ones.
Further arguments are for pytest. GCC only.
"""

import os
import subprocess
import sys
from pathlib import Path

from deepmd_dpa4.ops.native import build as builder
from deepmd_dpa4.ops.native.build import build
from deepmd_dpa4.ops.native.compiler import Compiler, find_compiler

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "sanitize"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# With variables initialised by a pattern GCC 12 takes closures for uninitialised; real reads of such values fail tests.
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-error=uninitialized", "-Wno-error=maybe-uninitialized"]
CHECKED = [*WARNINGS, "-O1", "-g", "-fno-omit-frame-pointer", "-ftrivial-auto-var-init=pattern", *SANITIZERS]
# The C++ library has to be there before the address sanitizer, which wraps its exceptions.
RUNTIMES = ("libasan.so", "libubsan.so", "libstdc++.so")
SETTINGS = {
    # leaks are those of Python, which frees little at its end
    "ASAN_OPTIONS": "detect_leaks=0:max_malloc_fill_size=1000000000:malloc_fill_byte=255:strict_init_order=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
TESTS = ("edge_message", "edge_softmax", "edge_geometry", "pairs", "outer_sum", "couple", "matrix_product", "silu")


class CheckingCompiler(Compiler):
    """The same compiler with checks in what it makes; of flags that contradict each other the last one counts."""

    def _flags(self, binding: bool) -> list[str]:
        return [*super()._flags(binding), *CHECKED]

    def linking(self, objects: list[Path], target: Path) -> list[str]:
        return [*super().linking(objects, target), *SANITIZERS]


def runtime(compiler: Compiler, name: str) -> str:
    command = [compiler.path, f"-print-file-name={name}"]
    path = Path(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    if not path.is_absolute():
        raise SystemExit(f"{compiler.version} has no {name}")
    return str(path.resolve())


def main() -> None:
    found = find_compiler()
    if found is None:
        raise SystemExit("no C++ compiler found on PATH")
    compiler = CheckingCompiler(found.path, found.version)
    environment = os.environ | SETTINGS | {"XDG_CACHE_HOME": str(CACHE)}
    environment["LD_PRELOAD"] = ":".join(runtime(compiler, name) for name in RUNTIMES)
    os.environ["XDG_CACHE_HOME"] = str(CACHE)
    builder.find_compiler = lambda: compiler
    build(print)
    tests = [f"tests/ops/test_{name}.py" for name in TESTS]
    os.chdir(ROOT)
    os.execve(sys.executable, [sys.executable, "-m", "pytest", *tests, *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
