// The operators dpa4::outer_sum, outer_sum_left and outer_sum_right (see outer_sum.h). Each is bilinear, so the three
// are closed under differentiation: every backward calls the others and works to any order.
#pragma once

#include "outer_sum.h"

#include "../common/binding.h"

namespace dpa4::outer_sum_binding {

void check(const Tensor& x, const Tensor& y, const Tensor& receiver, int64_t n) {
  TORCH_CHECK(x.scalar_type() == y.scalar_type(), "outer sums need operands of one type but got ", x.scalar_type(),
              " and ", y.scalar_type());
  check_receivers(receiver, n);
}

Tensor outer_sum_cpu(const Tensor& a_, const Tensor& b_, const Tensor& receiver, int64_t n) {
  check(a_, b_, receiver, n);
  const Tensor a = a_.contiguous(), b = b_.contiguous(), total = at::zeros({n, a.size(1), b.size(1)}, a.options());
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "outer_sum", [&] {
    using T = scalar_t;
    outer_sum<T>(a.const_data_ptr<T>(), a.size(1), b.const_data_ptr<T>(), b.size(1), receiver.const_data_ptr<int64_t>(),
                 a.size(0), total.mutable_data_ptr<T>());
  });
  return total;
}

Tensor apply(const Tensor& sums_, const Tensor& x_, const Tensor& receiver, bool transposed) {
  check(sums_, x_, receiver, sums_.size(0));
  const Tensor sums = sums_.contiguous(), x = x_.contiguous();
  const Tensor result = at::empty({x.size(0), sums.size(transposed ? 1 : 2)}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "outer_sum_apply", [&] {
    using T = scalar_t;
    outer_apply<T>(sums.const_data_ptr<T>(), transposed, x.const_data_ptr<T>(), x.size(1), result.size(1),
                   receiver.const_data_ptr<int64_t>(), x.size(0), result.mutable_data_ptr<T>());
  });
  return result;
}

Tensor outer_sum_left_cpu(const Tensor& sums, const Tensor& b, const Tensor& receiver) {
  return apply(sums, b, receiver, true);
}

Tensor outer_sum_right_cpu(const Tensor& sums, const Tensor& a, const Tensor& receiver) {
  return apply(sums, a, receiver, false);
}

Tensor outer_sum_meta(const Tensor& a, const Tensor& b, const Tensor&, SymInt n) {
  return a.new_empty_symint({n, a.sym_size(1), b.sym_size(1)});
}

Tensor outer_sum_left_meta(const Tensor& sums, const Tensor& b, const Tensor&) {
  return b.new_empty_symint({b.sym_size(0), sums.sym_size(1)});
}

Tensor outer_sum_right_meta(const Tensor& sums, const Tensor& a, const Tensor&) {
  return a.new_empty_symint({a.sym_size(0), sums.sym_size(2)});
}

Tensor call_sum(const Tensor& a, const Tensor& b, const Tensor& receiver, SymInt n) {
  static const auto op = find_operator<decltype(outer_sum_meta)>("dpa4::outer_sum");
  return op.call(a, b, receiver, n);
}

template <bool transposed>
Tensor call_apply(const Tensor& sums, const Tensor& x, const Tensor& receiver) {
  static const auto op =
      find_operator<decltype(outer_sum_left_cpu)>(transposed ? "dpa4::outer_sum_left" : "dpa4::outer_sum_right");
  return op.call(sums, x, receiver);
}

struct OuterSum : Function<OuterSum> {
  static Tensor forward(AutogradContext* context, const Tensor& a, const Tensor& b, const Tensor& receiver,
                        const SymInt& n) {
    context->save_for_backward({a, b, receiver});
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_sum(a, b, receiver, n);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &a = saved[0], &b = saved[1], &receiver = saved[2], &g = gradients[0];
    Tensor for_a, for_b;
    if (context->needs_input_grad(0)) for_a = call_apply<true>(g, b, receiver);
    if (context->needs_input_grad(1)) for_b = call_apply<false>(g, a, receiver);
    return {for_a, for_b, Tensor(), Tensor()};
  }
};

template <bool transposed>
struct OuterApply : Function<OuterApply<transposed>> {
  static Tensor forward(AutogradContext* context, const Tensor& sums, const Tensor& x, const Tensor& receiver) {
    context->save_for_backward({sums, x, receiver});
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_apply<transposed>(sums, x, receiver);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &sums = saved[0], &x = saved[1], &receiver = saved[2], &g = gradients[0];
    Tensor for_sums, for_x;
    if (context->needs_input_grad(0)) {
      const SymInt n = sums.sym_size(0);
      for_sums = transposed ? call_sum(g, x, receiver, n) : call_sum(x, g, receiver, n);
    }
    if (context->needs_input_grad(1)) for_x = call_apply<!transposed>(sums, g, receiver);
    return {for_sums, for_x, Tensor()};
  }
};

Tensor outer_sum_autograd(const Tensor& a, const Tensor& b, const Tensor& receiver, SymInt n) {
  return OuterSum::apply(a, b, receiver, n);
}

template <bool transposed>
Tensor outer_apply_autograd(const Tensor& sums, const Tensor& x, const Tensor& receiver) {
  return OuterApply<transposed>::apply(sums, x, receiver);
}

TORCH_LIBRARY_FRAGMENT(dpa4, m) {
  m.def("outer_sum(Tensor a, Tensor b, Tensor receiver, SymInt n) -> Tensor");
  m.def("outer_sum_left(Tensor sums, Tensor b, Tensor receiver) -> Tensor");
  m.def("outer_sum_right(Tensor sums, Tensor a, Tensor receiver) -> Tensor");
}

TORCH_LIBRARY_IMPL(dpa4, CPU, m) {
  m.impl("outer_sum", outer_sum_cpu);
  m.impl("outer_sum_left", outer_sum_left_cpu);
  m.impl("outer_sum_right", outer_sum_right_cpu);
}

TORCH_LIBRARY_IMPL(dpa4, Meta, m) {
  m.impl("outer_sum", outer_sum_meta);
  m.impl("outer_sum_left", outer_sum_left_meta);
  m.impl("outer_sum_right", outer_sum_right_meta);
}

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("outer_sum", outer_sum_autograd);
  m.impl("outer_sum_left", outer_apply_autograd<true>);
  m.impl("outer_sum_right", outer_apply_autograd<false>);
}

}  // namespace dpa4::outer_sum_binding
