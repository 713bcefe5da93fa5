// The operator library.
#include "binding.h"

TORCH_LIBRARY(dpa4, m) {
  m.def("version() -> int", []() -> int64_t { return 1; });
}
