// Matrix products of the size of one tile of edges with all operands in cache.
#pragma once

#include <cstdint>

namespace dpa4 {

// Element (i, k) of A stands at a[i * row + k * column], so a transposed A needs no copy. B is (K, N) and C is (M, N),
// rows contiguous; N is a multiple of the vector width.
template <typename T>
struct Operand {
  const T* data;
  int64_t row, column;
};

// C = A B, or C += A B.
template <typename T>
void gemm(bool accumulate, int64_t M, int64_t N, int64_t K, Operand<T> a, const T* b, int64_t ldb, T* c, int64_t ldc);

}  // namespace dpa4
