// The edge part of one convolution on a tile of edges: values, tangents and adjoints. All state of a tile stays in cache.
//
//   x = D X_j,  h_0 = mix(k, x),  a = focus shares of the scalars of h_0
//   z_i = h_i W_i,  h_{i+1} = h_i + gated(z_i)   (the last layer is linear)
//   out_i += D^T (w a h_n)
//
// Arrays of a tile hold, for each stream and each order, the rows of all its edges: (edges, columns of the order).
#pragma once

#include "edge_focus.h"
#include "edge_layout.h"
#include "edge_rotation.h"
#include "edge_stack.h"
#include "gemm.h"

namespace dpa4 {

// Arguments of the operator, padded to whole vectors; rows of edges contiguous. Unused ones are null.
template <typename T>
struct EdgeArguments {
  const T* features = nullptr;  // (nodes, copies * size, C)
  const T* table = nullptr;     // (edges, table_stride)
  const T* kernels = nullptr;   // (edges, kernel)
  const T* weight = nullptr;    // (edges, streams, heads)
  const T* focus = nullptr;     // (streams, padded)
  const PackedStack<T>* stack = nullptr;
};

// Where gradients go. Those of edges are written, all others are added to.
template <typename T>
struct EdgeGradients {
  T* features = nullptr;
  T* table = nullptr;
  T* kernels = nullptr;
  T* weight = nullptr;
  T* focus = nullptr;
  T* stack = nullptr;  // flat, padded
};

template <typename T>
class EdgeTile {
 public:
  // `keep` keeps every layer, as derivatives need it; `tangents` doubles everything.
  EdgeTile(const EdgeLayout& layout, int64_t table_stride, int64_t capacity, bool keep, bool tangents)
      : a_(layout), stride_(table_stride), T_(capacity), keep_(keep) {
    const int64_t n = a_.shape.layers, state = a_.shape.streams * a_.state * T_, gate = a_.shape.streams * a_.gates * T_;
    const int64_t layers = keep ? n : 1, edge = a_.copies * a_.rows * a_.channels;
    const int64_t sides = tangents ? 2 : 1;
    const int64_t adjoints = keep ? 2 * state + gate : 0;
    memory_ = allocate<T>(sides * (layers * (2 * state + 2 * gate) + adjoints + 3 * edge) + 4 * a_.channels);
    T* at = memory_.get();
    auto take = [&](int64_t count) {
      T* p = at;
      at += count;
      return p;
    };
    for (int64_t s = 0; s < sides; ++s) {
      Side& side = side_[s];
      for (int64_t i = 0; i < n; ++i) {
        const bool fresh = keep || i == 0;
        side.h.push_back(fresh ? take(state) : side.h[0]);
        side.z.push_back(fresh ? take(state) : side.z[0]);
        side.p.push_back(fresh ? take(gate) : side.p[0]);
        side.g.push_back(fresh ? take(gate) : side.g[0]);
      }
      if (keep) {
        side.hb = take(state);
        side.zb = take(state);
        side.pb = take(gate);
      }
      for (T*& scratch : side.local) scratch = take(edge);
    }
    for (T*& c : channel_) c = take(a_.channels);
    focus_.resize(a_.shape.focus ? T_ : 0);
    head_.resize(a_.channels);
    for (int64_t c = 0; c < a_.channels; ++c) {
      const int64_t f = c / a_.padded, inside = c % a_.padded, per_head = a_.shape.width / a_.shape.heads;
      head_[c] = f * a_.shape.heads + (inside < a_.shape.width ? inside / per_head : 0);
    }
  }

  // Values (and tangents, if `tangent`) up to the last layer.
  template <bool tangent>
  void forward(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, const int64_t* sender, int64_t first, int64_t n) {
    for (int64_t e = 0; e < n; ++e) enter<tangent>(in, dot, sender[first + e], first + e, e);
    const int64_t layers = a_.shape.layers;
    for (int64_t i = 0; i < layers; ++i) {
      multiply<false>(n, side_[0].h[i], *in.stack, i, side_[0].z[i]);
      if constexpr (tangent) {
        multiply<false>(n, side_[1].h[i], *in.stack, i, side_[1].z[i]);
        if (dot->stack) multiply<true>(n, side_[0].h[i], *dot->stack, i, side_[1].z[i]);
      }
      if (i + 1 == layers) break;
      gate_logits<false>(n, side_[0].z[i], *in.stack, i, side_[0].p[i]);
      if constexpr (tangent) {
        gate_logits<false>(n, side_[1].z[i], *in.stack, i, side_[1].p[i]);
        if (dot->stack) gate_logits<true>(n, side_[0].z[i], *dot->stack, i, side_[1].p[i]);
      }
      activate<tangent>(n, i, keep_ ? i + 1 : i);
    }
  }

  // Add D^T (w a h_n), or its tangent, to the rows of the receivers.
  template <bool tangent>
  void leave(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, const int64_t* receiver, int64_t first, int64_t n,
             T* out) {
    for (int64_t e = 0; e < n; ++e) {
      const int64_t edge = first + e;
      const T* table = in.table + edge * stride_;
      T* target = out + receiver[edge] * a_.size * a_.channels;
      last_state(side_[0], e, side_[0].local[0]);
      expand_weight<tangent>(in, dot, edge, e);
      if constexpr (!tangent) {
        scale(side_[0].local[0], channel_[0], side_[0].local[0]);
        turn_back(a_, table, side_[0].local[0], target);
      } else {
        last_state(side_[1], e, side_[1].local[0]);
        combine(side_[0].local[0], channel_[1], side_[1].local[0], channel_[0], side_[1].local[1]);
        turn_back(a_, table, side_[1].local[1], target);
        scale(side_[0].local[0], channel_[0], side_[0].local[0]);
        turn_back(a_, dot->table + edge * stride_, side_[0].local[0], target);
      }
    }
  }

  // Adjoints. `adjoint` (receivers, size, C) belongs to the output, or with `tangent` to the tangent of the output.
  template <bool tangent>
  void backward(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, const int64_t* sender, const int64_t* receiver,
                int64_t first, int64_t n, const T* adjoint, const EdgeGradients<T>& out) {
    for (int64_t e = 0; e < n; ++e) start<tangent>(in, dot, receiver[first + e], first + e, e, adjoint, out);
    for (int64_t i = a_.shape.layers - 1; i >= 0; --i) reverse_layer<tangent>(in, dot, i, n, out);
    for (int64_t e = 0; e < n; ++e) finish<tangent>(in, dot, sender[first + e], first + e, e, out);
  }

 private:
  // Values, or tangents.
  struct Side {
    std::vector<T*> h, z, p, g;  // inputs and outputs of each layer, logits of its gates, gates
    T *hb = nullptr, *zb = nullptr, *pb = nullptr;  // adjoints of h, z and p of the current layer
    T* local[3];                                   // features of one edge, (copies, rows, C)
  };

  int64_t at(int64_t f, int64_t m, int64_t e) const {
    return (f * a_.state + a_.group_start[m]) * T_ + e * a_.group[m];
  }
  T* scalars(T* state, int64_t f, int64_t e) const { return state + at(f, 0, e); }

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

  // y = x * factor per channel, for all rows.
  void scale(const T* x, const T* factor, T* y) const {
    for (int64_t q = 0; q < a_.rows; ++q)
      for (int64_t c = 0; c < a_.channels; c += Simd<T>::width)
        store(y + q * a_.channels + c, load(x + q * a_.channels + c) * load(factor + c));
  }
  // y = x * f + x2 * f2.
  void combine(const T* x, const T* f, const T* x2, const T* f2, T* y) const {
    for (int64_t q = 0; q < a_.rows; ++q)
      for (int64_t c = 0; c < a_.channels; c += Simd<T>::width) {
        const int64_t i = q * a_.channels + c;
        store(y + i, load(x + i) * load(f + c) + load(x2 + i) * load(f2 + c));
      }
  }
  // Inner product over rows, for each channel.
  void add_products(const T* x, const T* y, T* total) const {
    for (int64_t q = 0; q < a_.rows; ++q)
      for (int64_t c = 0; c < a_.channels; c += Simd<T>::width) {
        const int64_t i = q * a_.channels + c;
        store(total + c, load(total + c) + load(x + i) * load(y + i));
      }
  }

  template <bool accumulate>
  void multiply(int64_t n, const T* h, const PackedStack<T>& w, int64_t i, T* z) const {
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      for (int64_t m = 0; m <= a_.shape.mmax; ++m) {
        const int64_t K = a_.group[m], start = at(f, m, 0);
        gemm<T, accumulate>(n, K, K, {h + start, K, 1}, w.matrix(i, m, f), K, z + start, K);
      }
  }
  void multiply_back(int64_t n, const T* zb, const PackedStack<T>& w, int64_t i, T* hb) const {
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      for (int64_t m = 0; m <= a_.shape.mmax; ++m) {
        const int64_t K = a_.group[m], start = at(f, m, 0);
        gemm<T, true>(n, K, K, {zb + start, K, 1}, w.matrix_t(i, m, f), K, hb + start, K);
      }
  }
  void weight_gradient(int64_t n, const T* h, const T* zb, const StackLayout& w, int64_t i, T* gradient) const {
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      for (int64_t m = 0; m <= a_.shape.mmax; ++m) {
        const int64_t K = a_.group[m], start = at(f, m, 0);
        gemm<T, true>(K, K, n, {h + start, 1, K}, zb + start, K, gradient + w.matrix(i, m, f), K);
      }
  }
  template <bool accumulate>
  void gate_logits(int64_t n, const T* z, const PackedStack<T>& w, int64_t i, T* p) const {
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      gemm<T, accumulate>(n, a_.gates, a_.padded, {z + at(f, 0, 0), a_.group[0], 1}, w.gate(i, f), a_.gates,
                          p + f * a_.gates * T_, a_.gates);
  }
  void gate_logits_back(int64_t n, const T* pb, const PackedStack<T>& w, int64_t i, T* zb) const {
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      gemm<T, true>(n, a_.padded, a_.gates, {pb + f * a_.gates * T_, a_.gates, 1}, w.gate_t(i, f), a_.padded,
                    zb + at(f, 0, 0), a_.group[0]);
  }
  void gate_gradient(int64_t n, const T* z, const T* pb, const StackLayout& w, int64_t i, T* gradient) const {
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      gemm<T, true>(a_.padded, a_.gates, n, {z + at(f, 0, 0), 1, a_.group[0]}, pb + f * a_.gates * T_, a_.gates,
                    gradient + w.gate(i, f), a_.gates);
  }

  // Gather, rotate and mix one edge.
  template <bool tangent>
  void enter(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t node, int64_t edge, int64_t e) {
    turned<tangent>(in, dot, node, edge);
    const T* k = in.kernels + edge * a_.kernel;
    T* y = side_[0].local[1];
    mix<T, false>(a_, k, side_[0].local[0], y);
    copy_in(y, side_[0].h[0], e);
    if constexpr (tangent) {
      T* yd = side_[1].local[1];
      mix<T, false>(a_, dot->kernels + edge * a_.kernel, side_[0].local[0], yd);
      mix<T, true>(a_, k, side_[1].local[0], yd);
      copy_in(yd, side_[1].h[0], e);
    }
    if (a_.shape.focus) {
      const T *z[kMaxStreams], *zd[kMaxStreams];
      for (int64_t f = 0; f < a_.shape.streams; ++f) {
        z[f] = scalars(side_[0].h[0], f, e);
        if (tangent) zd[f] = scalars(side_[1].h[0], f, e);
      }
      focus_[e].forward(a_, z, tangent ? zd : nullptr, in.focus, tangent ? dot->focus : nullptr);
    }
  }
  // local[0] = D X_j for every copy, and its tangent.
  template <bool tangent>
  void turned(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t node, int64_t edge) {
    const int64_t block = a_.size * a_.channels, turned = a_.rows * a_.channels;
    for (int64_t r = 0; r < a_.copies; ++r) {
      const int64_t start = (node * a_.copies + r) * block;
      turn<T, false>(a_, in.table + edge * stride_, in.features + start, side_[0].local[0] + r * turned);
      if constexpr (tangent) {
        turn<T, false>(a_, in.table + edge * stride_, dot->features + start, side_[1].local[0] + r * turned);
        turn<T, true>(a_, dot->table + edge * stride_, in.features + start, side_[1].local[0] + r * turned);
      }
    }
  }

  template <bool tangent>
  void activate(int64_t n, int64_t i, int64_t next) {
    constexpr int W = Simd<T>::width;
    const int64_t C = a_.padded;
    for (int64_t f = 0; f < a_.shape.streams; ++f)
      for (int64_t e = 0; e < n; ++e) {
        const int64_t gate = (f * T_ + e) * a_.gates, start = at(f, 0, e);
        for (int64_t c = 0; c < C; c += W) {
          const Pack<T> s = load(side_[0].z[i] + start + c), g = sigmoid<T>(s);
          store(side_[0].h[next] + start + c, load(side_[0].h[i] + start + c) + s * g);
          if constexpr (tangent)
            store(side_[1].h[next] + start + c, load(side_[1].h[i] + start + c) +
                                                    load(side_[1].z[i] + start + c) * g * (T(1) + s * (T(1) - g)));
        }
        for (int64_t c = 0; c < a_.gates; c += W) {
          const Pack<T> g = sigmoid<T>(load(side_[0].p[i] + gate + c));
          store(side_[0].g[i] + gate + c, g);
          if constexpr (tangent)
            store(side_[1].g[i] + gate + c, g * (T(1) - g) * load(side_[1].p[i] + gate + c));
        }
        for (int64_t l = 1; l <= a_.shape.lmax; ++l)
          for (const EdgeRow& row : a_.of_degree[l]) {
            const int64_t x = at(f, row.order, e) + row.position * C, y = gate + (l - 1) * C;
            for (int64_t c = 0; c < C; c += W) {
              const Pack<T> z = load(side_[0].z[i] + x + c), g = load(side_[0].g[i] + y + c);
              store(side_[0].h[next] + x + c, load(side_[0].h[i] + x + c) + z * g);
              if constexpr (tangent)
                store(side_[1].h[next] + x + c, load(side_[1].h[i] + x + c) + load(side_[1].z[i] + x + c) * g +
                                                    z * load(side_[1].g[i] + y + c));
            }
          }
      }
  }

  // channel_[0] = w a for every channel, channel_[1] = its tangent.
  template <bool tangent>
  void expand_weight(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t edge, int64_t e) {
    const int64_t H = a_.shape.heads, width = a_.shape.streams * H;
    T value[kMaxStreams * kMaxHeads], slope[kMaxStreams * kMaxHeads];
    for (int64_t i = 0; i < width; ++i) {
      const T w = in.weight[edge * width + i], share = a_.shape.focus ? focus_[e].share[i / H] : T(1);
      value[i] = w * share;
      if constexpr (tangent)
        slope[i] = dot->weight[edge * width + i] * share + (a_.shape.focus ? w * focus_[e].shared[i / H] : T(0));
    }
    spread_heads(value, channel_[0]);
    if constexpr (tangent) spread_heads(slope, channel_[1]);
  }

  void spread_heads(const T* value, T* channel) const {
    if (a_.shape.heads > 1) {
      for (int64_t c = 0; c < a_.channels; ++c) channel[c] = value[head_[c]];
      return;
    }
    for (int64_t c = 0; c < a_.channels; c += Simd<T>::width) store(channel + c, Pack<T>{} + value[head_[c]]);
  }

  // Adjoints of h_n, of the weights and (in part) of the rotation of one edge.
  template <bool tangent>
  void start(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t node, int64_t edge, int64_t e,
             const T* adjoint, const EdgeGradients<T>& out) {
    const T *g = adjoint + node * a_.size * a_.channels, *table = in.table + edge * stride_;
    T *q = side_[0].local[0], *h = side_[0].local[1], *y = side_[0].local[2];
    T *products = channel_[2], *products_dot = channel_[3];
    std::memset(products, 0, a_.channels * sizeof(T));
    turn<T, false>(a_, table, g, q);
    last_state(side_[0], e, h);
    expand_weight<tangent>(in, dot, edge, e);
    if (out.table) std::memset(out.table + edge * stride_, 0, stride_ * sizeof(T));
    if constexpr (!tangent) {
      add_products(h, q, products);
      scale(q, channel_[0], y);
      copy_in(y, side_[0].hb, e);
      if (out.table) {
        scale(h, channel_[0], y);
        turn_table(a_, y, g, out.table + edge * stride_);
      }
    } else {
      T *qd = side_[1].local[0], *hd = side_[1].local[1];
      std::memset(products_dot, 0, a_.channels * sizeof(T));
      turn<T, false>(a_, dot->table + edge * stride_, g, qd);
      last_state(side_[1], e, hd);
      add_products(h, qd, products);
      add_products(hd, q, products);
      add_products(h, q, products_dot);
      combine(q, channel_[1], qd, channel_[0], y);
      copy_in(y, side_[0].hb, e);
      scale(q, channel_[0], y);
      copy_in(y, side_[1].hb, e);
      if (out.table) {
        combine(h, channel_[1], hd, channel_[0], y);
        turn_table(a_, y, g, out.table + edge * stride_);
      }
    }
    weight_adjoints<tangent>(in, dot, edge, e, out);
  }

  // Sums over the channels of each head; the padding holds zeros.
  void sum_heads(const T* products, T* total) const {
    const int64_t H = a_.shape.heads;
    for (int64_t f = 0; f < a_.shape.streams; ++f) {
      const T* p = products + f * a_.padded;
      if (H == 1) {
        Pack<T> whole{};
        for (int64_t c = 0; c < a_.padded; c += Simd<T>::width) whole += load(p + c);
        total[f] = sum<T>(whole);
      } else {
        for (int64_t c = 0; c < a_.shape.width; ++c) total[head_[f * a_.padded + c]] += p[c];
      }
    }
  }

  template <bool tangent>
  void weight_adjoints(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t edge, int64_t e,
                       const EdgeGradients<T>& out) {
    const int64_t H = a_.shape.heads, width = a_.shape.streams * H;
    T wb[kMaxStreams * kMaxHeads] = {}, wdb[kMaxStreams * kMaxHeads] = {};
    sum_heads(channel_[2], wb);
    if constexpr (tangent) sum_heads(channel_[3], wdb);
    if (a_.shape.focus) {
      Focus<T>& focus = focus_[e];
      for (int64_t f = 0; f < a_.shape.streams; ++f) share_adjoint_[f][0] = share_adjoint_[f][1] = T(0);
      for (int64_t i = 0; i < width; ++i) {
        const int64_t f = i / H;
        share_adjoint_[f][0] += wb[i] * in.weight[edge * width + i];
        wb[i] *= focus.share[f];
        if constexpr (tangent) {
          share_adjoint_[f][0] += wdb[i] * dot->weight[edge * width + i];
          share_adjoint_[f][1] += wdb[i] * in.weight[edge * width + i];
          wb[i] += wdb[i] * focus.shared[f];
        }
      }
      // the recomputation of the shares is not needed again, so their places keep the adjoints until the end
      for (int64_t f = 0; f < a_.shape.streams; ++f) {
        focus.share[f] = share_adjoint_[f][0];
        focus.shared[f] = share_adjoint_[f][1];
      }
    }
    if (out.weight)
      for (int64_t i = 0; i < width; ++i) out.weight[edge * width + i] = wb[i];
  }

  template <bool tangent>
  void reverse_layer(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t i, int64_t n,
                     const EdgeGradients<T>& out) {
    const bool last = i + 1 == a_.shape.layers;
    const int64_t state = a_.shape.streams * a_.state * T_;
    const StackLayout& layout = in.stack->layout;
    if (last) {
      // linear: the adjoint of z is that of h_n; a copy, because the adjoint of h is updated in place
      std::memcpy(side_[0].zb, side_[0].hb, state * sizeof(T));
      if constexpr (tangent) std::memcpy(side_[1].zb, side_[1].hb, state * sizeof(T));
    } else {
      reverse_gate<tangent>(n, i);
      gate_logits_back(n, side_[0].pb, *in.stack, i, side_[0].zb);
      if (out.stack) gate_gradient(n, side_[0].z[i], side_[0].pb, layout, i, out.stack);
      if constexpr (tangent) {
        gate_logits_back(n, side_[1].pb, *in.stack, i, side_[1].zb);
        if (dot->stack) gate_logits_back(n, side_[1].pb, *dot->stack, i, side_[0].zb);
        if (out.stack) gate_gradient(n, side_[1].z[i], side_[1].pb, layout, i, out.stack);
      }
    }
    multiply_back(n, side_[0].zb, *in.stack, i, side_[0].hb);
    if (out.stack) weight_gradient(n, side_[0].h[i], side_[0].zb, layout, i, out.stack);
    if constexpr (tangent) {
      multiply_back(n, side_[1].zb, *in.stack, i, side_[1].hb);
      if (dot->stack) multiply_back(n, side_[1].zb, *dot->stack, i, side_[0].hb);
      if (out.stack) weight_gradient(n, side_[1].h[i], side_[1].zb, layout, i, out.stack);
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
          const Pack<T> s = load(side_[0].z[i] + start + c), g = sigmoid<T>(s), rest = g * (T(1) - g);
          const Pack<T> first = g + s * rest;
          Pack<T> value = load(side_[0].hb + start + c) * first;
          if constexpr (tangent) {
            const Pack<T> adjoint = load(side_[1].hb + start + c);
            const Pack<T> second = rest * (T(2) + s * (T(1) - T(2) * g));
            value += adjoint * second * load(side_[1].z[i] + start + c);
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

  // From the adjoint of h_0 to those of the mixer, the rotation and the sender.
  template <bool tangent>
  void finish(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t node, int64_t edge, int64_t e,
              const EdgeGradients<T>& out) {
    if (a_.shape.focus) finish_focus<tangent>(in, dot, e, out);
    const T *k = in.kernels + edge * a_.kernel, *table = in.table + edge * stride_;
    const int64_t block = a_.size * a_.channels, turned_size = a_.rows * a_.channels;
    Side &p = side_[0], &t = side_[1];
    T *y = p.local[1], *xb = p.local[2];
    copy_out(p.hb, e, y);
    mix_back<T, false>(a_, k, y, xb);
    if constexpr (tangent) {
      copy_out(t.hb, e, t.local[1]);
      mix_back<T, true>(a_, dot->kernels + edge * a_.kernel, t.local[1], xb);
      mix_back<T, false>(a_, k, t.local[1], t.local[2]);
    }
    if (out.kernels) {
      turned<tangent>(in, dot, node, edge);
      T* kb = out.kernels + edge * a_.kernel;
      std::memset(kb, 0, a_.kernel * sizeof(T));
      mix_kernel(a_, p.local[0], y, kb);
      if constexpr (tangent) mix_kernel(a_, t.local[0], t.local[1], kb);
    }
    for (int64_t r = 0; r < a_.copies; ++r) {
      const int64_t from = (node * a_.copies + r) * block;
      if (out.features) {
        turn_back(a_, table, xb + r * turned_size, out.features + from);
        if constexpr (tangent)
          turn_back(a_, dot->table + edge * stride_, t.local[2] + r * turned_size, out.features + from);
      }
      if (out.table) {
        turn_table(a_, xb + r * turned_size, in.features + from, out.table + edge * stride_);
        if constexpr (tangent)
          turn_table(a_, t.local[2] + r * turned_size, dot->features + from, out.table + edge * stride_);
      }
    }
  }

  template <bool tangent>
  void finish_focus(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t e, const EdgeGradients<T>& out) {
    const T *z[kMaxStreams], *zd[kMaxStreams];
    T *zb[kMaxStreams], *zdb[kMaxStreams];
    for (int64_t f = 0; f < a_.shape.streams; ++f) {
      z[f] = scalars(side_[0].h[0], f, e);
      zb[f] = scalars(side_[0].hb, f, e);
      if constexpr (tangent) {
        zd[f] = scalars(side_[1].h[0], f, e);
        zdb[f] = scalars(side_[1].hb, f, e);
      }
    }
    const Focus<T>& focus = focus_[e];
    focus.backward(a_, z, tangent ? zd : nullptr, in.focus, tangent ? dot->focus : nullptr, focus.share, focus.shared, zb,
                   zdb, out.focus);
  }

  const EdgeLayout& a_;
  int64_t stride_, T_;
  bool keep_;
  Buffer<T> memory_;
  Side side_[2];
  T* channel_[4];
  T share_adjoint_[kMaxStreams][2];
  std::vector<Focus<T>> focus_;
  std::vector<int64_t> head_;
};

}  // namespace dpa4
