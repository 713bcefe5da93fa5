// TorchScript optimises the graph of a whole model in its first two calls, which takes ten seconds or more and gains
// nothing on CPUs: the work is in operators. Programs that are not Python, such as LAMMPS, run the files as they are
// once this library is loaded, unless there is a GPU, where operators may be joined. The setting is that of the thread
// which loads the library; Python puts it back (load.py).
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/cuda.h>

namespace {

const bool runs_as_written = [] {
  const bool written = !torch::cuda::is_available();
  if (written) torch::jit::setGraphExecutorOptimize(false);
  return written;
}();

}  // namespace
