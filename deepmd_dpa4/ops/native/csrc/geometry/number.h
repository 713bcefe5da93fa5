// Packs of plain numbers and of dual numbers, value + tangent * epsilon with epsilon^2 = 0, under one set of operators;
// and moves between packs and rows of memory.
#pragma once

#include <algorithm>
#include <cmath>

#include "../common/simd.h"

namespace dpa4 {

template <typename T>
inline Pack<T> pack(T value) {
  return Pack<T>{} + value;
}

template <typename T, bool dual>
struct Number;

template <typename T>
struct Number<T, false> {
  using Scalar = T;
  static constexpr bool is_dual = false;
  Pack<T> value;
};

template <typename T>
struct Number<T, true> {
  using Scalar = T;
  static constexpr bool is_dual = true;
  Pack<T> value, tangent;
};

template <typename N>
inline N constant(Pack<typename N::Scalar> c) {
  N result;
  result.value = c;
  if constexpr (N::is_dual) result.tangent = Pack<typename N::Scalar>{};
  return result;
}

template <typename N>
inline N constant(typename N::Scalar c) {
  return constant<N>(pack(c));
}

template <typename T, bool dual>
inline Pack<T> value_of(Number<T, dual> a) {
  return a.value;
}

template <typename T, bool dual>
inline Number<T, dual> operator+(Number<T, dual> a, Number<T, dual> b) {
  a.value += b.value;
  if constexpr (dual) a.tangent += b.tangent;
  return a;
}

template <typename T, bool dual>
inline Number<T, dual> operator-(Number<T, dual> a, Number<T, dual> b) {
  a.value -= b.value;
  if constexpr (dual) a.tangent -= b.tangent;
  return a;
}

template <typename T, bool dual>
inline Number<T, dual> operator-(Number<T, dual> a) {
  a.value = -a.value;
  if constexpr (dual) a.tangent = -a.tangent;
  return a;
}

template <typename T, bool dual>
inline Number<T, dual> operator*(Number<T, dual> a, Number<T, dual> b) {
  if constexpr (dual) a.tangent = a.value * b.tangent + a.tangent * b.value;
  a.value *= b.value;
  return a;
}

template <typename T, bool dual>
inline Number<T, dual> operator*(Pack<T> c, Number<T, dual> a) {
  a.value *= c;
  if constexpr (dual) a.tangent *= c;
  return a;
}

template <typename T, bool dual>
inline Number<T, dual> reciprocal(Number<T, dual> a) {
  a.value = T(1) / a.value;
  if constexpr (dual) a.tangent = -a.tangent * a.value * a.value;
  return a;
}

template <typename T, bool dual>
inline Number<T, dual> root(Number<T, dual> a) {
  T lanes[Simd<T>::width];
  store(lanes, a.value);
  for (T& x : lanes) x = std::sqrt(x);
  a.value = load(lanes);
  if constexpr (dual) a.tangent = a.tangent / (a.value + a.value);
  return a;
}

// a where it is positive, otherwise 0.
template <typename T, bool dual>
inline Number<T, dual> positive(Number<T, dual> a) {
  if constexpr (dual) a.tangent = a.value > T(0) ? a.tangent : Pack<T>{};
  a.value = a.value > T(0) ? a.value : Pack<T>{};
  return a;
}

// Rows of `columns` numbers, one for each of the first `lanes` lanes, to `columns` packs; other lanes are zero.
template <typename T>
inline void read_rows(const T* rows, int64_t columns, int64_t lanes, T* packs) {
  constexpr int64_t W = Simd<T>::width;
  if (lanes < W) std::fill(packs, packs + columns * W, T(0));
  for (int64_t lane = 0; lane < lanes; ++lane)
    for (int64_t k = 0; k < columns; ++k) packs[k * W + lane] = rows[lane * columns + k];
}

template <typename T>
inline void write_rows(const T* packs, int64_t columns, int64_t lanes, T* rows) {
  constexpr int64_t W = Simd<T>::width;
  for (int64_t lane = 0; lane < lanes; ++lane)
    for (int64_t k = 0; k < columns; ++k) rows[lane * columns + k] = packs[k * W + lane];
}

}  // namespace dpa4
