// Derivatives of the operator edge_softmax: its backward is an operator that can be differentiated once more.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "../common/dispatch.h"

namespace dpa4 {
namespace {

using at::Tensor;
using c10::SymInt;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using MaybeTensor = std::optional<Tensor>;

variable_list softmax(const Tensor& logits, const Tensor& weight, const Tensor& null_logit, const Tensor& receiver,
                      SymInt n, double floor) {
  static const auto op = find_operator<decltype(softmax)>("dpa4::edge_softmax");
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

struct PullBack : torch::autograd::Function<PullBack> {
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
    const auto maybe = [](const Tensor& x) { return x.defined() ? MaybeTensor(x) : std::nullopt; };
    const variable_list found =
        differentiate_pull_back(maybe(h[0]), maybe(h[1]), maybe(h[2]), saved[0], saved[1], saved[2], saved[3], saved[4],
                                context->saved_data["floor"].toDouble());
    return {found[0], found[1], Tensor(), found[2], Tensor(), Tensor()};
  }
};

struct Softmax : torch::autograd::Function<Softmax> {
  static variable_list forward(AutogradContext* context, const Tensor& logits, const Tensor& weight,
                               const Tensor& null_logit, const Tensor& receiver, const SymInt& n, double floor) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const variable_list found = softmax(logits, weight, null_logit, receiver, n, floor);
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

}  // namespace

TORCH_LIBRARY_IMPL(dpa4, Meta, m) {
  m.impl("edge_softmax", softmax_meta);
  m.impl("edge_softmax_backward", pull_back_meta);
  m.impl("edge_softmax_double_backward", differentiate_pull_back_meta);
}

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("edge_softmax", softmax_autograd);
  m.impl("edge_softmax_backward", pull_back_autograd);
}

}  // namespace dpa4
