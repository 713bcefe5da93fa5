// Matrix products of the size of one tile of edges: C = A B or C += A B with all operands in cache.
#pragma once

#include "../common/simd.h"

namespace dpa4 {

// Element (i, k) of A stands at a[i * row + k * column], so a transposed A needs no copy. B is (K, N) and C is (M, N),
// rows contiguous; N is a multiple of the vector width.
template <typename T>
struct Operand {
  const T* data;
  int64_t row, column;
};

// The least multiple of the vector width that is not below `columns`.
template <typename T>
constexpr int64_t padded(int64_t columns) {
  constexpr int64_t W = Simd<T>::width;
  return (columns + W - 1) / W * W;
}

template <typename T, int MR, int NV, bool accumulate>
inline __attribute__((always_inline)) void micro_kernel(int64_t K, Operand<T> a, const T* b, int64_t ldb, T* c,
                                                        int64_t ldc) {
  constexpr int W = Simd<T>::width;
  Pack<T> acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) acc[i][j] = accumulate ? load(c + i * ldc + j * W) : Pack<T>{};
  for (int64_t k = 0; k < K; ++k) {
    Pack<T> right[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) right[j] = load(b + k * ldb + j * W);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const T left = a.data[i * a.row + k * a.column];
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) store(c + i * ldc + j * W, acc[i][j]);
}

// Rows of the register block for NV vectors of columns: as many accumulators as registers allow.
template <int NV>
constexpr int block_rows() {
  constexpr int many[] = {14, 12, 8, 6}, few[] = {8, 6, 4, 2};
  return kRegisters == 32 ? many[NV - 1] : few[NV - 1];
}

template <typename T, int MR, int NV, bool accumulate>
void last_rows(int64_t M, int64_t K, Operand<T> a, const T* b, int64_t ldb, T* c, int64_t ldc) {
  if constexpr (MR > 0) {
    if (M == MR)
      micro_kernel<T, MR, NV, accumulate>(K, a, b, ldb, c, ldc);
    else
      last_rows<T, MR - 1, NV, accumulate>(M, K, a, b, ldb, c, ldc);
  }
}

template <typename T, int NV, bool accumulate>
void panel(int64_t M, int64_t K, Operand<T> a, const T* b, int64_t ldb, T* c, int64_t ldc) {
  constexpr int MR = block_rows<NV>();
  int64_t i = 0;
  for (; i + MR <= M; i += MR)
    micro_kernel<T, MR, NV, accumulate>(K, {a.data + i * a.row, a.row, a.column}, b, ldb, c + i * ldc, ldc);
  last_rows<T, MR - 1, NV, accumulate>(M - i, K, {a.data + i * a.row, a.row, a.column}, b, ldb, c + i * ldc, ldc);
}

template <typename T, bool accumulate>
void gemm(int64_t M, int64_t N, int64_t K, Operand<T> a, const T* b, int64_t ldb, T* c, int64_t ldc) {
  constexpr int W = Simd<T>::width;
  int64_t vectors = N / W;
  const int64_t widest = vectors % 3 == 0 || kRegisters < 32 ? 3 : 4;
  while (vectors > 0) {
    const int64_t nv = vectors < widest ? vectors : widest;
    if (nv == 4)
      panel<T, 4, accumulate>(M, K, a, b, ldb, c, ldc);
    else if (nv == 3)
      panel<T, 3, accumulate>(M, K, a, b, ldb, c, ldc);
    else if (nv == 2)
      panel<T, 2, accumulate>(M, K, a, b, ldb, c, ldc);
    else
      panel<T, 1, accumulate>(M, K, a, b, ldb, c, ldc);
    b += nv * W;
    c += nv * W;
    vectors -= nv;
  }
}

}  // namespace dpa4
