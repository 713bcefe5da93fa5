// The operator library.
#include <torch/library.h>

TORCH_LIBRARY(dpa4, m) {
  m.def("version() -> int", []() -> int64_t { return 1; });
}
