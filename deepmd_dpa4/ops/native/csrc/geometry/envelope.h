// Cutoff envelope on packs of numbers.
#pragma once

#include <vector>

#include "number.h"

namespace dpa4 {

// Envelope env_p(x) = u^4 sum_{k<p} binom(k+3, 3) x^k of x = r / rcut with u = max(1 - x, 0). The sum is a truncated
// series of u^-4, so all but one term cancel in d env / dx = -p binom(p+3, 3) u^3 x^(p-1).
template <typename T>
class Envelope {
 public:
  explicit Envelope(int64_t exponent) {
    double binomial = 1;
    for (int64_t k = 0; k < exponent; ++k) {
      coefficients.push_back(T(binomial));
      binomial *= double(k + 4) / double(k + 1);
    }
    slope_factor = T(-double(exponent) * binomial);
  }

  template <typename N>
  N value(N x) const {
    const N u = positive(constant<N>(1) - x);
    N series = constant<N>(0);
    for (auto c = coefficients.rbegin(); c != coefficients.rend(); ++c) series = series * x + constant<N>(*c);
    const N squared = u * u;
    return squared * squared * series;
  }

  template <typename N>
  N slope(N x) const {
    const N u = positive(constant<N>(1) - x);
    N power = constant<N>(slope_factor);
    for (size_t k = 1; k < coefficients.size(); ++k) power = power * x;
    return u * u * u * power;
  }

 private:
  std::vector<T> coefficients;
  T slope_factor;
};

}  // namespace dpa4
