#include "../common/edges.h"
#include "../common/simd.h"
#include "../dense/gemm.h"
#include "outer_sum.h"

namespace dpa4 {
namespace {

// C = A B with any number of columns: where it is no multiple of the vector width, B and C go through a
// scratch array with padded rows.
template <typename T>
class Product {
 public:
  explicit Product(int64_t columns) : N(columns), ld(padded<T>(columns)) {}

  void operator()(int64_t M, int64_t K, Operand<T> a, const T* b, T* c) {
    if (N == ld) {
      gemm<T>(false, M, N, K, a, b, N, c, N);
      return;
    }
    reserve((M + K) * ld);
    T *wide_b = scratch.get(), *wide_c = wide_b + K * ld;
    for (int64_t k = 0; k < K; ++k) {
      std::copy(b + k * N, b + (k + 1) * N, wide_b + k * ld);
      std::fill(wide_b + k * ld + N, wide_b + (k + 1) * ld, T(0));
    }
    gemm<T>(false, M, ld, K, a, wide_b, ld, wide_c, ld);
    for (int64_t i = 0; i < M; ++i) std::copy(wide_c + i * ld, wide_c + i * ld + N, c + i * N);
  }

 private:
  void reserve(int64_t count) {
    if (count > capacity) {
      scratch = allocate<T>(count);
      capacity = count;
    }
  }

  int64_t N, ld, capacity = 0;
  Buffer<T> scratch;
};

}  // namespace

template <typename T>
void outer_sum(const T* a, int64_t P, const T* b, int64_t Q, const int64_t* receiver, int64_t edges, T* total) {
  over_receivers(receiver, edges, [=] {
    return [=, product = Product<T>(Q)](int64_t i, int64_t begin, int64_t end) mutable {
      product(P, end - begin, {a + begin * P, 1, P}, b + begin * Q, total + i * P * Q);
    };
  });
}

template <typename T>
void outer_apply(const T* sums, bool transposed, const T* x, int64_t R, int64_t C, const int64_t* receiver,
                 int64_t edges, T* out) {
  over_receivers(receiver, edges, [=] {
    std::vector<T> scratch(transposed ? R * C : 0);
    return [=, product = Product<T>(C), turned = std::move(scratch)](int64_t i, int64_t begin, int64_t end) mutable {
      const T* s = sums + i * R * C;
      if (transposed) {
        for (int64_t c = 0; c < C; ++c)
          for (int64_t r = 0; r < R; ++r) turned[r * C + c] = s[c * R + r];
        s = turned.data();
      }
      product(end - begin, R, {x + begin * R, R, 1}, s, out + begin * C);
    };
  });
}

template void outer_sum(const float*, int64_t, const float*, int64_t, const int64_t*, int64_t, float*);
template void outer_apply(const float*, bool, const float*, int64_t, int64_t, const int64_t*, int64_t, float*);
template void outer_sum(const double*, int64_t, const double*, int64_t, const int64_t*, int64_t, double*);
template void outer_apply(const double*, bool, const double*, int64_t, int64_t, const int64_t*, int64_t, double*);

}  // namespace dpa4
