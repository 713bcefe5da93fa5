// Sine and cosine of packs.
#pragma once

#include "number.h"

namespace dpa4 {

// pi/2 in three parts; multiples of the first two are exact for arguments up to some ten thousand.
template <typename T>
struct QuarterTurn;

template <>
struct QuarterTurn<float> {
  static constexpr float high = 1.5703125f, middle = 4.837512969970703e-4f, low = 7.549789954891882e-8f;
  static constexpr int terms = 5;
};

template <>
struct QuarterTurn<double> {
  static constexpr double high = 1.5707963267341256, middle = 6.077100506303966e-11, low = 2.0222662487959506e-21;
  static constexpr int terms = 9;
};

// Taylor series on [-pi/4, pi/4] after removal of quarter turns.
template <typename T>
inline void sine_cosine(Pack<T> x, Pack<T>& sine, Pack<T>& cosine) {
  using Q = QuarterTurn<T>;
  using Integer = typename Simd<T>::Integer;
  const Pack<T> shifted = x * T(0.63661977236758134308) + Simd<T>::shift, n = shifted - Simd<T>::shift;
  const Pack<T> r = ((x - n * Q::high) - n * Q::middle) - n * Q::low, square = r * r;
  Pack<T> s = pack(T(1)), c = pack(T(1));
#pragma GCC unroll 16
  for (int k = Q::terms; k >= 1; --k) {
    s = T(1) - square * s * (T(1) / T(2 * k * (2 * k + 1)));
    c = T(1) - square * c * (T(1) / T(2 * k * (2 * k - 1)));
  }
  s *= r;
  // the integer n stands in the low bits of `shifted`
  const Integer turns = reinterpret_cast<Integer>(shifted);
  const auto odd = (turns & 1) != 0;
  sine = odd ? c : s;
  cosine = odd ? s : c;
  sine = (turns & 2) != 0 ? -sine : sine;
  cosine = ((turns + 1) & 2) != 0 ? -cosine : cosine;
}

}  // namespace dpa4
