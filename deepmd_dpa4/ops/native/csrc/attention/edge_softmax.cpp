// Attention of a receiver over its edges, alpha_e = exp(x_e) / (exp(x_0) + sum_{e' -> i} exp(x_e')) with
// x_e = logit_e + 2 ln w_e and the null logit x_0, with first and second derivatives. A second result, the null share
// alpha_0 = 1 - sum_e alpha_e of each receiver, is free of the cancellation in that difference; it only serves the
// derivatives and is not differentiated itself.
#include <ATen/ATen.h>
#include <torch/library.h>

#include "../common/receivers.h"
#include "../common/simd.h"

namespace dpa4 {
namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;
using MaybeTensor = std::optional<Tensor>;

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

template <typename T>
void softmax_kernel(const Tensor& logits, const Tensor& weight, const Tensor& null_logit, const Tensor& receiver,
                    T floor, Tensor& result, Tensor& share) {
  const int64_t K = logits.size(1);
  const T *logit = logits.const_data_ptr<T>(), *w = weight.const_data_ptr<T>(), *null = null_logit.const_data_ptr<T>();
  T *out = result.mutable_data_ptr<T>(), *null_share = share.mutable_data_ptr<T>();
  over_receivers(receiver.const_data_ptr<int64_t>(), logits.size(0), [=] {
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

// With D = sum_e c_e alpha_e the cotangents of x and x_0 are alpha_e (c_e - D) and -alpha_0 D, the latter summed over
// receivers.
template <typename T>
void backward_kernel(const Tensor& gradient, const Tensor& alpha, const Tensor& share, const Tensor& weight,
                     const Tensor& receiver, T floor, Tensor& logit_bar, Tensor& weight_bar, Tensor& null_bar) {
  const int64_t K = alpha.size(1);
  const T *c = gradient.const_data_ptr<T>(), *a = alpha.const_data_ptr<T>(), *w = weight.const_data_ptr<T>();
  const T* null_share = share.const_data_ptr<T>();
  T *x_bar = logit_bar.mutable_data_ptr<T>(), *w_bar = weight_bar.mutable_data_ptr<T>();
  std::vector<T> null_parts(share.numel());
  T* of_null = null_parts.data();
  over_receivers(receiver.const_data_ptr<int64_t>(), alpha.size(0), [=] {
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
  T* sums = null_bar.mutable_data_ptr<T>();
  for (int64_t at = 0; at < share.numel(); ++at) sums[at % K] += of_null[at];
}

// Cotangents h of the three results above add up to L = sum_e H_e alpha_e c_e - D (A + h_0 alpha_0) for each receiver,
// with H = h_x + (2/w) h_w and A = sum_e H_e alpha_e; these are the derivatives of L by c, alpha and w. That alpha_0
// depends on alpha is part of the second.
template <typename T>
void double_backward_kernel(const Tensor& along_logit, const Tensor& along_weight, const Tensor& along_null,
                            const Tensor& gradient, const Tensor& alpha, const Tensor& share, const Tensor& weight,
                            const Tensor& receiver, T floor, Tensor& gradient_bar, Tensor& alpha_bar,
                            Tensor& weight_bar) {
  const int64_t K = alpha.size(1);
  const T *h_x = along_logit.const_data_ptr<T>(), *h_w = along_weight.const_data_ptr<T>();
  const T *h_0 = along_null.const_data_ptr<T>(), *c = gradient.const_data_ptr<T>();
  const T *a = alpha.const_data_ptr<T>(), *w = weight.const_data_ptr<T>();
  const T* null_share = share.const_data_ptr<T>();
  T *c_bar = gradient_bar.mutable_data_ptr<T>(), *a_bar = alpha_bar.mutable_data_ptr<T>();
  T* w_bar = weight_bar.mutable_data_ptr<T>();
  over_receivers(receiver.const_data_ptr<int64_t>(), alpha.size(0), [=] {
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

void check(const Tensor& logits, const Tensor& weight, const Tensor& receiver, int64_t n) {
  TORCH_CHECK(logits.dim() == 2 && weight.dim() == 1, "logits must be (E, K) and weights (E,)");
  TORCH_CHECK(logits.scalar_type() == weight.scalar_type(), "logits are ", logits.scalar_type(), " but weights ",
              weight.scalar_type());
  check_receivers(receiver, n);
}

Tensors edge_softmax_cpu(const Tensor& logits, const Tensor& weight, const Tensor& null_logit, const Tensor& receiver,
                         int64_t n, double floor) {
  check(logits, weight, receiver, n);
  const Tensor x = logits.contiguous(), w = weight.contiguous(), null = null_logit.contiguous();
  Tensor result = at::empty_like(x), share = at::ones({n, x.size(1)}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "edge_softmax",
                             [&] { softmax_kernel<scalar_t>(x, w, null, receiver, scalar_t(floor), result, share); });
  return {result, share};
}

Tensors edge_softmax_backward_cpu(const Tensor& gradient, const Tensor& alpha, const Tensor& share,
                                  const Tensor& weight, const Tensor& receiver, double floor) {
  check(alpha, weight, receiver, share.size(0));
  const Tensor c = gradient.contiguous(), a = alpha.contiguous(), w = weight.contiguous();
  Tensor x_bar = at::empty_like(a), w_bar = at::empty_like(w), null_bar = at::zeros({a.size(1)}, a.options());
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "edge_softmax_backward", [&] {
    backward_kernel<scalar_t>(c, a, share.contiguous(), w, receiver, scalar_t(floor), x_bar, w_bar, null_bar);
  });
  return {x_bar, w_bar, null_bar};
}

Tensors edge_softmax_double_backward_cpu(const MaybeTensor& along_logit, const MaybeTensor& along_weight,
                                         const MaybeTensor& along_null, const Tensor& gradient, const Tensor& alpha,
                                         const Tensor& share, const Tensor& weight, const Tensor& receiver,
                                         double floor) {
  check(alpha, weight, receiver, share.size(0));
  const Tensor c = gradient.contiguous(), a = alpha.contiguous(), w = weight.contiguous();
  const Tensor h_x = along_logit ? along_logit->contiguous() : at::zeros_like(a);
  const Tensor h_w = along_weight ? along_weight->contiguous() : at::zeros_like(w);
  const Tensor h_0 = along_null ? along_null->contiguous() : at::zeros({a.size(1)}, a.options());
  Tensor c_bar = at::empty_like(a), a_bar = at::empty_like(a), w_bar = at::empty_like(w);
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "edge_softmax_double_backward", [&] {
    double_backward_kernel<scalar_t>(h_x, h_w, h_0, c, a, share.contiguous(), w, receiver, scalar_t(floor), c_bar,
                                     a_bar, w_bar);
  });
  return {c_bar, a_bar, w_bar};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(dpa4, m) {
  m.def(
      "edge_softmax(Tensor logits, Tensor weight, Tensor null_logit, Tensor receiver, SymInt n, float floor) -> "
      "Tensor[]");
  m.def(
      "edge_softmax_backward(Tensor gradient, Tensor alpha, Tensor share, Tensor weight, Tensor receiver, float floor) "
      "-> Tensor[]");
  m.def(
      "edge_softmax_double_backward(Tensor? along_logit, Tensor? along_weight, Tensor? along_null, Tensor gradient, "
      "Tensor alpha, Tensor share, Tensor weight, Tensor receiver, float floor) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(dpa4, CPU, m) {
  m.impl("edge_softmax", edge_softmax_cpu);
  m.impl("edge_softmax_backward", edge_softmax_backward_cpu);
  m.impl("edge_softmax_double_backward", edge_softmax_double_backward_cpu);
}

}  // namespace dpa4
