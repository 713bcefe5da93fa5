"""Parallel regions: memory that cannot be had is an exception that a caller sees, and subnormal numbers are zero."""

import ctypes
import platform
import sys

import pytest
import torch

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
extern "C" float largest_square(int threads, float x) {
  float found[2] = {0, 0};
  dpa4::on_threads(threads, [&](int t) {
    volatile float factor = x;
    found[t] = factor * factor;
  });
  return found[0] > found[1] ? found[0] : found[1];
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("parallel")
    sources = folder / "csrc"
    sources.mkdir()
    (sources / "parallel.h").write_text((SOURCES / "common" / "parallel.h").read_text())
    (sources / "caller.cpp").write_text(CALLER)
    return ctypes.CDLL(str(build(print, sources, folder / "cache")))


def test_failed_allocation(library: ctypes.CDLL) -> None:
    for threads in (1, 2):
        assert library.fails(threads, ctypes.c_int64(0)) == 0
        for count in (2**50, 2**60, 2**61 + 1, -1):
            assert library.fails(threads, ctypes.c_int64(count)) == 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only there arithmetic with subnormal numbers is slow")
def test_subnormal_numbers(library: ctypes.CDLL) -> None:
    """Inside they are zero; outside they are what they were."""
    library.largest_square.restype = ctypes.c_float
    tiny = torch.tensor(1e-20)
    for threads in (1, 2):
        assert library.largest_square(threads, ctypes.c_float(1e-20)) == 0
        assert library.largest_square(threads, ctypes.c_float(1e-18)) > 0
        assert 0 < tiny * tiny < torch.finfo(torch.float32).tiny
