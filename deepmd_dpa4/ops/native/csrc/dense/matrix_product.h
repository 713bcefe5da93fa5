// Products A B of large matrices, or of batches of them, by the tile kernel.
#pragma once

#include "gemm.h"

namespace dpa4 {

struct Sizes {
  int64_t batch, M, N, K;
};

// Element (i, j) of matrix b stands at data[b * batch + i * row + j * column].
template <typename T>
struct Matrices {
  const T* data;
  int64_t batch, row, column;

  Operand<T> from(int64_t b, int64_t i, int64_t j) const {
    return {data + b * batch + i * row + j * column, row, column};
  }
};

// C (batch, M, N) for every part of the K rows of B, as (parts, batch, M, N).
template <typename T>
void multiply(const Sizes& s, const Matrices<T>& a, const Matrices<T>& b, int64_t parts, T* c);

// Long sums over few elements, as weights have them for gradients, are divided between the threads.
int64_t parts_of(const Sizes& s);

}  // namespace dpa4
