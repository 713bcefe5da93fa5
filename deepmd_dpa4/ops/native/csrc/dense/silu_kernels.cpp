#include "silu.h"

#include <array>

#include "../common/parallel.h"
#include "../common/simd.h"

namespace dpa4 {
namespace {

// f(x, y) from packs x of the inputs to packs y of the outputs, for all elements.
template <typename T, size_t inputs, size_t outputs, typename F>
void elementwise(std::array<const T*, inputs> in, std::array<T*, outputs> out, int64_t count, F f) {
  constexpr int64_t W = Simd<T>::width, worth_a_thread = 16384;
  in_parts(count, worth_a_thread, [=](int64_t begin, int64_t end) {
    Pack<T> x[inputs] = {}, y[outputs];
    int64_t at = begin;
    for (; at + W <= end; at += W) {
      for (size_t i = 0; i < inputs; ++i) x[i] = load(in[i] + at);
      f(x, y);
      for (size_t i = 0; i < outputs; ++i) store(out[i] + at, y[i]);
    }
    const size_t rest = size_t(end - at) * sizeof(T);
    if (rest == 0) return;
    for (size_t i = 0; i < inputs; ++i) std::memcpy(&x[i], in[i] + at, rest);
    f(x, y);
    for (size_t i = 0; i < outputs; ++i) std::memcpy(out[i] + at, &y[i], rest);
  });
}

}  // namespace

template <typename T>
void silu(const T* x, int64_t count, T* out) {
  elementwise<T, 1, 1>({x}, {out}, count, [](const Pack<T>* in, Pack<T>* y) { y[0] = in[0] * sigmoid<T>(in[0]); });
}

template <typename T>
void silu_backward(const T* g, const T* x, int64_t count, T* out) {
  elementwise<T, 2, 1>({g, x}, {out}, count,
                       [](const Pack<T>* in, Pack<T>* y) { y[0] = in[0] * silu_slope<T>(in[1], sigmoid<T>(in[1])); });
}

template <typename T>
void silu_double_backward(const T* v, const T* g, const T* x, int64_t count, T* by_g, T* by_x) {
  elementwise<T, 3, 2>({v, g, x}, {by_g, by_x}, count, [](const Pack<T>* in, Pack<T>* y) {
    const Pack<T> s = sigmoid<T>(in[2]);
    y[0] = in[0] * silu_slope<T>(in[2], s);
    y[1] = in[0] * in[1] * silu_curvature<T>(in[2], s);
  });
}

template void silu(const float*, int64_t, float*);
template void silu_backward(const float*, const float*, int64_t, float*);
template void silu_double_backward(const float*, const float*, const float*, int64_t, float*, float*);
template void silu(const double*, int64_t, double*);
template void silu_backward(const double*, const double*, int64_t, double*);
template void silu_double_backward(const double*, const double*, const double*, int64_t, double*, double*);

}  // namespace dpa4
