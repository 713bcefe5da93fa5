// Maps between nodes and the pairs of nodes that edges are. For an edge e from j to i:
//
//   pair_sum      y_e = x_i + s x_j                      pair_scatter   its transpose
//   pair_dot      y_e = <a_i, b_j> in each block of channels; its derivatives are
//   receiver_sum  A_i = sum_{e -> i} g_e b_j        and  sender_sum     B_j = sum_{e: j ->} g_e a_i
//
// Blocks a (N, B, w) belong to receivers, b (M, B, w) to senders, g (E, B) to edges. Sums are added to zeros.
#pragma once

#include "../common/edges.h"

namespace dpa4 {

template <typename T>
void pair_sum(const EdgeIndex& pairs, const T* x, int64_t K, T sign, T* y);

template <typename T>
void pair_scatter(const EdgeIndex& pairs, const T* y, int64_t K, T sign, T* x);

template <typename T>
void pair_dot(const EdgeIndex& pairs, const T* a, const T* b, int64_t B, int64_t w, T* y);

template <typename T>
void receiver_sum(const EdgeIndex& pairs, const T* g, const T* b, int64_t B, int64_t w, T* a);

template <typename T>
void sender_sum(const EdgeIndex& pairs, const T* g, const T* a, int64_t B, int64_t w, T* b);

}  // namespace dpa4
