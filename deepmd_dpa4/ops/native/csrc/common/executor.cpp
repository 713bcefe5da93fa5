// TorchScript optimises the graph of a whole model in its first two calls, which takes ten seconds or more and gains
// nothing on CPUs: the work is in operators. Programs that are not Python, such as LAMMPS, run the files as they are
// once this library is loaded. The setting is that of the thread which loads it; Python puts it back (load.py).
#include <torch/csrc/jit/python/update_graph_executor_opt.h>

namespace {

const bool runs_as_written = [] {
  torch::jit::setGraphExecutorOptimize(false);
  return true;
}();

}  // namespace
