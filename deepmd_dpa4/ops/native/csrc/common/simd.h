// Packs of the widest vector registers, and the elementary functions the operators need on them.
#pragma once

#ifdef DPA4_BINDING
#error "bindings are not made for a processor, so packs would have another width in them"
#endif

#include <cstdint>
#include <cstring>

namespace dpa4 {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kRegisters = 32;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kRegisters = 32;
#else
constexpr int kVectorBytes = 16;
constexpr int kRegisters = 16;
#endif

template <typename T>
struct Simd;

template <>
struct Simd<float> {
  static constexpr int width = kVectorBytes / 4;
  typedef float Pack __attribute__((vector_size(kVectorBytes)));
  typedef float Memory __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
  typedef int32_t Lane;
  typedef Lane Integer __attribute__((vector_size(kVectorBytes)));
  static constexpr float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
  static constexpr float ln2_high = 0.693145751953125f;
  static constexpr float ln2_low = 1.42860682030941723212e-6f;
  static constexpr float limit = 87.0f;
  static constexpr int mantissa = 23, bias = 127, terms = 8;
};

template <>
struct Simd<double> {
  static constexpr int width = kVectorBytes / 8;
  typedef double Pack __attribute__((vector_size(kVectorBytes)));
  typedef double Memory __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
  typedef int64_t Lane;
  typedef Lane Integer __attribute__((vector_size(kVectorBytes)));
  static constexpr double shift = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 0.693147180369123816490;
  static constexpr double ln2_low = 1.90821492927058770002e-10;
  static constexpr double limit = 700.0;
  static constexpr int mantissa = 52, bias = 1023, terms = 14;
};

template <typename T>
using Pack = typename Simd<T>::Pack;

// The least multiple of the vector width that is not below `columns`.
template <typename T>
constexpr int64_t padded(int64_t columns) {
  constexpr int64_t W = Simd<T>::width;
  return (columns + W - 1) / W * W;
}

template <typename T>
inline Pack<T> load(const T* p) {
  return *reinterpret_cast<const typename Simd<T>::Memory*>(p);
}

template <typename T>
inline void store(T* p, Pack<T> v) {
  *reinterpret_cast<typename Simd<T>::Memory*>(p) = v;
}

// Sum of `width` numbers by halving, so that the additions of several sums overlap.
template <typename T, int width, typename Vector>
inline __attribute__((always_inline)) T halving_sum(Vector v) {
  if constexpr (width == 1) {
    return v[0];
  } else if constexpr (sizeof(Vector) == 16) {
    T total = v[0];
    for (int i = 1; i < width; ++i) total += v[i];
    return total;
  } else {
    typedef T Half __attribute__((vector_size(sizeof(Vector) / 2)));
    Half low, high;
    std::memcpy(&low, &v, sizeof(Half));
    std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof(Half), sizeof(Half));
    return halving_sum<T, width / 2>(low + high);
  }
}

template <typename T>
inline T sum(Pack<T> v) {
  return halving_sum<T, Simd<T>::width>(v);
}

// exp by argument reduction to |r| <= ln(2)/2 and its Taylor series, accurate to rounding; arguments are clamped to the
// range in which the result is a normal number.
template <typename T>
inline Pack<T> exponential(Pack<T> x) {
  using S = Simd<T>;
  const Pack<T> high = Pack<T>{} + S::limit, low = Pack<T>{} - S::limit;
  x = x > high ? high : x;
  x = x < low ? low : x;
  const Pack<T> shifted = x * T(1.44269504088896340736) + S::shift;
  const Pack<T> n = shifted - S::shift;
  const Pack<T> r = (x - n * S::ln2_high) - n * S::ln2_low;
  Pack<T> series = Pack<T>{} + T(1);
#pragma GCC unroll 16
  for (int k = S::terms - 1; k >= 1; --k) series = series * (r * (T(1) / T(k))) + T(1);
  // n stands in the low bits of `shifted`; moved into the exponent it is the factor 2^n
  const typename S::Integer power =
      (reinterpret_cast<typename S::Integer>(shifted) << S::mantissa) + (typename S::Lane(S::bias) << S::mantissa);
  return series * reinterpret_cast<Pack<T>>(power);
}

template <typename T>
inline Pack<T> sigmoid(Pack<T> x) {
  return T(1) / (T(1) + exponential<T>(-x));
}

// First and second derivative of x sigmoid(x), with s = sigmoid(x).
template <typename T>
inline Pack<T> silu_slope(Pack<T> x, Pack<T> s) {
  return s * (T(1) + x * (T(1) - s));
}

template <typename T>
inline Pack<T> silu_curvature(Pack<T> x, Pack<T> s) {
  return s * (T(1) - s) * (T(2) + x * (T(1) - T(2) * s));
}

}  // namespace dpa4
