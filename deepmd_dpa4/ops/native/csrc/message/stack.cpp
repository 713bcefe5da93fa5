// Weights to packed weights, and gradients back.
#include "stack.h"

#include <cstring>

namespace dpa4 {

template <typename T, bool transposed>
Buffer<T> pack_stack(const StackLayout& s, const T* flat) {
  Buffer<T> packed = allocate<T>(s.packed_total);
  std::memset(packed.get(), 0, s.packed_total * sizeof(T));
  for (const auto& layer : s.blocks)
    for (const WeightBlock& w : layer)
      for (int64_t f = 0; f < s.streams; ++f) {
        T* to = packed.get() + s.start(w, f);
        const int64_t size = s.size(w), imaginary = w.column_blocks * s.width;
        const int64_t row_step = transposed ? 1 : w.column_blocks * s.padded;
        const int64_t column_step = transposed ? w.row_blocks * s.padded : 1;
        s.each_run(w, f, [&](int64_t from, int64_t row, int64_t column) {
          for (int64_t b = 0; b < s.width; ++b) {
            const int64_t at = row * row_step + (column + b) * column_step;
            const T u = flat[from + b];
            to[at] = u;
            if (!w.complex) continue;
            const T v = transposed ? -flat[from + imaginary + b] : flat[from + imaginary + b];
            to[at + size] = -(u + v);
            to[at + 2 * size] = v - u;
          }
        });
      }
  return packed;
}

template <typename T>
void unpack_gradient(const StackLayout& s, const T* packed, T* flat) {
  for (const auto& layer : s.blocks)
    for (const WeightBlock& w : layer)
      for (int64_t f = 0; f < s.streams; ++f) {
        const T* from = packed + s.start(w, f);
        const int64_t size = s.size(w), columns = w.column_blocks * s.padded, imaginary = w.column_blocks * s.width;
        s.each_run(w, f, [&](int64_t to, int64_t row, int64_t column) {
          for (int64_t b = 0; b < s.width; ++b) {
            const int64_t at = row * columns + column + b;
            flat[to + b] = w.complex ? from[at] + from[at + size] : from[at];
            if (w.complex) flat[to + imaginary + b] = from[at] + from[at + 2 * size];
          }
        });
      }
}

template Buffer<float> pack_stack<float, false>(const StackLayout&, const float*);
template Buffer<float> pack_stack<float, true>(const StackLayout&, const float*);
template void unpack_gradient(const StackLayout&, const float*, float*);
template Buffer<double> pack_stack<double, false>(const StackLayout&, const double*);
template Buffer<double> pack_stack<double, true>(const StackLayout&, const double*);
template void unpack_gradient(const StackLayout&, const double*, double*);

}  // namespace dpa4
