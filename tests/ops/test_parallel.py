"""Memory that cannot be had is an exception that a caller sees, also from inside a parallel region."""

import ctypes
import sys
from pathlib import Path

import pytest

from deepmd_dpa4.ops.native.build import SOURCES, build
from deepmd_dpa4.ops.native.compiler import find_compiler

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or find_compiler() is None, reason="needs a C++ compiler on Linux"
)

CALLER = """
#include "parallel.h"
extern "C" int fails(int threads, int64_t count) {
  try {
    dpa4::on_threads(threads, [&](int t) {
      if (t == threads - 1) dpa4::allocate<double>(count)[0] = 1;
    });
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}
"""


def test_failed_allocation(tmp_path: Path) -> None:
    sources = tmp_path / "csrc"
    sources.mkdir()
    (sources / "parallel.h").write_text((SOURCES / "common" / "parallel.h").read_text())
    (sources / "caller.cpp").write_text(CALLER)
    library = ctypes.CDLL(str(build(print, sources, tmp_path / "cache")))
    for threads in (1, 2):
        assert library.fails(threads, ctypes.c_int64(0)) == 0
        for count in (2**50, 2**60, 2**61 + 1, -1):
            assert library.fails(threads, ctypes.c_int64(count)) == 1
