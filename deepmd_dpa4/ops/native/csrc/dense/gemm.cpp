// The tile kernel: blocks of C as large as the registers of the processor hold.
#include "gemm.h"

#include "../common/simd.h"

namespace dpa4 {
namespace {

template <typename T, int MR, int NV>
inline __attribute__((always_inline)) void micro_kernel(bool accumulate, int64_t K, Operand<T> a, const T* b,
                                                        int64_t ldb, T* c, int64_t ldc) {
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

// Rows of the register block for NV vectors of columns: as many accumulators as registers allow. With 16 registers
// blocks of 6 x 2 reach 85 % of the peak and blocks of 4 x 3, which leave one register for A, 60 %.
template <int NV>
constexpr int block_rows() {
  constexpr int many[] = {14, 12, 8, 6}, few[] = {8, 6};
  if constexpr (kRegisters == 32)
    return many[NV - 1];
  else
    return few[NV - 1];
}

template <typename T, int MR, int NV>
void last_rows(bool accumulate, int64_t M, int64_t K, Operand<T> a, const T* b, int64_t ldb, T* c, int64_t ldc) {
  if constexpr (MR > 0) {
    if (M == MR)
      micro_kernel<T, MR, NV>(accumulate, K, a, b, ldb, c, ldc);
    else
      last_rows<T, MR - 1, NV>(accumulate, M, K, a, b, ldb, c, ldc);
  }
}

template <typename T, int NV>
void panel(bool accumulate, int64_t M, int64_t K, Operand<T> a, const T* b, int64_t ldb, T* c, int64_t ldc) {
  constexpr int MR = block_rows<NV>();
  int64_t i = 0;
  for (; i + MR <= M; i += MR)
    micro_kernel<T, MR, NV>(accumulate, K, {a.data + i * a.row, a.row, a.column}, b, ldb, c + i * ldc, ldc);
  last_rows<T, MR - 1, NV>(accumulate, M - i, K, {a.data + i * a.row, a.row, a.column}, b, ldb, c + i * ldc, ldc);
}

}  // namespace

template <typename T>
void gemm(bool accumulate, int64_t M, int64_t N, int64_t K, Operand<T> a, const T* b, int64_t ldb, T* c, int64_t ldc) {
  constexpr int W = Simd<T>::width;
  int64_t vectors = N / W;
  const int64_t widest = kRegisters < 32 ? 2 : vectors % 3 == 0 ? 3 : 4;
  while (vectors > 0) {
    const int64_t nv = vectors < widest ? vectors : widest;
    if (nv > 2) {
      if constexpr (kRegisters == 32) {
        if (nv == 4)
          panel<T, 4>(accumulate, M, K, a, b, ldb, c, ldc);
        else
          panel<T, 3>(accumulate, M, K, a, b, ldb, c, ldc);
      }
    } else if (nv == 2) {
      panel<T, 2>(accumulate, M, K, a, b, ldb, c, ldc);
    } else {
      panel<T, 1>(accumulate, M, K, a, b, ldb, c, ldc);
    }
    b += nv * W;
    c += nv * W;
    vectors -= nv;
  }
}

template void gemm(bool, int64_t, int64_t, int64_t, Operand<float>, const float*, int64_t, float*, int64_t);
template void gemm(bool, int64_t, int64_t, int64_t, Operand<double>, const double*, int64_t, double*, int64_t);

}  // namespace dpa4
