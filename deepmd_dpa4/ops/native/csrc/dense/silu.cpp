// The operator dpa4::silu, s(x) = x sigma(x), and its first and second derivative, each in one pass.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <array>
#include <tuple>

#include "../common/dispatch.h"
#include "../common/parallel.h"
#include "../common/simd.h"

namespace dpa4 {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Pair = std::tuple<Tensor, Tensor>;

constexpr int64_t kFewest = 16384;  // elements that are worth a thread

// f(x, y) from packs x of the inputs to packs y of the outputs, for all elements.
template <typename T, size_t inputs, size_t outputs, typename F>
void elementwise(std::array<const T*, inputs> in, std::array<T*, outputs> out, int64_t count, F f) {
  constexpr int64_t W = Simd<T>::width;
  in_parts(count, kFewest, [=](int64_t begin, int64_t end) {
    Pack<T> x[inputs] = {}, y[outputs];
    int64_t at = begin;
    for (; at + W <= end; at += W) {
      for (size_t i = 0; i < inputs; ++i) x[i] = load(in[i] + at);
      f(x, y);
      for (size_t i = 0; i < outputs; ++i) store(out[i] + at, y[i]);
    }
    const size_t rest = size_t(end - at) * sizeof(T);
    if (rest == 0) return;
    for (size_t i = 0; i < inputs; ++i) std::memcpy(&x[i], in[i] + at, rest);
    f(x, y);
    for (size_t i = 0; i < outputs; ++i) std::memcpy(out[i] + at, &y[i], rest);
  });
}

Tensor silu_cpu(const Tensor& x_) {
  const Tensor x = x_.contiguous();
  Tensor out = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "silu", [&] {
    using T = scalar_t;
    elementwise<T, 1, 1>({x.const_data_ptr<T>()}, {out.mutable_data_ptr<T>()}, x.numel(),
                         [](const Pack<T>* in, Pack<T>* y) { y[0] = in[0] * sigmoid<T>(in[0]); });
  });
  return out;
}

// g s'(x)
Tensor silu_backward_cpu(const Tensor& gradient, const Tensor& x_) {
  const Tensor g = gradient.contiguous(), x = x_.contiguous();
  Tensor out = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "silu_backward", [&] {
    using T = scalar_t;
    elementwise<T, 2, 1>({g.const_data_ptr<T>(), x.const_data_ptr<T>()}, {out.mutable_data_ptr<T>()}, x.numel(),
                         [](const Pack<T>* in, Pack<T>* y) { y[0] = in[0] * silu_slope<T>(in[1], sigmoid<T>(in[1])); });
  });
  return out;
}

// v s'(x) and v g s''(x), the derivatives of <v, g s'(x)> by g and by x
Pair silu_double_backward_cpu(const Tensor& along, const Tensor& gradient, const Tensor& x_) {
  const Tensor v = along.contiguous(), g = gradient.contiguous(), x = x_.contiguous();
  Tensor by_g = at::empty_like(x), by_x = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "silu_double_backward", [&] {
    using T = scalar_t;
    elementwise<T, 3, 2>({v.const_data_ptr<T>(), g.const_data_ptr<T>(), x.const_data_ptr<T>()},
                         {by_g.mutable_data_ptr<T>(), by_x.mutable_data_ptr<T>()}, x.numel(),
                         [](const Pack<T>* in, Pack<T>* y) {
                           const Pack<T> s = sigmoid<T>(in[2]);
                           y[0] = in[0] * silu_slope<T>(in[2], s);
                           y[1] = in[0] * in[1] * silu_curvature<T>(in[2], s);
                         });
  });
  return {by_g, by_x};
}

struct SiluBackward : torch::autograd::Function<SiluBackward> {
  static Tensor forward(AutogradContext* context, const Tensor& gradient, const Tensor& x) {
    static const auto op = find_operator<decltype(silu_backward_cpu)>("dpa4::silu_backward");
    context->save_for_backward({gradient, x});
    at::AutoDispatchBelowADInplaceOrView guard;
    return op.call(gradient, x);
  }

  static variable_list backward(AutogradContext* context, variable_list along) {
    static const auto op = find_operator<decltype(silu_double_backward_cpu)>("dpa4::silu_double_backward");
    const auto saved = context->get_saved_variables();
    const auto [by_g, by_x] = op.call(along[0], saved[0], saved[1]);
    return {by_g, by_x};
  }
};

struct Silu : torch::autograd::Function<Silu> {
  static Tensor forward(AutogradContext* context, const Tensor& x) {
    static const auto op = find_operator<decltype(silu_cpu)>("dpa4::silu");
    context->save_for_backward({x});
    at::AutoDispatchBelowADInplaceOrView guard;
    return op.call(x);
  }

  static variable_list backward(AutogradContext* context, variable_list gradient) {
    return {SiluBackward::apply(gradient[0], context->get_saved_variables()[0])};
  }
};

Tensor like(const Tensor& x) { return at::empty_like(x, at::MemoryFormat::Contiguous); }

}  // namespace

TORCH_LIBRARY_FRAGMENT(dpa4, m) {
  m.def("silu(Tensor x) -> Tensor");
  m.def("silu_backward(Tensor gradient, Tensor x) -> Tensor");
  m.def("silu_double_backward(Tensor along, Tensor gradient, Tensor x) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(dpa4, CPU, m) {
  m.impl("silu", silu_cpu);
  m.impl("silu_backward", silu_backward_cpu);
  m.impl("silu_double_backward", silu_double_backward_cpu);
}

TORCH_LIBRARY_IMPL(dpa4, Meta, m) {
  m.impl("silu", like);
  m.impl("silu_backward", [](const Tensor&, const Tensor& x) { return like(x); });
  m.impl("silu_double_backward", [](const Tensor&, const Tensor&, const Tensor& x) { return Pair(like(x), like(x)); });
}

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("silu", [](const Tensor& x) { return Tensor(Silu::apply(x)); });
  m.impl("silu_backward",
         [](const Tensor& gradient, const Tensor& x) { return Tensor(SiluBackward::apply(gradient, x)); });
}

}  // namespace dpa4
