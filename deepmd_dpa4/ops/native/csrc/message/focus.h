// Shares of the focus streams of one edge, and their first and second derivatives.
//
// With scalars z (streams, C) and weights v: l_f = r_f sum_c z_fc v_fc, r = (mean z^2 + 1e-7)^(-1/2) if normalised,
// else 1; share = (1 - s) softmax_f(l) + s / streams. A dot marks the derivative along a tangent, a bar an adjoint.
#pragma once

#include <cmath>

#include "../common/simd.h"
#include "layout.h"

namespace dpa4 {

constexpr double kSmoothing = 0.02;
constexpr double kNormOffset = 1e-7;

template <typename T>
T dot(const T* a, const T* b, int64_t n) {
  Pack<T> total{};
  for (int64_t c = 0; c < n; c += Simd<T>::width) total += load(a + c) * load(b + c);
  return sum<T>(total);
}

template <typename T>
void add_scaled(T* y, T factor, const T* x, int64_t n) {
  for (int64_t c = 0; c < n; c += Simd<T>::width) store(y + c, load(y + c) + factor * load(x + c));
}

template <typename T>
struct Focus {
  int streams;
  T u[kMaxStreams], r[kMaxStreams], a[kMaxStreams], share[kMaxStreams];
  // tangents
  T ud[kMaxStreams], md[kMaxStreams], rd[kMaxStreams], ld[kMaxStreams], shared[kMaxStreams];

  // z[f] and zd[f] are the scalars of stream f and their tangent; zd and vd may be null.
  void forward(const EdgeLayout& e, const T* const* z, const T* const* zd, const T* v, const T* vd) {
    const int64_t C = e.padded;
    const T inverse = T(1) / T(e.shape.width);
    streams = int(e.shape.streams);
    T largest = -INFINITY, l[kMaxStreams];
    for (int f = 0; f < streams; ++f) {
      u[f] = dot(z[f], v + f * C, C);
      r[f] = e.shape.focus_norm ? T(1) / std::sqrt(dot(z[f], z[f], C) * inverse + T(kNormOffset)) : T(1);
      l[f] = u[f] * r[f];
      largest = std::max(largest, l[f]);
    }
    T total = 0;
    for (int f = 0; f < streams; ++f) total += a[f] = std::exp(l[f] - largest);
    for (int f = 0; f < streams; ++f) {
      a[f] /= total;
      share[f] = T(1 - kSmoothing) * a[f] + T(kSmoothing) / T(streams);
    }
    if (!zd) return;
    T mean = 0;
    for (int f = 0; f < streams; ++f) {
      ud[f] = dot(zd[f], v + f * C, C) + (vd ? dot(z[f], vd + f * C, C) : T(0));
      md[f] = e.shape.focus_norm ? 2 * inverse * dot(z[f], zd[f], C) : T(0);
      rd[f] = e.shape.focus_norm ? T(-0.5) * r[f] * r[f] * r[f] * md[f] : T(0);
      ld[f] = ud[f] * r[f] + u[f] * rd[f];
      mean += a[f] * ld[f];
    }
    for (int f = 0; f < streams; ++f) shared[f] = T(1 - kSmoothing) * a[f] * (ld[f] - mean);
  }

  // Adjoints sb of the shares and, with tangents, sdb of their tangents; adds to zb, zdb and vb (null = not wanted).
  void backward(const EdgeLayout& e, const T* const* z, const T* const* zd, const T* v, const T* vd, const T* sb,
                const T* sdb, T* const* zb, T* const* zdb, T* vb) const {
    const int64_t C = e.padded;
    const T inverse = T(1) / T(e.shape.width);
    T ab[kMaxStreams], ldb[kMaxStreams], mean = 0, pulled = 0, weighted = 0;
    for (int f = 0; f < streams; ++f) ab[f] = T(1 - kSmoothing) * sb[f];
    if (zd) {
      for (int f = 0; f < streams; ++f) {
        mean += a[f] * ld[f];
        pulled += a[f] * T(1 - kSmoothing) * sdb[f];
      }
      for (int f = 0; f < streams; ++f) {
        const T adb = T(1 - kSmoothing) * sdb[f];
        ldb[f] = a[f] * (adb - pulled);
        ab[f] += adb * (ld[f] - mean) - ld[f] * pulled;
      }
    }
    for (int f = 0; f < streams; ++f) weighted += a[f] * ab[f];
    for (int f = 0; f < streams; ++f) {
      const T lb = a[f] * (ab[f] - weighted);
      T ub = lb * r[f], rb = lb * u[f], mb = 0, mdb = 0, udb = 0;
      if (zd) {
        udb = ldb[f] * r[f];
        ub += ldb[f] * rd[f];
        rb += ldb[f] * ud[f];
        const T rdb = ldb[f] * u[f];
        if (e.shape.focus_norm) {
          rb += T(-1.5) * r[f] * r[f] * md[f] * rdb;
          mdb = T(-0.5) * r[f] * r[f] * r[f] * rdb;
        }
      }
      if (e.shape.focus_norm) mb = T(-0.5) * r[f] * r[f] * r[f] * rb;
      add_scaled(zb[f], ub, v + f * C, C);
      add_scaled(zb[f], 2 * inverse * mb, z[f], C);
      if (vb) add_scaled(vb + f * C, ub, z[f], C);
      if (!zd) continue;
      add_scaled(zb[f], 2 * inverse * mdb, zd[f], C);
      add_scaled(zdb[f], udb, v + f * C, C);
      add_scaled(zdb[f], 2 * inverse * mdb, z[f], C);
      if (vd) add_scaled(zb[f], udb, vd + f * C, C);
      if (vb) add_scaled(vb + f * C, udb, zd[f], C);
    }
  }
};

}  // namespace dpa4
