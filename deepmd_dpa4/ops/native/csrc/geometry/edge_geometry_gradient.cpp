// Derivatives of the operator edge_geometry: its backward is an operator that can be differentiated once more.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "../common/dispatch.h"

namespace dpa4 {
namespace {

using at::IntArrayRef;
using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Lengths = at::ArrayRef<double>;
using MaybeTensor = std::optional<Tensor>;
using Cotangents = c10::List<MaybeTensor>;

constexpr size_t kOutputs = 5;

variable_list evaluate(const Tensor& vector, const Tensor& coupling, const Tensor& factors, IntArrayRef shape,
                       Lengths lengths) {
  static const auto op = find_operator<decltype(evaluate)>("dpa4::edge_geometry");
  return op.call(vector, coupling, factors, shape, lengths);
}

Tensor pull_back(const Tensor& vector, const Cotangents& cotangents, const Tensor& coupling, const Tensor& factors,
                 IntArrayRef shape, Lengths lengths) {
  static const auto op = find_operator<decltype(pull_back)>("dpa4::edge_geometry_backward");
  return op.call(vector, cotangents, coupling, factors, shape, lengths);
}

variable_list differentiate_pull_back(const Tensor& direction, const Tensor& vector, const Cotangents& cotangents,
                                      const Tensor& coupling, const Tensor& factors, IntArrayRef shape,
                                      Lengths lengths) {
  static const auto op = find_operator<decltype(differentiate_pull_back)>("dpa4::edge_geometry_double_backward");
  return op.call(direction, vector, cotangents, coupling, factors, shape, lengths);
}

Cotangents listed(const Tensor* tensors) {
  Cotangents list;
  for (size_t k = 0; k < kOutputs; ++k) list.push_back(tensors[k].defined() ? MaybeTensor(tensors[k]) : std::nullopt);
  return list;
}

// Cotangents that nobody asked for stay undefined instead of becoming zeros.
void save(AutogradContext* context, const variable_list& tensors, IntArrayRef shape, Lengths lengths) {
  context->set_materialize_grads(false);
  context->save_for_backward(tensors);
  context->saved_data["shape"] = shape;
  context->saved_data["lengths"] = lengths;
}

struct PullBack : torch::autograd::Function<PullBack> {
  static Tensor forward(AutogradContext* context, const Tensor& vector, const MaybeTensor& distance,
                        const MaybeTensor& weight, const MaybeTensor& environment, const MaybeTensor& zonal,
                        const MaybeTensor& compact, const Tensor& coupling, const Tensor& factors, IntArrayRef shape,
                        Lengths lengths) {
    variable_list saved{vector, coupling, factors};
    for (const MaybeTensor* x : {&distance, &weight, &environment, &zonal, &compact})
      saved.push_back(x->value_or(Tensor()));
    save(context, saved, shape, lengths);
    at::AutoDispatchBelowADInplaceOrView guard;
    return pull_back(vector, listed(&saved[3]), coupling, factors, shape, lengths);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    variable_list result(10);
    if (!gradients[0].defined()) return result;
    const variable_list found = differentiate_pull_back(gradients[0], saved[0], listed(&saved[3]), saved[1], saved[2],
                                                        context->saved_data["shape"].toIntVector(),
                                                        context->saved_data["lengths"].toDoubleVector());
    result[0] = found[0];
    for (size_t k = 1; k <= kOutputs; ++k)
      if (saved[2 + k].defined()) result[k] = found[k];
    return result;
  }
};

struct Evaluate : torch::autograd::Function<Evaluate> {
  static variable_list forward(AutogradContext* context, const Tensor& vector, const Tensor& coupling,
                               const Tensor& factors, IntArrayRef shape, Lengths lengths) {
    save(context, {vector, coupling, factors}, shape, lengths);
    at::AutoDispatchBelowADInplaceOrView guard;
    return evaluate(vector, coupling, factors, shape, lengths);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    return {pull_back(saved[0], listed(gradients.data()), saved[1], saved[2],
                      context->saved_data["shape"].toIntVector(), context->saved_data["lengths"].toDoubleVector()),
            Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

variable_list evaluate_autograd(const Tensor& vector, const Tensor& coupling, const Tensor& factors, IntArrayRef shape,
                                Lengths lengths) {
  return Evaluate::apply(vector, coupling, factors, shape, lengths);
}

Tensor pull_back_autograd(const Tensor& vector, const Cotangents& c, const Tensor& coupling, const Tensor& factors,
                          IntArrayRef shape, Lengths lengths) {
  const auto at = [&](size_t k) { return MaybeTensor(c.get(k)); };
  return PullBack::apply(vector, at(0), at(1), at(2), at(3), at(4), coupling, factors, shape, lengths);
}

}  // namespace

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("edge_geometry", evaluate_autograd);
  m.impl("edge_geometry_backward", pull_back_autograd);
}

}  // namespace dpa4
