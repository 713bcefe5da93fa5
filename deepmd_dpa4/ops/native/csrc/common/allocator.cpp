// Tensors of an evaluation are a few megabytes each and come and go; by default the C library returns such blocks to
// the system and faults their pages in again at the next use, which costs more than filling them. Keep them instead.
// The library can be linked without this source (`dpa4 build --no-set-allocator`).
#include <malloc.h>

namespace {

const bool memory_kept = [] {
  constexpr int most = 2147483647;
  return mallopt(M_MMAP_THRESHOLD, most) && mallopt(M_TRIM_THRESHOLD, most) && mallopt(M_TOP_PAD, 256 * 1024 * 1024);
}();

}  // namespace
