#include "bessel_basis.h"

#include "../common/parallel.h"
#include "envelope.h"
#include "sine.h"

namespace dpa4 {
namespace {

// What the functions of one edge share: r, the envelope E with its derivative, q = E / r with two derivatives.
template <typename T>
struct RadialFactors {
  T r, envelope, envelope_1, q, q_1, q_2;
};

template <typename T>
class RadialEnvelope {
 public:
  RadialEnvelope(int64_t exponent, T cutoff) : envelope(exponent), per_length(T(1) / cutoff) {}

  // Of `count` edges, a pack at most.
  void operator()(const T* distance, int64_t count, RadialFactors<T>* out) const {
    constexpr int64_t W = Simd<T>::width;
    T r[W], columns[5][W];
    for (int64_t lane = 0; lane < W; ++lane) r[lane] = lane < count ? distance[lane] : T(1);
    Number<T, true> x{load(r) * per_length, pack(per_length)};
    const Number<T, true> slope = envelope.slope(x);
    const Pack<T> inverse = T(1) / load(r), e = envelope.value(x).value, e_1 = slope.value * per_length;
    const Pack<T> q = e * inverse, q_1 = (e_1 - q) * inverse;
    store(columns[0], e);
    store(columns[1], e_1);
    store(columns[2], q);
    store(columns[3], q_1);
    store(columns[4], (slope.tangent * per_length - T(2) * q_1) * inverse);
    for (int64_t i = 0; i < count; ++i)
      out[i] = {r[i], columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i]};
  }

 private:
  Envelope<T> envelope;
  T per_length;
};

// Values and derivatives of one edge for a pack of frequencies.
template <typename T>
struct RadialFunction {
  RadialFactors<T> f;
  Pack<T> omega, sine, cosine;

  RadialFunction(const RadialFactors<T>& factors, Pack<T> frequency) : f(factors), omega(frequency) {
    sine_cosine<T>(omega * f.r, sine, cosine);
  }

  Pack<T> value() const { return sine * f.q; }
  Pack<T> by_r() const { return omega * cosine * f.q + sine * f.q_1; }
  Pack<T> by_omega() const { return cosine * f.envelope; }
  Pack<T> by_r_r() const { return T(2) * omega * cosine * f.q_1 + sine * (f.q_2 - omega * omega * f.q); }
  Pack<T> by_r_omega() const { return cosine * f.envelope_1 - omega * sine * f.envelope; }
  Pack<T> by_omega_omega() const { return -(f.r * f.envelope) * sine; }
};

// Frequencies, padded to whole packs.
template <typename T>
struct Frequencies {
  static constexpr int64_t W = Simd<T>::width;
  int64_t count, packs;
  Buffer<T> values;

  Frequencies(const T* given, int64_t n) : count(n), packs((n + W - 1) / W), values(padded_copy(given)) {}

  int64_t padded() const { return packs * W; }

  Buffer<T> padded_copy(const T* given) const {
    Buffer<T> copy = allocate<T>(padded());
    for (int64_t k = 0; k < padded(); ++k) copy[k] = k < count && given != nullptr ? given[k] : T(0);
    return copy;
  }

  // Part k of a row of `count` numbers; zero behind its end.
  Pack<T> read(const T* row, int64_t k) const {
    if ((k + 1) * W <= count) return load(row + k * W);
    T part[W] = {};
    for (int64_t i = k * W; i < count; ++i) part[i - k * W] = row[i];
    return load(part);
  }

  void write(T* row, int64_t k, Pack<T> x) const {
    if ((k + 1) * W <= count) {
      store(row + k * W, x);
      return;
    }
    T part[W];
    store(part, x);
    for (int64_t i = k * W; i < count; ++i) row[i] = part[i - k * W];
  }
};

// Run f(edge, k, functions of the k-th pack of frequencies, sums) over all edges. `sums` is a row of zeros, one number
// for each frequency; the rows are added up over fixed groups of edges into `total`, so the result does not depend on
// the number of threads.
template <typename T, typename F>
void over_functions(const T* distance, int64_t n_edges, const Frequencies<T>& omega, const RadialEnvelope<T>& envelope,
                    T* total, F f) {
  constexpr int64_t W = Simd<T>::width, group = 512;
  const int64_t groups = (n_edges + group - 1) / group, width = omega.padded();
  Buffer<T> sums = allocate<T>(groups * width);
  std::fill(sums.get(), sums.get() + groups * width, T(0));
  in_parts(groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g)
      for (int64_t e = g * group; e < std::min(n_edges, (g + 1) * group); e += W) {
        RadialFactors<T> factors[W];
        const int64_t count = std::min(W, n_edges - e);
        envelope(distance + e, count, factors);
        for (int64_t i = 0; i < count; ++i)
          for (int64_t k = 0; k < omega.packs; ++k) {
            const RadialFunction<T> phi(factors[i], load(omega.values.get() + k * W));
            f(e + i, k, phi, sums.get() + g * width + k * W);
          }
      }
  });
  if (total == nullptr) return;
  std::fill(total, total + omega.count, T(0));
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t k = 0; k < omega.count; ++k) total[k] += sums[g * width + k];
}

}  // namespace

template <typename T>
void bessel_basis(const RadialArguments<T>& at, T* out) {
  const Frequencies<T> omega(at.frequency, at.frequencies);
  over_functions<T>(at.distance, at.edges, omega, {at.exponent, at.cutoff}, nullptr,
                    [&](int64_t e, int64_t k, const RadialFunction<T>& phi, T*) {
                      omega.write(out + e * omega.count, k, phi.value());
                    });
}

template <typename T>
void bessel_basis_backward(const RadialArguments<T>& at, const T* gradient, T* by_distance, T* by_frequency) {
  const Frequencies<T> omega(at.frequency, at.frequencies);
  over_functions<T>(at.distance, at.edges, omega, {at.exponent, at.cutoff}, by_frequency,
                    [&](int64_t e, int64_t k, const RadialFunction<T>& phi, T* sums) {
                      const Pack<T> part = omega.read(gradient + e * omega.count, k);
                      by_distance[e] += sum<T>(part * phi.by_r());
                      store(sums, load(sums) + part * phi.by_omega());
                    });
}

template <typename T>
void bessel_basis_double_backward(const RadialArguments<T>& at, const T* along_distance, const T* along_frequency,
                                  const T* gradient, T* by_gradient, T* by_distance, T* by_frequency) {
  const Frequencies<T> omega(at.frequency, at.frequencies);
  const Buffer<T> of_omega = omega.padded_copy(along_frequency);
  over_functions<T>(at.distance, at.edges, omega, {at.exponent, at.cutoff}, by_frequency,
                    [&](int64_t e, int64_t k, const RadialFunction<T>& phi, T* sums) {
                      const T of_r = along_distance[e];
                      const Pack<T> part = omega.read(gradient + e * omega.count, k), mixed = phi.by_r_omega();
                      const Pack<T> h = load(of_omega.get() + k * Simd<T>::width);
                      omega.write(by_gradient + e * omega.count, k, of_r * phi.by_r() + h * phi.by_omega());
                      by_distance[e] += sum<T>(part * (of_r * phi.by_r_r() + h * mixed));
                      store(sums, load(sums) + part * (of_r * mixed + h * phi.by_omega_omega()));
                    });
}

template void bessel_basis(const RadialArguments<float>&, float*);
template void bessel_basis_backward(const RadialArguments<float>&, const float*, float*, float*);
template void bessel_basis_double_backward(const RadialArguments<float>&, const float*, const float*, const float*,
                                           float*, float*, float*);
template void bessel_basis(const RadialArguments<double>&, double*);
template void bessel_basis_backward(const RadialArguments<double>&, const double*, double*, double*);
template void bessel_basis_double_backward(const RadialArguments<double>&, const double*, const double*, const double*,
                                           double*, double*, double*);

}  // namespace dpa4
