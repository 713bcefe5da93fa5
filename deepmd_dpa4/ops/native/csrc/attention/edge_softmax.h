// Attention of a receiver over its edges, alpha_e = exp(x_e) / (exp(x_0) + sum_{e' -> i} exp(x_e')) with
// x_e = logit_e + 2 ln w_e and the null logit x_0. A second result, the null share
// alpha_0 = 1 - sum_e alpha_e of each receiver, is free of the cancellation in that difference; it only serves the
// derivatives and is not differentiated itself.
#pragma once

#include <cstdint>

namespace dpa4 {

// `floor` keeps ln w finite; below it the derivative by w is zero.
template <typename T>
void softmax(const T* logit, const T* w, const T* null, const int64_t* receiver, int64_t edges, int64_t K, T floor,
             T* out, T* null_share);

// With D = sum_e c_e alpha_e the cotangents of x and x_0 are alpha_e (c_e - D) and -alpha_0 D, the latter summed over
// receivers.
template <typename T>
void softmax_backward(const T* c, const T* a, const T* null_share, const T* w, const int64_t* receiver, int64_t edges,
                      int64_t receivers, int64_t K, T floor, T* x_bar, T* w_bar, T* null_bar);

// Cotangents h of the three results above add up to L = sum_e H_e alpha_e c_e - D (A + h_0 alpha_0) for each receiver,
// with H = h_x + (2/w) h_w and A = sum_e H_e alpha_e; these are the derivatives of L by c, alpha and w. That alpha_0
// depends on alpha is part of the second.
template <typename T>
void softmax_double_backward(const T* h_x, const T* h_w, const T* h_0, const T* c, const T* a, const T* null_share,
                             const T* w, const int64_t* receiver, int64_t edges, int64_t K, T floor, T* c_bar, T* a_bar,
                             T* w_bar);

}  // namespace dpa4
