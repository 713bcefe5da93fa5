// s(x) = x sigma(x), its first and its second derivative on arrays, each in one pass.
#pragma once

#include <cstdint>

namespace dpa4 {

template <typename T>
void silu(const T* x, int64_t count, T* out);

// g s'(x)
template <typename T>
void silu_backward(const T* g, const T* x, int64_t count, T* out);

// v s'(x) and v g s''(x), the derivatives of <v, g s'(x)> by g and by x
template <typename T>
void silu_double_backward(const T* v, const T* g, const T* x, int64_t count, T* by_g, T* by_x);

}  // namespace dpa4
