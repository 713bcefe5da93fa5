// Products C = A B of row-major matrices in cache: by the kernel of the native operators, by the BLAS that torch brings
// along and by its batch-reduce product, which the processor may lack.
#include "common/parallel.h"
#include "dense/gemm.h"

#include <ATen/native/CPUBlas.h>
#include <omp.h>

#include <algorithm>
#include <ctime>

extern "C" void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                       const int*, const float*, const int*, const float*, float*, const int*);

namespace {

void multiply(int way, int M, int N, int K, const float* a, const float* b, float* c) {
  const float one = 1, zero = 0;
  if (way == 0)
    dpa4::gemm<float>(false, M, N, K, {a, K, 1}, b, N, c, N);
  else if (way == 1)
    sgemm_("N", "N", &N, &M, &K, &one, b, &N, a, &K, &zero, c, &N);
  else
    at::native::cpublas::brgemm(M, N, K, K, N, N, false, a, b, c, false);
}

}  // namespace

// Seconds of the processor for one product on one thread, the mean of `runs`; negative where it cannot be had.
extern "C" double seconds(int way, int M, int N, int K, int runs) try {
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto a = dpa4::allocate<float>(M * K), b = dpa4::allocate<float>(K * N), c = dpa4::allocate<float>(M * N);
  std::fill(a.get(), a.get() + M * K, 0.5f);
  std::fill(b.get(), b.get() + K * N, 0.5f);
  multiply(way, M, N, K, a.get(), b.get(), c.get());
  const std::clock_t start = std::clock();
  for (int i = 0; i < runs; ++i) multiply(way, M, N, K, a.get(), b.get(), c.get());
  const double passed = double(std::clock() - start) / CLOCKS_PER_SEC;
  omp_set_num_threads(threads);
  return passed / runs;
} catch (const std::exception&) {
  return -1;
}
