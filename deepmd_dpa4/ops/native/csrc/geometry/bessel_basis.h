// Spherical Bessel functions times the envelope, phi = sin(omega r) q with q = env / r, and their derivatives, on
// arrays.
#pragma once

#include <cstdint>

namespace dpa4 {

template <typename T>
struct RadialArguments {
  const T* distance;
  int64_t edges;
  const T* frequency;
  int64_t frequencies;
  int64_t exponent;  // of the envelope
  T cutoff;
};

// phi (edges, frequencies)
template <typename T>
void bessel_basis(const RadialArguments<T>& at, T* out);

// Derivatives of <gradient, phi> by distances, added to zeros, and by frequencies.
template <typename T>
void bessel_basis_backward(const RadialArguments<T>& at, const T* gradient, T* by_distance, T* by_frequency);

// Derivatives of <along_distance, by_distance> + <along_frequency, by_frequency> by the gradient, the distances, added
// to zeros, and the frequencies.
template <typename T>
void bessel_basis_double_backward(const RadialArguments<T>& at, const T* along_distance, const T* along_frequency,
                                  const T* gradient, T* by_gradient, T* by_distance, T* by_frequency);

}  // namespace dpa4
