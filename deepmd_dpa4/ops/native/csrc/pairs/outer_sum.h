// Sums over the edges of each receiver of an outer product, S_i = sum_{e -> i} a_e (x) b_e, and the two products with
// S that differentiation brings, S_i b_e and S_i^T a_e.
#pragma once

#include <cstdint>

namespace dpa4 {

// S_i (P, Q) of rows a_e of P and b_e of Q numbers.
template <typename T>
void outer_sum(const T* a, int64_t P, const T* b, int64_t Q, const int64_t* receiver, int64_t edges, T* total);

// Rows x_e S_i of C numbers, where S_i is (R, C), or the transpose of a given (C, R).
template <typename T>
void outer_apply(const T* sums, bool transposed, const T* x, int64_t R, int64_t C, const int64_t* receiver,
                 int64_t edges, T* out);

}  // namespace dpa4
