// The operator dpa4::silu with first and second derivatives.
#pragma once

#include "silu.h"

#include <tuple>

#include "../common/binding.h"

namespace dpa4::silu_binding {

using Pair = std::tuple<Tensor, Tensor>;

Tensor silu_cpu(const Tensor& x_) {
  const Tensor x = x_.contiguous(), out = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "silu", [&] {
    using T = scalar_t;
    silu<T>(x.const_data_ptr<T>(), x.numel(), out.mutable_data_ptr<T>());
  });
  return out;
}

Tensor silu_backward_cpu(const Tensor& gradient, const Tensor& x_) {
  const Tensor g = gradient.contiguous(), x = x_.contiguous(), out = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "silu_backward", [&] {
    using T = scalar_t;
    silu_backward<T>(g.const_data_ptr<T>(), x.const_data_ptr<T>(), x.numel(), out.mutable_data_ptr<T>());
  });
  return out;
}

Pair silu_double_backward_cpu(const Tensor& along, const Tensor& gradient, const Tensor& x_) {
  const Tensor v = along.contiguous(), g = gradient.contiguous(), x = x_.contiguous();
  const Tensor by_g = at::empty_like(x), by_x = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "silu_double_backward", [&] {
    using T = scalar_t;
    silu_double_backward<T>(v.const_data_ptr<T>(), g.const_data_ptr<T>(), x.const_data_ptr<T>(), x.numel(),
                            by_g.mutable_data_ptr<T>(), by_x.mutable_data_ptr<T>());
  });
  return {by_g, by_x};
}

struct SiluBackward : Function<SiluBackward> {
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

struct Silu : Function<Silu> {
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

}  // namespace dpa4::silu_binding
