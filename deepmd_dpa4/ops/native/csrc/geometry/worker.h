// The edge geometry on rows of memory: packs of edges, divided among threads.
#pragma once

#include "../common/parallel.h"
#include "edge_geometry.h"
#include "geometry.h"

namespace dpa4 {

// One thread's evaluation of packs of edges. On dual numbers the vectors move along a direction and all results are
// derivatives along it.
template <typename T, bool dual>
class GeometryWorker {
 public:
  using N = Number<T, dual>;
  static constexpr int64_t W = Simd<T>::width;

  explicit GeometryWorker(const GeometryPlan<T>& constants)
      : plan(constants), columns{1, 1, 4, plan.zonal, plan.entries}, table(allocate<N>(2 * plan.entries)),
        scratch(allocate<T>((6 + plan.zonal + plan.entries) * W)), edge(plan, table.get(), table.get() + plan.entries) {
  }

  // Choose the edges [begin, begin + count), a pack at most.
  void evaluate(const T* vector, const T* direction, int64_t begin, int64_t count) {
    first = begin;
    lanes = count;
    T packs[3 * W], tangents[3 * W];
    read_rows(vector + 3 * first, 3, lanes, packs);
    if constexpr (dual) read_rows(direction + 3 * first, 3, lanes, tangents);
    N v[3];
    for (int a = 0; a < 3; ++a) {
      v[a].value = load(packs + a * W);
      if constexpr (dual) v[a].tangent = load(tangents + a * W);
    }
    edge.evaluate(v);
  }

  void write(const GeometryRows<T>& outputs) {
    T* out = scratch.get();
    const auto put = [&](const N& x) {
      store(out, result(x));
      out += W;
    };
    put(edge.distance);
    put(edge.weight);
    put(edge.strength);
    for (int a = 0; a < 3; ++a) put(edge.strength * edge.u[a]);
    for (int64_t l = 1; l <= plan.lmax; ++l)
      for (int64_t k = 0; k < 2 * l + 1; ++k) put(edge.zonal(l, k));
    for (int64_t k = 0; k < plan.entries; ++k) put(edge.compact(k));
    const T* in = scratch.get();
    for (int k = 0; k < kGeometryOutputs; in += columns[k++] * W)
      write_rows(in, columns[k], lanes, outputs[k] + first * columns[k]);
  }

  void pull_back(const GeometryRows<const T>& cotangents, T* vector_bar) {
    GeometryRows<const T> bar;
    T* out = scratch.get();
    for (int k = 0; k < kGeometryOutputs; out += columns[k++] * W) {
      bar[k] = out;
      if (cotangents[k] != nullptr)
        read_rows(cotangents[k] + first * columns[k], columns[k], lanes, out);
      else
        std::fill(out, out + columns[k] * W, T(0));
    }
    N v_bar[3];
    edge.pull_back({bar[0], bar[1], bar[2], bar[3], bar[4]}, v_bar);
    T packs[3 * W];
    for (int a = 0; a < 3; ++a) store(packs + a * W, result(v_bar[a]));
    write_rows(packs, 3, lanes, vector_bar + 3 * first);
  }

 private:
  const GeometryPlan<T>& plan;
  const std::array<int64_t, kGeometryOutputs> columns;
  Buffer<N> table;
  Buffer<T> scratch;
  EdgeGeometry<T, N> edge;
  int64_t first = 0, lanes = 0;

  static Pack<T> result(const N& x) {
    if constexpr (dual)
      return x.tangent;
    else
      return x.value;
  }
};

// Run f(worker) over packs of edges, each after its evaluation.
template <typename T, bool dual, typename F>
void over_packs(int64_t n_edges, const GeometryPlan<T>& plan, const T* vector, const T* direction, F f) {
  constexpr int64_t W = Simd<T>::width, grain = 8;
  in_parts((n_edges + W - 1) / W, grain, [&](int64_t begin, int64_t end) {
    GeometryWorker<T, dual> worker(plan);
    for (int64_t p = begin; p < end; ++p) {
      worker.evaluate(vector, direction, p * W, std::min(W, n_edges - p * W));
      f(worker);
    }
  });
}

}  // namespace dpa4
