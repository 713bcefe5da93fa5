// The operator dpa4::edge_softmax; its backward is an operator that can be differentiated once more.
#pragma once

#include "edge_softmax.h"

#include "../common/binding.h"

namespace dpa4::edge_softmax_binding {

void check(const Tensor& logits, const Tensor& weight, const Tensor& receiver, int64_t n) {
  TORCH_CHECK(logits.dim() == 2 && weight.dim() == 1, "logits must be (E, K) and weights (E,)");
  TORCH_CHECK(logits.scalar_type() == weight.scalar_type(), "logits are ", logits.scalar_type(), " but weights ",
              weight.scalar_type());
  check_receivers(receiver, n);
}

variable_list edge_softmax_cpu(const Tensor& logits, const Tensor& weight, const Tensor& null_logit,
                               const Tensor& receiver, int64_t n, double floor) {
  check(logits, weight, receiver, n);
  const Tensor x = logits.contiguous(), w = weight.contiguous(), null = null_logit.contiguous();
  const Tensor result = at::empty_like(x), share = at::ones({n, x.size(1)}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "edge_softmax", [&] {
    using T = scalar_t;
    softmax<T>(x.const_data_ptr<T>(), w.const_data_ptr<T>(), null.const_data_ptr<T>(),
               receiver.const_data_ptr<int64_t>(), x.size(0), x.size(1), T(floor), result.mutable_data_ptr<T>(),
               share.mutable_data_ptr<T>());
  });
  return {result, share};
}

variable_list edge_softmax_backward_cpu(const Tensor& gradient, const Tensor& alpha, const Tensor& share_,
                                        const Tensor& weight, const Tensor& receiver, double floor) {
  check(alpha, weight, receiver, share_.size(0));
  const Tensor c = gradient.contiguous(), a = alpha.contiguous(), w = weight.contiguous(), share = share_.contiguous();
  const Tensor x_bar = at::empty_like(a), w_bar = at::empty_like(w), null_bar = at::zeros({a.size(1)}, a.options());
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "edge_softmax_backward", [&] {
    using T = scalar_t;
    softmax_backward<T>(c.const_data_ptr<T>(), a.const_data_ptr<T>(), share.const_data_ptr<T>(), w.const_data_ptr<T>(),
                        receiver.const_data_ptr<int64_t>(), a.size(0), share.size(0), a.size(1), T(floor),
                        x_bar.mutable_data_ptr<T>(), w_bar.mutable_data_ptr<T>(), null_bar.mutable_data_ptr<T>());
  });
  return {x_bar, w_bar, null_bar};
}

variable_list edge_softmax_double_backward_cpu(const MaybeTensor& along_logit, const MaybeTensor& along_weight,
                                               const MaybeTensor& along_null, const Tensor& gradient,
                                               const Tensor& alpha, const Tensor& share_, const Tensor& weight,
                                               const Tensor& receiver, double floor) {
  check(alpha, weight, receiver, share_.size(0));
  const Tensor c = gradient.contiguous(), a = alpha.contiguous(), w = weight.contiguous(), share = share_.contiguous();
  const Tensor h_x = or_zeros(along_logit, a), h_w = or_zeros(along_weight, w);
  const Tensor h_0 = along_null ? along_null->contiguous() : at::zeros({a.size(1)}, a.options());
  const Tensor c_bar = at::empty_like(a), a_bar = at::empty_like(a), w_bar = at::empty_like(w);
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "edge_softmax_double_backward", [&] {
    using T = scalar_t;
    softmax_double_backward<T>(h_x.const_data_ptr<T>(), h_w.const_data_ptr<T>(), h_0.const_data_ptr<T>(),
                               c.const_data_ptr<T>(), a.const_data_ptr<T>(), share.const_data_ptr<T>(),
                               w.const_data_ptr<T>(), receiver.const_data_ptr<int64_t>(), a.size(0), a.size(1),
                               T(floor), c_bar.mutable_data_ptr<T>(), a_bar.mutable_data_ptr<T>(),
                               w_bar.mutable_data_ptr<T>());
  });
  return {c_bar, a_bar, w_bar};
}

variable_list call_softmax(const Tensor& logits, const Tensor& weight, const Tensor& null_logit, const Tensor& receiver,
                           SymInt n, double floor) {
  static const auto op = find_operator<decltype(call_softmax)>("dpa4::edge_softmax");
  return op.call(logits, weight, null_logit, receiver, n, floor);
}

variable_list pull_back(const Tensor& gradient, const Tensor& alpha, const Tensor& share, const Tensor& weight,
                        const Tensor& receiver, double floor) {
  static const auto op = find_operator<decltype(pull_back)>("dpa4::edge_softmax_backward");
  return op.call(gradient, alpha, share, weight, receiver, floor);
}

variable_list differentiate_pull_back(const MaybeTensor& along_logit, const MaybeTensor& along_weight,
                                      const MaybeTensor& along_null, const Tensor& gradient, const Tensor& alpha,
                                      const Tensor& share, const Tensor& weight, const Tensor& receiver, double floor) {
  static const auto op = find_operator<decltype(differentiate_pull_back)>("dpa4::edge_softmax_double_backward");
  return op.call(along_logit, along_weight, along_null, gradient, alpha, share, weight, receiver, floor);
}

variable_list softmax_meta(const Tensor& logits, const Tensor&, const Tensor&, const Tensor&, SymInt n, double) {
  return {at::empty_like(logits), logits.new_empty_symint({n, logits.sym_size(1)})};
}

variable_list pull_back_meta(const Tensor&, const Tensor& alpha, const Tensor&, const Tensor& weight, const Tensor&,
                             double) {
  return {at::empty_like(alpha), at::empty_like(weight), alpha.new_empty_symint({alpha.sym_size(1)})};
}

variable_list differentiate_pull_back_meta(const MaybeTensor&, const MaybeTensor&, const MaybeTensor&, const Tensor&,
                                           const Tensor& alpha, const Tensor&, const Tensor& weight, const Tensor&,
                                           double) {
  return {at::empty_like(alpha), at::empty_like(alpha), at::empty_like(weight)};
}

struct PullBack : Function<PullBack> {
  static variable_list forward(AutogradContext* context, const Tensor& gradient, const Tensor& alpha,
                               const Tensor& share, const Tensor& weight, const Tensor& receiver, double floor) {
    context->set_materialize_grads(false);
    context->save_for_backward({gradient, alpha, share, weight, receiver});
    context->saved_data["floor"] = floor;
    at::AutoDispatchBelowADInplaceOrView guard;
    return pull_back(gradient, alpha, share, weight, receiver, floor);
  }

  static variable_list backward(AutogradContext* context, variable_list h) {
    const variable_list saved = context->get_saved_variables();
    const variable_list found =
        differentiate_pull_back(maybe(h[0]), maybe(h[1]), maybe(h[2]), saved[0], saved[1], saved[2], saved[3], saved[4],
                                context->saved_data["floor"].toDouble());
    return {found[0], found[1], Tensor(), found[2], Tensor(), Tensor()};
  }
};

struct Softmax : Function<Softmax> {
  static variable_list forward(AutogradContext* context, const Tensor& logits, const Tensor& weight,
                               const Tensor& null_logit, const Tensor& receiver, const SymInt& n, double floor) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const variable_list found = call_softmax(logits, weight, null_logit, receiver, n, floor);
    context->save_for_backward({found[0], found[1], weight, receiver});
    context->mark_non_differentiable({found[1]});
    context->saved_data["floor"] = floor;
    return found;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    variable_list found =
        pull_back(gradients[0], saved[0], saved[1], saved[2], saved[3], context->saved_data["floor"].toDouble());
    found.resize(6);
    return found;
  }
};

variable_list softmax_autograd(const Tensor& logits, const Tensor& weight, const Tensor& null_logit,
                               const Tensor& receiver, SymInt n, double floor) {
  return Softmax::apply(logits, weight, null_logit, receiver, n, floor);
}

variable_list pull_back_autograd(const Tensor& gradient, const Tensor& alpha, const Tensor& share, const Tensor& weight,
                                 const Tensor& receiver, double floor) {
  return PullBack::apply(gradient, alpha, share, weight, receiver, floor);
}

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

TORCH_LIBRARY_IMPL(dpa4, Meta, m) {
  m.impl("edge_softmax", softmax_meta);
  m.impl("edge_softmax_backward", pull_back_meta);
  m.impl("edge_softmax_double_backward", differentiate_pull_back_meta);
}

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("edge_softmax", softmax_autograd);
  m.impl("edge_softmax_backward", pull_back_autograd);
}

}  // namespace dpa4::edge_softmax_binding
