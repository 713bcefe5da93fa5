// All edges: tiles handed to threads, and the sums over threads.
#pragma once

#include "../common/parallel.h"
#include "tile.h"

namespace dpa4 {

struct EdgeIndex {
  const int64_t *sender, *receiver;  // receivers ascend
  int64_t edges, nodes, receivers;
};

// First edge of each thread; a receiver belongs to one thread.
inline std::vector<int64_t> divide_edges(const EdgeIndex& index, int64_t parts) {
  std::vector<int64_t> start{0};
  for (int64_t t = 1; t < parts; ++t) {
    int64_t e = std::max(start.back(), index.edges * t / parts);
    while (e > start.back() && e < index.edges && index.receiver[e] == index.receiver[e - 1]) ++e;
    start.push_back(e);
  }
  start.push_back(index.edges);
  return start;
}

inline int64_t edge_threads(const EdgeIndex& index) {
  return std::max<int64_t>(1, std::min<int64_t>(available_threads(), index.edges / 64));
}

constexpr int64_t kTile = 48;

// out (receivers, size, C), zero at the start.
template <typename T>
void edge_forward(const EdgeLayout& layout, int64_t stride, const EdgeArguments<T>& in, const EdgeIndex& index,
                  T* out) {
  const int64_t threads = edge_threads(index);
  const std::vector<int64_t> start = divide_edges(index, threads);
  on_threads(int(threads), [&](int t) {
    EdgeTile<T> tile(layout, stride, kTile, false, false);
    for (int64_t e = start[t]; e < start[t + 1]; e += kTile) {
      const int64_t n = std::min(kTile, start[t + 1] - e);
      tile.template forward<false>(in, nullptr, index.sender, e, n);
      tile.template leave<false>(in, nullptr, index.receiver, e, n, out);
    }
  });
}

// Sums of threads in a shared array: the first thread uses the array itself, the others copies of their own.
template <typename T>
class PerThread {
 public:
  PerThread(T* target, int64_t size, int64_t threads) : target_(target), size_(target ? size : 0), copies_(threads) {}
  T* begin(int t) {
    if (!target_ || t == 0) return target_;
    copies_[t] = allocate<T>(size_);
    std::memset(copies_[t].get(), 0, size_ * sizeof(T));
    return copies_[t].get();
  }
  void reduce() {
    in_parts(size_, 4096, [&](int64_t begin, int64_t end) {
      for (const Buffer<T>& copy : copies_)
        if (copy)
          for (int64_t i = begin; i < end; ++i) target_[i] += copy[i];
    });
  }

 private:
  T* target_;
  int64_t size_;
  std::vector<Buffer<T>> copies_;
};

// Gradients of <adjoint, out>, or with tangents `dot` of <adjoint, tangent of out>; then `out_dot` (receivers, size,
// C), zero at the start, receives the tangent of out.
template <typename T, bool tangent>
void edge_backward(const EdgeLayout& layout, int64_t stride, const EdgeArguments<T>& in, const EdgeArguments<T>* dot,
                   const EdgeIndex& index, const T* adjoint, const EdgeGradients<T>& out, T* out_dot) {
  const int64_t threads = edge_threads(index);
  const std::vector<int64_t> start = divide_edges(index, threads);
  PerThread<T> features(out.features, index.nodes * layout.copies * layout.size * layout.channels, threads);
  PerThread<T> stack(out.stack, in.stack->layout.packed_total, threads);
  PerThread<T> focus(out.focus, layout.channels, threads);
  on_threads(int(threads), [&](int t) {
    EdgeGradients<T> own = out;
    own.features = features.begin(t);
    own.stack = stack.begin(t);
    own.focus = focus.begin(t);
    EdgeTile<T> tile(layout, stride, kTile, true, tangent);
    for (int64_t e = start[t]; e < start[t + 1]; e += kTile) {
      const int64_t n = std::min(kTile, start[t + 1] - e);
      tile.template forward<tangent>(in, dot, index.sender, e, n);
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
