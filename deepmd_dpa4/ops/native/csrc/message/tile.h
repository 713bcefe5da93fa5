// The edge part of one convolution on a tile of edges: values, tangents and adjoints. Its state stays in cache.
//
//   x = D X_j,  h_0 = mix(k, x),  a = focus shares of the scalars of h_0
//   h_n = layers(h_0)
//   out_i += D^T (w a h_n)
#pragma once

#include "edge_message.h"
#include "focus.h"
#include "layers.h"
#include "rotation.h"

namespace dpa4 {

template <typename T>
class EdgeTile {
 public:
  // `keep` keeps what derivatives need; `tangents` doubles everything.
  EdgeTile(const EdgeLayout& layout, int64_t table_stride, int64_t capacity, bool keep, bool tangents)
      : a_(layout), stride_(table_stride), layers_(layout, capacity, keep, tangents) {
    const int64_t edge = a_.copies * a_.rows * a_.channels, sides = tangents ? 2 : 1;
    memory_ = allocate<T>(sides * 3 * edge + 4 * a_.channels);
    T* next = memory_.get();
    const auto take = [&next](int64_t count) { return std::exchange(next, next + count); };
    for (int64_t s = 0; s < sides; ++s)
      for (T*& scratch : local_[s]) scratch = take(edge);
    for (T*& c : channel_) c = take(a_.channels);
    focus_.resize(a_.shape.focus ? capacity : 0);
    head_.resize(a_.channels);
    for (int64_t c = 0; c < a_.channels; ++c) {
      const int64_t f = c / a_.padded, inside = c % a_.padded, per_head = a_.shape.width / a_.shape.heads;
      head_[c] = f * a_.shape.heads + (inside < a_.shape.width ? inside / per_head : 0);
    }
  }

  // Values (and tangents, if `tangent`) up to the last layer. `kept`, of all edges, may be null: values are left there
  // or, if `known`, are found there.
  template <bool tangent>
  void forward(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, const int64_t* sender, int64_t first, int64_t n,
               T* kept, bool known) {
    layers_.begin(n, kept ? kept + first * a_.kept : nullptr, known);
    for (int64_t e = 0; e < n; ++e) {
      if (tangent || !known) enter<tangent>(in, dot, sender[first + e], first + e, e, known);
      if (a_.shape.focus) share_among_streams<tangent>(in, dot, e);
    }
    layers_.template forward<tangent>(*in.stack, tangent ? dot->stack : nullptr, n);
  }

  // Add D^T (w a h_n), or its tangent, to the rows of the receivers.
  template <bool tangent>
  void leave(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, const int64_t* receiver, int64_t first, int64_t n,
             T* out) {
    for (int64_t e = 0; e < n; ++e) {
      const int64_t edge = first + e;
      const T* table = in.table + edge * stride_;
      T* target = out + receiver[edge] * a_.size * a_.channels;
      layers_.get_output(0, e, local_[0][0]);
      expand_weight<tangent>(in, dot, edge, e);
      if constexpr (!tangent) {
        scale(local_[0][0], channel_[0], local_[0][0]);
        turn_back(a_, table, local_[0][0], target);
      } else {
        layers_.get_output(1, e, local_[1][0]);
        combine(local_[0][0], channel_[1], local_[1][0], channel_[0], local_[1][1]);
        turn_back(a_, table, local_[1][1], target);
        scale(local_[0][0], channel_[0], local_[0][0]);
        turn_back(a_, dot->table + edge * stride_, local_[0][0], target);
      }
    }
  }

  // Adjoints. `adjoint` (receivers, size, C) belongs to the output, or with `tangent` to the tangent of the output.
  template <bool tangent>
  void backward(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, const int64_t* sender, const int64_t* receiver,
                int64_t first, int64_t n, const T* adjoint, const EdgeGradients<T>& out) {
    for (int64_t e = 0; e < n; ++e) start<tangent>(in, dot, receiver[first + e], first + e, e, adjoint, out);
    layers_.template backward<tangent>(*in.stack, tangent ? dot->stack : nullptr, n, out.stack);
    for (int64_t e = 0; e < n; ++e) finish<tangent>(in, dot, sender[first + e], first + e, e, out);
  }

 private:
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

  // Gather, rotate and mix one edge.
  template <bool tangent>
  void enter(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t node, int64_t edge, int64_t e,
             bool known) {
    turned<tangent>(in, dot, node, edge);
    const T* k = in.kernels + edge * a_.kernel;
    if (!known) {
      mix<T, false>(a_, k, local_[0][0], local_[0][1]);
      layers_.set_input(0, e, local_[0][1]);
    }
    if constexpr (tangent) {
      T* yd = local_[1][1];
      mix<T, false>(a_, dot->kernels + edge * a_.kernel, local_[0][0], yd);
      mix<T, true>(a_, k, local_[1][0], yd);
      layers_.set_input(1, e, yd);
    }
  }
  template <bool tangent>
  void share_among_streams(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t e) {
    const T *z[kMaxStreams], *zd[kMaxStreams];
    for (int64_t f = 0; f < a_.shape.streams; ++f) {
      z[f] = layers_.input_scalars(0, f, e);
      if (tangent) zd[f] = layers_.input_scalars(1, f, e);
    }
    focus_[e].forward(a_, z, tangent ? zd : nullptr, in.focus, tangent ? dot->focus : nullptr);
  }
  // local[0] = D X_j for every copy, and its tangent.
  template <bool tangent>
  void turned(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t node, int64_t edge) {
    const int64_t block = a_.size * a_.channels, turned = a_.rows * a_.channels;
    for (int64_t r = 0; r < a_.copies; ++r) {
      const int64_t start = (node * a_.copies + r) * block;
      turn<T, false>(a_, in.table + edge * stride_, in.features + start, local_[0][0] + r * turned);
      if constexpr (tangent) {
        turn<T, false>(a_, in.table + edge * stride_, dot->features + start, local_[1][0] + r * turned);
        turn<T, true>(a_, dot->table + edge * stride_, in.features + start, local_[1][0] + r * turned);
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
    T *q = local_[0][0], *h = local_[0][1], *y = local_[0][2];
    T *products = channel_[2], *products_dot = channel_[3];
    std::memset(products, 0, a_.channels * sizeof(T));
    turn<T, false>(a_, table, g, q);
    layers_.get_output(0, e, h);
    expand_weight<tangent>(in, dot, edge, e);
    if (out.table) std::memset(out.table + edge * stride_, 0, stride_ * sizeof(T));
    if constexpr (!tangent) {
      add_products(h, q, products);
      scale(q, channel_[0], y);
      layers_.set_adjoint(0, e, y);
      if (out.table) {
        scale(h, channel_[0], y);
        turn_table(a_, y, g, out.table + edge * stride_);
      }
    } else {
      T *qd = local_[1][0], *hd = local_[1][1];
      std::memset(products_dot, 0, a_.channels * sizeof(T));
      turn<T, false>(a_, dot->table + edge * stride_, g, qd);
      layers_.get_output(1, e, hd);
      add_products(h, qd, products);
      add_products(hd, q, products);
      add_products(h, q, products_dot);
      combine(q, channel_[1], qd, channel_[0], y);
      layers_.set_adjoint(0, e, y);
      scale(q, channel_[0], y);
      layers_.set_adjoint(1, e, y);
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

  // From the adjoint of h_0 to those of the mixer, the rotation and the sender.
  template <bool tangent>
  void finish(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t node, int64_t edge, int64_t e,
              const EdgeGradients<T>& out) {
    if (a_.shape.focus) finish_focus<tangent>(in, dot, e, out);
    const T *k = in.kernels + edge * a_.kernel, *table = in.table + edge * stride_;
    const int64_t block = a_.size * a_.channels, turned_size = a_.rows * a_.channels;
    T* const* dotted = local_[1];
    T *y = local_[0][1], *xb = local_[0][2];
    layers_.get_adjoint(0, e, y);
    mix_back<T, false>(a_, k, y, xb);
    if constexpr (tangent) {
      layers_.get_adjoint(1, e, dotted[1]);
      mix_back<T, true>(a_, dot->kernels + edge * a_.kernel, dotted[1], xb);
      mix_back<T, false>(a_, k, dotted[1], dotted[2]);
    }
    if (out.kernels) {
      turned<tangent>(in, dot, node, edge);
      T* kb = out.kernels + edge * a_.kernel;
      std::memset(kb, 0, a_.kernel * sizeof(T));
      mix_kernel(a_, local_[0][0], y, kb);
      if constexpr (tangent) mix_kernel(a_, dotted[0], dotted[1], kb);
    }
    for (int64_t r = 0; r < a_.copies; ++r) {
      const int64_t from = (node * a_.copies + r) * block;
      if (out.features) {
        turn_back(a_, table, xb + r * turned_size, out.features + from);
        if constexpr (tangent)
          turn_back(a_, dot->table + edge * stride_, dotted[2] + r * turned_size, out.features + from);
      }
      if (out.table) {
        turn_table(a_, xb + r * turned_size, in.features + from, out.table + edge * stride_);
        if constexpr (tangent)
          turn_table(a_, dotted[2] + r * turned_size, dot->features + from, out.table + edge * stride_);
      }
    }
  }

  template <bool tangent>
  void finish_focus(const EdgeArguments<T>& in, const EdgeArguments<T>* dot, int64_t e, const EdgeGradients<T>& out) {
    const T *z[kMaxStreams], *zd[kMaxStreams];
    T *zb[kMaxStreams], *zdb[kMaxStreams];
    for (int64_t f = 0; f < a_.shape.streams; ++f) {
      z[f] = layers_.input_scalars(0, f, e);
      zb[f] = layers_.adjoint_scalars(0, f, e);
      if constexpr (tangent) {
        zd[f] = layers_.input_scalars(1, f, e);
        zdb[f] = layers_.adjoint_scalars(1, f, e);
      }
    }
    const Focus<T>& focus = focus_[e];
    focus.backward(a_, z, tangent ? zd : nullptr, in.focus, tangent ? dot->focus : nullptr, focus.share, focus.shared,
                   zb, zdb, out.focus);
  }

  const EdgeLayout& a_;
  int64_t stride_;
  EdgeLayers<T> layers_;
  Buffer<T> memory_;
  T* local_[2][3];  // features of one edge and its tangents, (copies, rows, C)
  T* channel_[4];
  T share_adjoint_[kMaxStreams][2];
  std::vector<Focus<T>> focus_;
  std::vector<int64_t> head_;
};

}  // namespace dpa4
