#include <torch/library.h>

namespace {

int64_t version() {
  return 1;
}

}  // namespace

TORCH_LIBRARY(dpa4, m) {
  m.def("version() -> int");
}

TORCH_LIBRARY_IMPL(dpa4, CompositeExplicitAutograd, m) {
  m.impl("version", version);
}
