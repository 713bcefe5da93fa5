// Geometry of a pack of edges as a function of their vectors, with its vector-Jacobian product, written once for plain
// numbers and for dual numbers. The product evaluated on dual numbers yields second derivatives.
#pragma once

#include "envelope.h"
#include "plan.h"

namespace dpa4 {

// Cotangents of a pack of edges, one pack for each column; zero where there is none.
template <typename T>
struct GeometryCotangent {
  const T *distance, *weight, *environment, *zonal, *compact;
};

// The evaluation on numbers N. `table` holds the polarised forms t (deepmd_dpa4/so3/wigner.py) without their scale.
template <typename T, typename N>
class EdgeGeometry {
 public:
  N distance, weight, strength, u[3];

  EdgeGeometry(const GeometryPlan<T>& constants, N* table_scratch, N* cotangent_scratch)
      : plan(constants), envelope(constants.exponent), t(table_scratch), t_bar(cotangent_scratch) {}

  N zonal(int64_t l, int64_t k) const {
    const N s = t[plan.start[l][0] + k];
    return plan.weighted ? weight * s : s;
  }

  N compact(int64_t k) const { return pack(plan.scale[k]) * t[k]; }

  void evaluate(const N (&v)[3]) {
    distance = root(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + constant<N>(plan.eps2));
    inverse = reciprocal(distance);
    for (int a = 0; a < 3; ++a) u[a] = v[a] * inverse;
    weight = envelope.value(reduced());
    strength = weight * inverse;
    make_frame();
    t[0] = constant<N>(1);
    for (int64_t l = 1; l <= plan.lmax; ++l) {
      raise_zonal(l);
      for (int64_t m = 1; m <= std::min(plan.mmax, l); ++m) m == 1 ? raise_first(l) : raise_order(l, m);
    }
  }

  // Product of the cotangents with the Jacobian, after `evaluate`.
  void pull_back(const GeometryCotangent<T>& bar, N (&v_bar)[3]) {
    N weight_bar = constant<N>(load(bar.weight)), distance_bar = constant<N>(load(bar.distance));
    for (int a = 0; a < 3; ++a) u_bar[a] = e1_bar[a] = e2_bar[a] = constant<N>(0);
    seed_table(bar, weight_bar);
    for (int64_t l = plan.lmax; l > 0; --l) {
      for (int64_t m = std::min(plan.mmax, l); m > 0; --m) m == 1 ? lower_first(l) : lower_order(l, m);
      lower_zonal(l);
    }
    N strength_bar = constant<N>(load(bar.environment));
    for (int a = 0; a < 3; ++a) {
      const Pack<T> moment_bar = load(bar.environment + (1 + a) * Simd<T>::width);
      strength_bar = strength_bar + moment_bar * u[a];
      u_bar[a] = u_bar[a] + moment_bar * strength;
    }
    pull_back_frame();
    weight_bar = weight_bar + strength_bar * inverse;
    distance_bar = distance_bar - strength_bar * strength * inverse;
    distance_bar = distance_bar + pack(T(1) / plan.rcut) * (weight_bar * envelope.slope(reduced()));
    const N along = u_bar[0] * u[0] + u_bar[1] * u[1] + u_bar[2] * u[2];
    for (int a = 0; a < 3; ++a) v_bar[a] = inverse * u_bar[a] + (distance_bar - inverse * along) * u[a];
  }

 private:
  const GeometryPlan<T>& plan;
  Envelope<T> envelope;
  N *t, *t_bar;
  N inverse, a, e1[3], e2[3], u_bar[3], e1_bar[3], e2_bar[3];
  Pack<T> sign;

  N reduced() const { return pack(T(1) / plan.rcut) * distance; }

  // Rows of the frame, regular at one pole each (deepmd_dpa4/so3/frame.py).
  void make_frame() {
    sign = value_of(u[2]) < T(0) ? pack(T(-1)) : pack(T(1));
    a = reciprocal(constant<N>(1) + sign * u[2]);
    const N mixed = -(u[0] * u[1] * a);
    e1[0] = sign * (constant<N>(1) - a * u[0] * u[0]);
    e1[1] = sign * mixed;
    e1[2] = -u[0];
    e2[0] = mixed;
    e2[1] = constant<N>(1) - a * u[1] * u[1];
    e2[2] = -(sign * u[1]);
  }

  void pull_back_frame() {
    const Pack<T> two = pack(T(2));
    const N first = sign * e1_bar[0], mixed = sign * e1_bar[1] + e2_bar[0];
    const N a_bar = -(first * u[0] * u[0] + e2_bar[1] * u[1] * u[1] + mixed * u[0] * u[1]);
    u_bar[0] = u_bar[0] - two * (first * a * u[0]) - e1_bar[2] - mixed * u[1] * a;
    u_bar[1] = u_bar[1] - two * (e2_bar[1] * a * u[1]) - sign * e2_bar[2] - mixed * u[0] * a;
    u_bar[2] = u_bar[2] - sign * (a_bar * a * a);
  }

  // The rows m of degree l from the rows m - 1 of degree l - 1; with n = e1 + i e2 it is a complex product.
  void raise_zonal(int64_t l) {
    const N* low = t + plan.start[l - 1][0];
    N* out = t + plan.start[l][0];
    for (const auto& sum : plan.terms[l]) {
      N total = constant<N>(0);
      for (const auto& k : sum) total = total + pack(k.factor) * (u[k.axis] * low[k.lower]);
      *out++ = total;
    }
  }

  void raise_first(int64_t l) {
    const N* low = t + plan.start[l - 1][0];
    N *re = t + plan.start[l][1], *im = re + 2 * l + 1;
    for (const auto& sum : plan.terms[l]) {
      N real = constant<N>(0), imaginary = constant<N>(0);
      for (const auto& k : sum) {
        const N s = pack(k.factor) * low[k.lower];
        real = real + e1[k.axis] * s;
        imaginary = imaginary + e2[k.axis] * s;
      }
      *re++ = real;
      *im++ = imaginary;
    }
  }

  void raise_order(int64_t l, int64_t m) {
    const N *low_re = t + plan.start[l - 1][m - 1], *low_im = low_re + 2 * l - 1;
    N *re = t + plan.start[l][m], *im = re + 2 * l + 1;
    for (const auto& sum : plan.terms[l]) {
      N real = constant<N>(0), imaginary = constant<N>(0);
      for (const auto& k : sum) {
        const N n1 = pack(k.factor) * e1[k.axis], n2 = pack(k.factor) * e2[k.axis];
        real = real + n1 * low_re[k.lower] - n2 * low_im[k.lower];
        imaginary = imaginary + n1 * low_im[k.lower] + n2 * low_re[k.lower];
      }
      *re++ = real;
      *im++ = imaginary;
    }
  }

  void seed_table(const GeometryCotangent<T>& bar, N& weight_bar) {
    constexpr int64_t W = Simd<T>::width;
    for (int64_t k = 0; k < plan.entries; ++k) t_bar[k] = constant<N>(plan.scale[k] * load(bar.compact + k * W));
    const T* of_zonal = bar.zonal;
    for (int64_t l = 1; l <= plan.lmax; ++l)
      for (int64_t k = plan.start[l][0]; k < plan.start[l][0] + 2 * l + 1; ++k, of_zonal += W) {
        const Pack<T> zonal_bar = load(of_zonal);
        t_bar[k] = t_bar[k] + (plan.weighted ? zonal_bar * weight : constant<N>(zonal_bar));
        if (plan.weighted) weight_bar = weight_bar + zonal_bar * t[k];
      }
  }

  // Transposes of the three maps above: cotangents of degree l go to degree l - 1 and to the vectors.
  void lower_zonal(int64_t l) {
    const N *low = t + plan.start[l - 1][0], *bar = t_bar + plan.start[l][0];
    N* low_bar = t_bar + plan.start[l - 1][0];
    for (const auto& sum : plan.terms[l]) {
      const N g = *bar++;
      for (const auto& k : sum) {
        const N scaled = pack(k.factor) * g;
        u_bar[k.axis] = u_bar[k.axis] + scaled * low[k.lower];
        low_bar[k.lower] = low_bar[k.lower] + scaled * u[k.axis];
      }
    }
  }

  void lower_first(int64_t l) {
    const N *low = t + plan.start[l - 1][0], *re = t_bar + plan.start[l][1], *im = re + 2 * l + 1;
    N* low_bar = t_bar + plan.start[l - 1][0];
    for (const auto& sum : plan.terms[l]) {
      const N real = *re++, imaginary = *im++;
      for (const auto& k : sum) {
        const N s = pack(k.factor) * low[k.lower];
        e1_bar[k.axis] = e1_bar[k.axis] + real * s;
        e2_bar[k.axis] = e2_bar[k.axis] + imaginary * s;
        low_bar[k.lower] = low_bar[k.lower] + pack(k.factor) * (real * e1[k.axis] + imaginary * e2[k.axis]);
      }
    }
  }

  void lower_order(int64_t l, int64_t m) {
    const N *low_re = t + plan.start[l - 1][m - 1], *low_im = low_re + 2 * l - 1;
    const N *re = t_bar + plan.start[l][m], *im = re + 2 * l + 1;
    N *bar_re = t_bar + plan.start[l - 1][m - 1], *bar_im = bar_re + 2 * l - 1;
    for (const auto& sum : plan.terms[l]) {
      const N g_re = *re++, g_im = *im++;
      for (const auto& k : sum) {
        const N real = pack(k.factor) * g_re, imaginary = pack(k.factor) * g_im;
        const int64_t x = k.axis, n = k.lower;
        e1_bar[x] = e1_bar[x] + real * low_re[n] + imaginary * low_im[n];
        e2_bar[x] = e2_bar[x] + imaginary * low_re[n] - real * low_im[n];
        bar_re[n] = bar_re[n] + real * e1[x] + imaginary * e2[x];
        bar_im[n] = bar_im[n] + imaginary * e1[x] - real * e2[x];
      }
    }
  }
};

}  // namespace dpa4
