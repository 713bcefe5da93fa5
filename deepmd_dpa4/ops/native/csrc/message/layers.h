// The SO(2) layers of one convolution on a tile of edges: values, tangents and adjoints.
//
//   z_i = h_i W_i,  h_{i+1} = h_i + gated(z_i)   (the last layer is linear)
//
// Arrays hold, for each stream and each order, the rows of all edges of the tile: (edges, columns of the order).
// Values that a later pass reads again, h_0, every z_i and every gate, can stand in memory of the caller; the other
// states follow from them without a product.
#pragma once

#include "../dense/gemm.h"
#include "layout.h"
#include "stack.h"

namespace dpa4 {

// Everything comes in two sides: 0 for values, 1 for their tangents.
template <typename T>
class EdgeLayers {
 public:
  // `keep` keeps every layer, as derivatives need it, in memory of its own; else a layer replaces the one before.
  // `tangents` makes the second side.
  EdgeLayers(const EdgeLayout& layout, int64_t capacity, bool keep, bool tangents) : a_(layout), T_(capacity) {
    const int64_t n = a_.shape.layers, state = a_.shape.streams * a_.state * capacity,
                  gate = a_.shape.streams * a_.gates * capacity;
    const int64_t sides = tangents ? 2 : 1, adjoints = keep ? 2 * state + gate : 0;
    // no complex matrix is larger than that of m = 1
    const int64_t half = a_.shape.mmax > 0 ? a_.group[1] / 2 * T_ : 0;
    memory_ = allocate<T>(sides * ((keep ? n : 1) * (2 * state + 2 * gate) + adjoints) + 3 * half);
    T* next = memory_.get();
    const auto take = [&next](int64_t count) { return std::exchange(next, next + count); };
    for (T*& scratch : scratch_) scratch = take(half);
    for (int64_t s = 0; s < sides; ++s) {
      Side& side = side_[s];
      for (int64_t i = 0; i < n; ++i) {
        const bool fresh = keep || i == 0;
        side.h.push_back(fresh ? take(state) : side.h[0]);
        side.z.push_back(fresh ? take(state) : side.z[0]);
        side.p.push_back(fresh ? take(gate) : side.p[0]);
        side.g.push_back(fresh ? take(gate) : side.g[0]);
      }
      if (!keep) continue;
      side.hb = take(state);
      side.zb = take(state);
      side.pb = take(gate);
    }
  }

  // Take n edges. Their values are made in `kept`, of n * layout.kept numbers, unless it is null; if `known`, they
  // stand there already.
  void begin(int64_t n, T* kept, bool known) {
    T_ = n;
    known_ = known;
    if (!kept) return;
    const int64_t state = a_.shape.streams * a_.state * n, gate = a_.shape.streams * a_.gates * n;
    const auto take = [&kept](int64_t count) { return std::exchange(kept, kept + count); };
    side_[0].h[0] = take(state);
    for (T*& z : side_[0].z) z = take(state);
    for (int64_t i = 0; i + 1 < a_.shape.layers; ++i) side_[0].g[i] = take(gate);
  }

  // h_0 of edge e from its rows `local` (rows, C).
  void set_input(int side, int64_t e, const T* local) { copy_in(local, side_[side].h[0], e); }
  // h_n of edge e.
  void get_output(int side, int64_t e, T* local) const { last_state(side_[side], e, local); }
  // Adjoint of h_n, replaced by that of h_0 in the backward pass.
  void set_adjoint(int side, int64_t e, const T* local) { copy_in(local, side_[side].hb, e); }
  void get_adjoint(int side, int64_t e, T* local) const { copy_out(side_[side].hb, e, local); }
  // Scalars of h_0 and of its adjoint.
  T* input_scalars(int side, int64_t f, int64_t e) const { return side_[side].h[0] + at(f, 0, e); }
  T* adjoint_scalars(int side, int64_t f, int64_t e) const { return side_[side].hb + at(f, 0, e); }

  // Values of n edges, and with `tangent` their tangents along those of the inputs and, if any, along `dot`.
  template <bool tangent>
  void forward(const PackedStack<T>& stack, const PackedStack<T>* dot, int64_t n) {
    const int64_t layers = a_.shape.layers;
    for (int64_t i = 0; i < layers; ++i) {
      if (!known_) multiply<false>(n, side_[0].h[i], stack.layout, stack.plain, i, side_[0].z[i]);
      if constexpr (tangent) {
        multiply<false>(n, side_[1].h[i], stack.layout, stack.plain, i, side_[1].z[i]);
        if (dot) multiply<true>(n, side_[0].h[i], dot->layout, dot->plain, i, side_[1].z[i]);
      }
      if (i + 1 == layers) break;
      if (!known_) gate_logits<false>(n, side_[0].z[i], stack, i, side_[0].p[i]);
      if constexpr (tangent) {
        gate_logits<false>(n, side_[1].z[i], stack, i, side_[1].p[i]);
        if (dot) gate_logits<true>(n, side_[0].z[i], *dot, i, side_[1].p[i]);
      }
      activate<tangent>(n, i);
    }
  }

  // Adjoints of h_0 from those of h_n; that of the stack is added to `gradient`, packed, unless it is null.
  template <bool tangent>
  void backward(const PackedStack<T>& stack, const PackedStack<T>* dot, int64_t n, T* gradient) {
    for (int64_t i = a_.shape.layers - 1; i >= 0; --i) reverse_layer<tangent>(stack, dot, i, n, gradient);
  }

 private:
  struct Side {
    std::vector<T*> h, z, p, g;                     // inputs and outputs of each layer, logits of its gates, gates
    T *hb = nullptr, *zb = nullptr, *pb = nullptr;  // adjoints of h, z and p of the current layer
  };

  int64_t at(int64_t f, int64_t m, int64_t e) const {
    return (f * a_.state + a_.group_start[m]) * T_ + e * a_.group[m];
  }

  // Call op(pointer into the tile, pointer into the edge) for every run of `padded` channels.
  template <typename F>
  void each_row(int64_t e, F op) const {
    for (int64_t l = 0; l <= a_.shape.lmax; ++l)
      for (const EdgeRow& row : a_.of_degree[l])
        for (int64_t f = 0; f < a_.shape.streams; ++f)
          op(at(f, row.order, e) + row.position * a_.padded, row.local * a_.channels + f * a_.padded);
  }
  void copy_in(const T* local, T* state, int64_t e) const {
    each_row(e, [&](int64_t tile, int64_t edge) {
      for (int64_t c = 0; c < a_.padded; c += Simd<T>::width) store(state + tile + c, load(local + edge + c));
    });
  }
  void copy_out(const T* state, int64_t e, T* local) const {
    each_row(e, [&](int64_t tile, int64_t edge) {
      for (int64_t c = 0; c < a_.padded; c += Simd<T>::width) store(local + edge + c, load(state + tile + c));
    });
  }
  // h_n = h + z of the last layer.
  void last_state(const Side& s, int64_t e, T* local) const {
    const T *h = s.h.back(), *z = s.z.back();
    each_row(e, [&](int64_t tile, int64_t edge) {
      for (int64_t c = 0; c < a_.padded; c += Simd<T>::width)
        store(local + edge + c, load(h + tile + c) + load(z + tile + c));
    });
  }

  // y = x W, or y += x W, with the weights of layer i from a packed stack or its adjoint.
  template <bool accumulate>
  void multiply(int64_t n, const T* x, const StackLayout& layout, const Buffer<T>& packed, int64_t i, T* y) const {
    each_matrix([&](int64_t f, int64_t m, int64_t K, int64_t start) {
      const T* w = packed.get() + layout.matrix(i, m, f);
      if (m == 0)
        gemm<T>(accumulate, n, K, K, {x + start, K, 1}, w, K, y + start, K);
      else
        complex_product<accumulate>(n, K / 2, x + start, w, y + start);
    });
  }
  void weight_gradient(int64_t n, const T* h, const T* zb, const StackLayout& w, int64_t i, T* gradient) const {
    each_matrix([&](int64_t f, int64_t m, int64_t K, int64_t start) {
      if (m == 0)
        gemm<T>(true, K, K, n, {h + start, 1, K}, zb + start, K, gradient + w.matrix(i, m, f), K);
      else
        complex_gradient(n, K / 2, h + start, zb + start, gradient + w.matrix(i, m, f));
    });
  }
  // Call op(stream, order, columns, start in the tile).
  template <typename F>
  void each_matrix(F op) const {
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      for (int64_t m = 0; m <= a_.shape.mmax; ++m) op(f, m, a_.group[m], at(f, m, 0));
  }

  // Rows (x, y) of 2K columns times a packed complex matrix.
  template <bool accumulate>
  void complex_product(int64_t n, int64_t K, const T* h, const T* w, T* z) const {
    constexpr int W = Simd<T>::width;
    T *total = scratch_[0], *k = scratch_[1];
    for (int64_t e = 0; e < n; ++e)
      for (int64_t c = 0; c < K; c += W)
        store(total + e * K + c, load(h + 2 * e * K + c) + load(h + (2 * e + 1) * K + c));
    gemm<T>(false, n, K, K, {total, K, 1}, w, K, k, K);
    for (int64_t e = 0; e < n; ++e)
      for (int64_t c = 0; c < K; c += W) {
        T *x = z + 2 * e * K + c, *y = x + K;
        const Pack<T> both = load(k + e * K + c);
        store(x, accumulate ? load(x) + both : both);
        store(y, accumulate ? load(y) + both : both);
      }
    gemm<T>(true, n, K, K, {h + K, 2 * K, 1}, w + K * K, K, z, 2 * K);
    gemm<T>(true, n, K, K, {h, 2 * K, 1}, w + 2 * K * K, K, z + K, 2 * K);
  }
  // The three sums of `unpack_gradient`.
  void complex_gradient(int64_t n, int64_t K, const T* h, const T* zb, T* gradient) const {
    constexpr int W = Simd<T>::width;
    T *input = scratch_[0], *total = scratch_[1], *difference = scratch_[2];
    for (int64_t e = 0; e < n; ++e)
      for (int64_t q = 0; q < K; q += W) {
        const T *x = h + 2 * e * K + q, *c = zb + 2 * e * K + q;
        store(input + e * K + q, load(x) - load(x + K));
        store(total + e * K + q, load(c) + load(c + K));
        store(difference + e * K + q, load(c + K) - load(c));
      }
    gemm<T>(true, K, K, n, {input, 1, K}, zb, 2 * K, gradient, K);
    gemm<T>(true, K, K, n, {h + K, 1, 2 * K}, total, K, gradient + K * K, K);
    gemm<T>(true, K, K, n, {h, 1, 2 * K}, difference, K, gradient + 2 * K * K, K);
  }

  template <bool accumulate>
  void gate_logits(int64_t n, const T* z, const PackedStack<T>& w, int64_t i, T* p) const {
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      gemm<T>(accumulate, n, a_.gates, a_.padded, {z + at(f, 0, 0), a_.group[0], 1}, w.gate(i, f), a_.gates,
              p + f * a_.gates * T_, a_.gates);
  }
  void gate_logits_back(int64_t n, const T* pb, const PackedStack<T>& w, int64_t i, T* zb) const {
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      gemm<T>(true, n, a_.padded, a_.gates, {pb + f * a_.gates * T_, a_.gates, 1}, w.gate_t(i, f), a_.padded,
              zb + at(f, 0, 0), a_.group[0]);
  }
  void gate_gradient(int64_t n, const T* z, const T* pb, const StackLayout& w, int64_t i, T* gradient) const {
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      gemm<T>(true, a_.padded, a_.gates, n, {z + at(f, 0, 0), 1, a_.group[0]}, pb + f * a_.gates * T_, a_.gates,
              gradient + w.gate(i, f), a_.gates);
  }

  template <bool tangent>
  void activate(int64_t n, int64_t i) {
    constexpr int W = Simd<T>::width;
    const int64_t C = a_.padded;
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      for (int64_t e = 0; e < n; ++e) {
        const int64_t gate = (f * T_ + e) * a_.gates, start = at(f, 0, e);
        for (int64_t c = 0; c < C; c += W) {
          const Pack<T> s = load(side_[0].z[i] + start + c), g = sigmoid<T>(s);
          store(side_[0].h[i + 1] + start + c, load(side_[0].h[i] + start + c) + s * g);
          if constexpr (tangent)
            store(side_[1].h[i + 1] + start + c,
                  load(side_[1].h[i] + start + c) + load(side_[1].z[i] + start + c) * silu_slope<T>(s, g));
        }
        for (int64_t c = 0; c < a_.gates; c += W) {
          if (!known_) store(side_[0].g[i] + gate + c, sigmoid<T>(load(side_[0].p[i] + gate + c)));
          const Pack<T> g = load(side_[0].g[i] + gate + c);
          if constexpr (tangent) store(side_[1].g[i] + gate + c, g * (T(1) - g) * load(side_[1].p[i] + gate + c));
        }
        for (int64_t l = 1; l <= a_.shape.lmax; ++l)
          for (const EdgeRow& row : a_.of_degree[l]) {
            const int64_t x = at(f, row.order, e) + row.position * C, y = gate + (l - 1) * C;
            for (int64_t c = 0; c < C; c += W) {
              const Pack<T> z = load(side_[0].z[i] + x + c), g = load(side_[0].g[i] + y + c);
              store(side_[0].h[i + 1] + x + c, load(side_[0].h[i] + x + c) + z * g);
              if constexpr (tangent)
                store(side_[1].h[i + 1] + x + c,
                      load(side_[1].h[i] + x + c) + load(side_[1].z[i] + x + c) * g + z * load(side_[1].g[i] + y + c));
            }
          }
      }
  }

  template <bool tangent>
  void reverse_layer(const PackedStack<T>& stack, const PackedStack<T>* dot, int64_t i, int64_t n, T* gradient) {
    const bool last = i + 1 == a_.shape.layers;
    const int64_t state = a_.shape.streams * a_.state * T_;
    const StackLayout& layout = stack.layout;
    if (last) {
      // linear: the adjoint of z is that of h_n; a copy, because the adjoint of h is updated in place
      std::memcpy(side_[0].zb, side_[0].hb, state * sizeof(T));
      if constexpr (tangent) std::memcpy(side_[1].zb, side_[1].hb, state * sizeof(T));
    } else {
      reverse_gate<tangent>(n, i);
      gate_logits_back(n, side_[0].pb, stack, i, side_[0].zb);
      if (gradient) gate_gradient(n, side_[0].z[i], side_[0].pb, layout, i, gradient);
      if constexpr (tangent) {
        gate_logits_back(n, side_[1].pb, stack, i, side_[1].zb);
        if (dot) gate_logits_back(n, side_[1].pb, *dot, i, side_[0].zb);
        if (gradient) gate_gradient(n, side_[1].z[i], side_[1].pb, layout, i, gradient);
      }
    }
    multiply<true>(n, side_[0].zb, layout, stack.adjoint, i, side_[0].hb);
    if (gradient) weight_gradient(n, side_[0].h[i], side_[0].zb, layout, i, gradient);
    if constexpr (tangent) {
      multiply<true>(n, side_[1].zb, layout, stack.adjoint, i, side_[1].hb);
      if (dot) multiply<true>(n, side_[1].zb, layout, dot->adjoint, i, side_[0].hb);
      if (gradient) weight_gradient(n, side_[1].h[i], side_[1].zb, layout, i, gradient);
    }
  }

  // Adjoints of z and of the logits of the gates from those of h_{i+1}; the part of z behind the logits comes later.
  template <bool tangent>
  void reverse_gate(int64_t n, int64_t i) {
    constexpr int W = Simd<T>::width;
    const int64_t C = a_.padded;
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      for (int64_t e = 0; e < n; ++e) {
        const int64_t gate = (f * T_ + e) * a_.gates, start = at(f, 0, e);
        for (int64_t c = 0; c < C; c += W) {
          const Pack<T> s = load(side_[0].z[i] + start + c), g = sigmoid<T>(s), first = silu_slope<T>(s, g);
          Pack<T> value = load(side_[0].hb + start + c) * first;
          if constexpr (tangent) {
            const Pack<T> adjoint = load(side_[1].hb + start + c);
            value += adjoint * silu_curvature<T>(s, g) * load(side_[1].z[i] + start + c);
            store(side_[1].zb + start + c, adjoint * first);
          }
          store(side_[0].zb + start + c, value);
        }
        for (int64_t l = 1; l <= a_.shape.lmax; ++l)
          for (int64_t c = 0; c < C; c += W) {
            const int64_t y = gate + (l - 1) * C + c;
            const Pack<T> g = load(side_[0].g[i] + y);
            const Pack<T> gd = tangent ? load(side_[tangent].g[i] + y) : Pack<T>{};
            Pack<T> gb{}, gdb{};
            for (const EdgeRow& row : a_.of_degree[l]) {
              const int64_t x = at(f, row.order, e) + row.position * C + c;
              const Pack<T> hb = load(side_[0].hb + x), z = load(side_[0].z[i] + x);
              Pack<T> zb = hb * g;
              gb += hb * z;
              if constexpr (tangent) {
                const Pack<T> hdb = load(side_[1].hb + x);
                zb += hdb * gd;
                gb += hdb * load(side_[1].z[i] + x);
                gdb += hdb * z;
                store(side_[1].zb + x, hdb * g);
              }
              store(side_[0].zb + x, zb);
            }
            const Pack<T> slope = g * (T(1) - g);
            if constexpr (tangent) {
              store(side_[1].pb + y, gdb * slope);
              store(side_[0].pb + y, gb * slope + gdb * slope * (T(1) - T(2) * g) * load(side_[1].p[i] + y));
            } else {
              store(side_[0].pb + y, gb * slope);
            }
          }
      }
  }

  const EdgeLayout& a_;
  int64_t T_;  // edges of the tile
  bool known_ = false;
  Buffer<T> memory_;
  Side side_[2];
  T* scratch_[3];
};

}  // namespace dpa4
