// The operator library, with the operators on nodes, on pairs of nodes and on arrays.
#include "../attention/edge_softmax_binding.h"
#include "../common/binding.h"
#include "../coupling/couple_binding.h"
#include "../dense/matrix_product_binding.h"
#include "../dense/silu_binding.h"
#include "../pairs/outer_sum_binding.h"
#include "../pairs/pairs_binding.h"

TORCH_LIBRARY(dpa4, m) {
  m.def("version() -> int", []() -> int64_t { return 1; });
  // Called first by files that use native kernels. Where the library is missing, TorchScript refuses the file with
  // "Unknown builtin op: <name>", so the name is the message. Conservative, or the call would be removed as dead code.
  m.def(torch::schema("native_kernels_missing__run__dpa4_build__and_put_its_path_into_DP_PLUGIN_PATH() -> ()",
                      c10::AliasAnalysisKind::CONSERVATIVE),
        []() {});
}
