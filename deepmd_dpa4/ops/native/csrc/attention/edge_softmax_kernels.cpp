#include "edge_softmax.h"

#include <cmath>
#include <vector>

#include "../common/edges.h"
#include "../common/simd.h"

namespace dpa4 {
namespace {

// The floor that keeps ln w finite; below it the derivative by w is zero.
template <typename T>
T logarithm_of_square(T weight, T floor) {
  return T(2) * std::log(std::max(weight, floor));
}

template <typename T>
T its_derivative(T weight, T floor) {
  return weight >= floor ? T(2) / weight : T(0);
}

// Replace x by exp(x) in place.
template <typename T>
void exponentiate(T* x, int64_t count) {
  constexpr int64_t W = Simd<T>::width;
  for (int64_t k = 0; k < count; k += W) {
    T part[W] = {};
    std::copy(x + k, x + std::min(count, k + W), part);
    store(part, exponential<T>(load(part)));
    std::copy(part, part + std::min(count - k, W), x + k);
  }
}

}  // namespace

template <typename T>
void softmax(const T* logit, const T* w, const T* null, const int64_t* receiver, int64_t edges, int64_t K, T floor,
             T* out, T* null_share) {
  over_receivers(receiver, edges, [=] {
    return [=, largest = std::vector<T>(K), total = std::vector<T>(K)](int64_t i, int64_t begin, int64_t end) mutable {
      std::copy(null, null + K, largest.begin());
      for (int64_t e = begin; e < end; ++e) {
        const T shift = logarithm_of_square(w[e], floor);
        for (int64_t k = 0; k < K; ++k) {
          out[e * K + k] = logit[e * K + k] + shift;
          largest[k] = std::max(largest[k], out[e * K + k]);
        }
      }
      for (int64_t k = 0; k < K; ++k) total[k] = null[k] - largest[k];
      for (int64_t e = begin; e < end; ++e)
        for (int64_t k = 0; k < K; ++k) out[e * K + k] -= largest[k];
      exponentiate(total.data(), K);
      std::copy(total.begin(), total.end(), null_share + i * K);
      exponentiate(out + begin * K, (end - begin) * K);
      for (int64_t e = begin; e < end; ++e)
        for (int64_t k = 0; k < K; ++k) total[k] += out[e * K + k];
      for (T& x : total) x = T(1) / x;
      for (int64_t k = 0; k < K; ++k) null_share[i * K + k] *= total[k];
      for (int64_t e = begin; e < end; ++e)
        for (int64_t k = 0; k < K; ++k) out[e * K + k] *= total[k];
    };
  });
}

template <typename T>
void softmax_backward(const T* c, const T* a, const T* null_share, const T* w, const int64_t* receiver, int64_t edges,
                      int64_t receivers, int64_t K, T floor, T* x_bar, T* w_bar, T* null_bar) {
  std::vector<T> null_parts(receivers * K);
  T* of_null = null_parts.data();
  over_receivers(receiver, edges, [=] {
    return [=, mean = std::vector<T>(K)](int64_t i, int64_t begin, int64_t end) mutable {
      std::fill(mean.begin(), mean.end(), T(0));
      for (int64_t e = begin; e < end; ++e)
        for (int64_t k = 0; k < K; ++k) mean[k] += c[e * K + k] * a[e * K + k];
      for (int64_t k = 0; k < K; ++k) of_null[i * K + k] = -null_share[i * K + k] * mean[k];
      for (int64_t e = begin; e < end; ++e) {
        T total = 0;
        for (int64_t k = 0; k < K; ++k) total += x_bar[e * K + k] = a[e * K + k] * (c[e * K + k] - mean[k]);
        w_bar[e] = total * its_derivative(w[e], floor);
      }
    };
  });
  for (int64_t at = 0; at < receivers * K; ++at) null_bar[at % K] += of_null[at];
}

template <typename T>
void softmax_double_backward(const T* h_x, const T* h_w, const T* h_0, const T* c, const T* a, const T* null_share,
                             const T* w, const int64_t* receiver, int64_t edges, int64_t K, T floor, T* c_bar, T* a_bar,
                             T* w_bar) {
  over_receivers(receiver, edges, [=] {
    return [=, mean = std::vector<T>(K), shift = std::vector<T>(K)](int64_t i, int64_t begin, int64_t end) mutable {
      std::fill(mean.begin(), mean.end(), T(0));
      for (int64_t k = 0; k < K; ++k) shift[k] = h_0[k] * null_share[i * K + k];
      for (int64_t e = begin; e < end; ++e) {
        const T along_w = its_derivative(w[e], floor) * h_w[e];
        for (int64_t k = 0; k < K; ++k) {
          mean[k] += c[e * K + k] * a[e * K + k];
          shift[k] += (h_x[e * K + k] + along_w) * a[e * K + k];
        }
      }
      for (int64_t e = begin; e < end; ++e) {
        const T slope = its_derivative(w[e], floor);
        T total = 0;
        for (int64_t k = 0; k < K; ++k) {
          const int64_t at = e * K + k;
          const T h = h_x[at] + slope * h_w[e];
          c_bar[at] = a[at] * (h - shift[k]);
          a_bar[at] = c[at] * (h - shift[k]) - mean[k] * (h - h_0[k]);
          total += a[at] * (c[at] - mean[k]);
        }
        w_bar[e] = T(-0.5) * slope * slope * h_w[e] * total;
      }
    };
  });
}

template void softmax(const float*, const float*, const float*, const int64_t*, int64_t, int64_t, float, float*,
                      float*);
template void softmax_backward(const float*, const float*, const float*, const float*, const int64_t*, int64_t, int64_t,
                               int64_t, float, float*, float*, float*);
template void softmax_double_backward(const float*, const float*, const float*, const float*, const float*,
                                      const float*, const float*, const int64_t*, int64_t, int64_t, float, float*,
                                      float*, float*);
template void softmax(const double*, const double*, const double*, const int64_t*, int64_t, int64_t, double, double*,
                      double*);
template void softmax_backward(const double*, const double*, const double*, const double*, const int64_t*, int64_t,
                               int64_t, int64_t, double, double*, double*, double*);
template void softmax_double_backward(const double*, const double*, const double*, const double*, const double*,
                                      const double*, const double*, const int64_t*, int64_t, int64_t, double, double*,
                                      double*, double*);

}  // namespace dpa4
