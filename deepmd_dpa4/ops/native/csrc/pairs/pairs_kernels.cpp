#include "../common/simd.h"
#include "pairs.h"

namespace dpa4 {
namespace {

// y += factor x, and <x, y>, of any length.
template <typename T>
void add(int64_t n, T factor, const T* x, T* y) {
  for (int64_t c = 0; c < n; ++c) y[c] += factor * x[c];
}

template <typename T>
T inner(int64_t n, const T* x, const T* y) {
  constexpr int64_t W = Simd<T>::width;
  Pack<T> total{};
  int64_t c = 0;
  for (; c + W <= n; c += W) total += load(x + c) * load(y + c);
  T rest = sum<T>(total);
  for (; c < n; ++c) rest += x[c] * y[c];
  return rest;
}

// Run f(edge, sums) on all edges; `sums` is `target` (size), or a part of it that is added later.
template <typename T, typename F>
void scatter(const EdgeIndex& pairs, T* target, int64_t size, F f) {
  const int64_t threads = edge_threads(pairs.edges);
  PerThread<T> total(target, size, threads);
  on_threads(int(threads), [&](int t) {
    T* sums = total.begin(t);
    for (int64_t e = pairs.edges * t / threads; e < pairs.edges * (t + 1) / threads; ++e) f(e, sums);
  });
  total.reduce();
}

}  // namespace

template <typename T>
void pair_sum(const EdgeIndex& pairs, const T* x, int64_t K, T sign, T* y) {
  in_parts(pairs.edges, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      const T *i = x + pairs.receiver[e] * K, *j = x + pairs.sender[e] * K;
      for (int64_t c = 0; c < K; ++c) y[e * K + c] = i[c] + sign * j[c];
    }
  });
}

template <typename T>
void pair_scatter(const EdgeIndex& pairs, const T* y, int64_t K, T sign, T* x) {
  scatter(pairs, x, pairs.nodes * K, [=](int64_t e, T* sums) {
    add(K, T(1), y + e * K, sums + pairs.receiver[e] * K);
    add(K, sign, y + e * K, sums + pairs.sender[e] * K);
  });
}

template <typename T>
void pair_dot(const EdgeIndex& pairs, const T* a, const T* b, int64_t B, int64_t w, T* y) {
  in_parts(pairs.edges, 256, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e)
      for (int64_t k = 0; k < B; ++k)
        y[e * B + k] = inner(w, a + (pairs.receiver[e] * B + k) * w, b + (pairs.sender[e] * B + k) * w);
  });
}

template <typename T>
void receiver_sum(const EdgeIndex& pairs, const T* g, const T* b, int64_t B, int64_t w, T* a) {
  const int64_t threads = edge_threads(pairs.edges);
  const std::vector<int64_t> start = divide_edges(pairs, threads);
  on_threads(int(threads), [&](int t) {
    for (int64_t e = start[t]; e < start[t + 1]; ++e)
      for (int64_t k = 0; k < B; ++k)
        add(w, g[e * B + k], b + (pairs.sender[e] * B + k) * w, a + (pairs.receiver[e] * B + k) * w);
  });
}

template <typename T>
void sender_sum(const EdgeIndex& pairs, const T* g, const T* a, int64_t B, int64_t w, T* b) {
  scatter(pairs, b, pairs.nodes * B * w, [=](int64_t e, T* sums) {
    for (int64_t k = 0; k < B; ++k)
      add(w, g[e * B + k], a + (pairs.receiver[e] * B + k) * w, sums + (pairs.sender[e] * B + k) * w);
  });
}

template void pair_sum(const EdgeIndex&, const float*, int64_t, float, float*);
template void pair_scatter(const EdgeIndex&, const float*, int64_t, float, float*);
template void pair_dot(const EdgeIndex&, const float*, const float*, int64_t, int64_t, float*);
template void receiver_sum(const EdgeIndex&, const float*, const float*, int64_t, int64_t, float*);
template void sender_sum(const EdgeIndex&, const float*, const float*, int64_t, int64_t, float*);
template void pair_sum(const EdgeIndex&, const double*, int64_t, double, double*);
template void pair_scatter(const EdgeIndex&, const double*, int64_t, double, double*);
template void pair_dot(const EdgeIndex&, const double*, const double*, int64_t, int64_t, double*);
template void receiver_sum(const EdgeIndex&, const double*, const double*, int64_t, int64_t, double*);
template void sender_sum(const EdgeIndex&, const double*, const double*, int64_t, int64_t, double*);

}  // namespace dpa4
