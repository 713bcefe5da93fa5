// All edges: tiles handed to threads, and the sums over threads.
#pragma once

#include "tile.h"

namespace dpa4 {

constexpr int64_t kTile = 48;

template <typename T>
int64_t padding_of() {
  return Simd<T>::width;
}

template <typename T>
void edge_forward(const EdgeLayout& layout, int64_t stride, const EdgeArguments<T>& in, const EdgeIndex& index,
                  int64_t parts, T* out, T* kept) {
  const std::vector<int64_t> start = divide_edges(index, parts);
  on_threads(int(parts), [&](int t) {
    EdgeTile<T> tile(layout, stride, kTile, false, false);
    for (int64_t e = start[t]; e < start[t + 1]; e += kTile) {
      const int64_t n = std::min(kTile, start[t + 1] - e);
      tile.template forward<false>(in, nullptr, index.sender, e, n, kept, false);
      tile.template leave<false>(in, nullptr, index.receiver, e, n, out);
    }
  });
}

template <typename T, bool tangent>
void edge_backward(const EdgeLayout& layout, int64_t stride, const EdgeArguments<T>& in, const EdgeArguments<T>* dot,
                   const EdgeIndex& index, int64_t parts, const T* adjoint, const EdgeGradients<T>& out, T* out_dot,
                   T* kept) {
  const std::vector<int64_t> start = divide_edges(index, parts);
  PerThread<T> features(out.features, index.nodes * layout.copies * layout.size * layout.channels, parts);
  PerThread<T> stack(out.stack, in.stack->layout.packed_total, parts);
  PerThread<T> focus(out.focus, layout.channels, parts);
  on_threads(int(parts), [&](int t) {
    EdgeGradients<T> own = out;
    own.features = features.begin(t);
    own.stack = stack.begin(t);
    own.focus = focus.begin(t);
    EdgeTile<T> tile(layout, stride, kTile, true, tangent);
    for (int64_t e = start[t]; e < start[t + 1]; e += kTile) {
      const int64_t n = std::min(kTile, start[t + 1] - e);
      tile.template forward<tangent>(in, dot, index.sender, e, n, kept, kept != nullptr);
      if constexpr (tangent)
        if (out_dot) tile.template leave<true>(in, dot, index.receiver, e, n, out_dot);
      tile.template backward<tangent>(in, dot, index.sender, index.receiver, e, n, adjoint, own);
    }
  });
  features.reduce();
  stack.reduce();
  focus.reduce();
}

}  // namespace dpa4
