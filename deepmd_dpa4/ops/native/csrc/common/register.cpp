// The operator library and what happens when it is loaded.
#include <malloc.h>
#include <torch/library.h>

namespace {

int64_t version() { return 1; }

// Tensors of an evaluation are a few megabytes each and come and go; by default the C library returns such blocks to
// the system and faults their pages in again at the next use, which costs more than filling them. Keep them instead.
const bool memory_kept = [] {
  constexpr int most = 2147483647;
  mallopt(M_MMAP_THRESHOLD, most);
  mallopt(M_TRIM_THRESHOLD, most);
  mallopt(M_TOP_PAD, 256 * 1024 * 1024);
  return true;
}();

}  // namespace

TORCH_LIBRARY(dpa4, m) { m.def("version() -> int"); }

TORCH_LIBRARY_IMPL(dpa4, CompositeExplicitAutograd, m) { m.impl("version", version); }
