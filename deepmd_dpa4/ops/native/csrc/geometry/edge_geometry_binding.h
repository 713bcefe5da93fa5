// Everything the network knows of an edge from its vector alone: distance r, edge weight w, the first factor
// (s, s u) with s = w / r of the environment matrix, harmonics S_lm(u) with l > 0 (times w if so wanted), and the kept
// rows of D(R_e). Second derivatives are taken by dual numbers.
#pragma once

#include "edge_geometry.h"

#include "../common/binding.h"

namespace dpa4::edge_geometry_binding {

using Constants = std::tuple<int64_t, int64_t, int64_t, bool, double, double>;
using Cotangents = c10::List<MaybeTensor>;

// Arguments that are not differentiated. `coupling` (K, 4) int64 holds degree, axis, lower and upper entry of the terms
// of the maps that raise the degree; `factors` the factor of each entry of `compact`, then that of each term; the
// exponent is that of the envelope, harmonics are `weighted` or not, eps2 is added to r^2.
template <typename T>
GeometryPlan<T> make_plan(const Tensor& coupling, const Tensor& factors, const Constants& constants) {
  const auto [lmax, mmax, exponent, weighted, eps2, rcut] = constants;
  const int64_t terms = coupling.size(0), entries = factors.size(0) - terms;
  const T* factor = factors.const_data_ptr<T>();
  GeometryPlan<T> plan(lmax, mmax, exponent, weighted, eps2, rcut, coupling.const_data_ptr<int64_t>(), factor + entries,
                       terms, factor);
  TORCH_CHECK(plan.entries == entries, "edge geometry needs ", plan.entries, " scales but got ", entries);
  return plan;
}

void check(const Tensor& vector, const Tensor& coupling, const Tensor& factors) {
  TORCH_CHECK(vector.dim() == 2 && vector.size(1) == 3, "edge vectors must be (E, 3) but are ", vector.sizes());
  TORCH_CHECK(factors.scalar_type() == vector.scalar_type(), "factors are ", factors.scalar_type(), ", edge vectors ",
              vector.scalar_type());
  TORCH_CHECK(coupling.is_contiguous() && factors.is_contiguous(), "constants must be contiguous");
}

variable_list empty_outputs(const Tensor& vector, const Tensor& coupling, const Tensor& factors, int64_t lmax) {
  const SymInt n = vector.sym_size(0), entries = factors.sym_size(0) - coupling.sym_size(0);
  const int64_t zonal = (lmax + 1) * (lmax + 1) - 1;
  return {vector.new_empty_symint({n}), vector.new_empty_symint({n}), vector.new_empty_symint({n, 4}),
          vector.new_empty_symint({n, zonal}), vector.new_empty_symint({n, entries})};
}

template <typename T>
GeometryRows<T> rows_of(const variable_list& outputs) {
  GeometryRows<T> rows;
  for (int k = 0; k < kGeometryOutputs; ++k) rows[k] = outputs[k].mutable_data_ptr<T>();
  return rows;
}

// Contiguous cotangents; undefined where there is none.
variable_list contiguous(const Cotangents& cotangents) {
  TORCH_CHECK(cotangents.size() == kGeometryOutputs, "edge geometry has ", kGeometryOutputs, " cotangents");
  variable_list result;
  for (const MaybeTensor& x : cotangents) result.push_back(x ? x->contiguous() : Tensor());
  return result;
}

template <typename T>
GeometryRows<const T> rows_of_cotangents(const variable_list& cotangents) {
  GeometryRows<const T> rows;
  for (int k = 0; k < kGeometryOutputs; ++k)
    rows[k] = cotangents[k].defined() ? cotangents[k].const_data_ptr<T>() : nullptr;
  return rows;
}

variable_list geometry_cpu(const Constants& constants, const Tensor& vector, const Tensor& coupling,
                           const Tensor& factors) {
  check(vector, coupling, factors);
  const Tensor v = vector.contiguous();
  const variable_list outputs = empty_outputs(v, coupling, factors, std::get<0>(constants));
  AT_DISPATCH_FLOATING_TYPES(v.scalar_type(), "edge_geometry", [&] {
    const auto plan = make_plan<scalar_t>(coupling, factors, constants);
    const auto rows = rows_of<scalar_t>(outputs);
    edge_geometry<scalar_t>(plan, v.size(0), v.const_data_ptr<scalar_t>(), rows);
  });
  return outputs;
}

Tensor backward_cpu(const Constants& constants, const Tensor& vector, const Cotangents& cotangents,
                    const Tensor& coupling, const Tensor& factors) {
  check(vector, coupling, factors);
  const Tensor v = vector.contiguous(), result = at::empty_like(v);
  const variable_list bar = contiguous(cotangents);
  AT_DISPATCH_FLOATING_TYPES(v.scalar_type(), "edge_geometry_backward", [&] {
    const auto plan = make_plan<scalar_t>(coupling, factors, constants);
    const auto rows = rows_of_cotangents<scalar_t>(bar);
    edge_geometry_backward<scalar_t>(plan, v.size(0), v.const_data_ptr<scalar_t>(), rows,
                                     result.mutable_data_ptr<scalar_t>());
  });
  return result;
}

// Derivatives of h . J^T c for the gradient h of the backward: H h with respect to the vector (H is the second
// derivative of c . outputs, which is symmetric), then J h with respect to each cotangent.
variable_list double_backward_cpu(const Constants& constants, const Tensor& direction, const Tensor& vector,
                                  const Cotangents& cotangents, const Tensor& coupling, const Tensor& factors) {
  check(vector, coupling, factors);
  const Tensor v = vector.contiguous(), h = direction.contiguous(), result = at::empty_like(v);
  const variable_list bar = contiguous(cotangents),
                      outputs = empty_outputs(v, coupling, factors, std::get<0>(constants));
  AT_DISPATCH_FLOATING_TYPES(v.scalar_type(), "edge_geometry_double_backward", [&] {
    const auto plan = make_plan<scalar_t>(coupling, factors, constants);
    const auto rows = rows_of<scalar_t>(outputs);
    const auto bar_rows = rows_of_cotangents<scalar_t>(bar);
    edge_geometry_along<scalar_t>(plan, v.size(0), v.const_data_ptr<scalar_t>(), h.const_data_ptr<scalar_t>(), bar_rows,
                                  rows, result.mutable_data_ptr<scalar_t>());
  });
  return {result, outputs[0], outputs[1], outputs[2], outputs[3], outputs[4]};
}

variable_list geometry_meta(const Constants& constants, const Tensor& vector, const Tensor& coupling,
                            const Tensor& factors) {
  return empty_outputs(vector, coupling, factors, std::get<0>(constants));
}

Tensor backward_meta(const Constants&, const Tensor& vector, const Cotangents&, const Tensor&, const Tensor&) {
  return at::empty_like(vector);
}

variable_list double_backward_meta(const Constants& constants, const Tensor&, const Tensor& vector, const Cotangents&,
                                   const Tensor& coupling, const Tensor& factors) {
  variable_list result = empty_outputs(vector, coupling, factors, std::get<0>(constants));
  result.insert(result.begin(), at::empty_like(vector));
  return result;
}

Tensor pull_back(const Constants& constants, const Tensor& vector, const Cotangents& cotangents, const Tensor& coupling,
                 const Tensor& factors) {
  return Named<backward_meta>::call("dpa4::edge_geometry_backward", constants, vector, cotangents, coupling, factors);
}

Cotangents listed(const Tensor* tensors) {
  Cotangents list;
  for (int k = 0; k < kGeometryOutputs; ++k) list.push_back(maybe(tensors[k]));
  return list;
}

// Cotangents that nobody asked for stay undefined instead of becoming zeros.
void save(AutogradContext* context, const variable_list& tensors, const Constants& constants) {
  context->set_materialize_grads(false);
  context->save_for_backward(tensors);
  context->saved_data["constants"] = constants;
}

struct PullBack : Function<PullBack> {
  static Tensor forward(AutogradContext* context, const Tensor& vector, const MaybeTensor& distance,
                        const MaybeTensor& weight, const MaybeTensor& environment, const MaybeTensor& zonal,
                        const MaybeTensor& compact, const Tensor& coupling, const Tensor& factors,
                        const Constants& constants) {
    variable_list saved{vector, coupling, factors};
    for (const MaybeTensor* x : {&distance, &weight, &environment, &zonal, &compact})
      saved.push_back(x->value_or(Tensor()));
    save(context, saved, constants);
    at::AutoDispatchBelowADInplaceOrView guard;
    return pull_back(constants, vector, listed(&saved[3]), coupling, factors);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    variable_list result(9);
    if (!gradients[0].defined()) return result;
    const variable_list found = Named<double_backward_meta>::call(
        "dpa4::edge_geometry_double_backward", context->saved_data["constants"].to<Constants>(), gradients[0], saved[0],
        listed(&saved[3]), saved[1], saved[2]);
    result[0] = found[0];
    for (int k = 1; k <= kGeometryOutputs; ++k)
      if (saved[2 + k].defined()) result[k] = found[k];
    return result;
  }
};

struct Evaluate : Function<Evaluate> {
  static variable_list forward(AutogradContext* context, const Tensor& vector, const Tensor& coupling,
                               const Tensor& factors, const Constants& constants) {
    save(context, {vector, coupling, factors}, constants);
    at::AutoDispatchBelowADInplaceOrView guard;
    return Named<geometry_meta>::call("dpa4::edge_geometry", constants, vector, coupling, factors);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    return {pull_back(context->saved_data["constants"].to<Constants>(), saved[0], listed(gradients.data()), saved[1],
                      saved[2]),
            Tensor(), Tensor(), Tensor()};
  }
};

variable_list evaluate_autograd(const Constants& constants, const Tensor& vector, const Tensor& coupling,
                                const Tensor& factors) {
  return Evaluate::apply(vector, coupling, factors, constants);
}

Tensor pull_back_autograd(const Constants& constants, const Tensor& vector, const Cotangents& c, const Tensor& coupling,
                          const Tensor& factors) {
  const auto at = [&](size_t k) { return MaybeTensor(c.get(k)); };
  return PullBack::apply(vector, at(0), at(1), at(2), at(3), at(4), coupling, factors, constants);
}

#define DPA4_CONSTANTS "int lmax, int mmax, int exponent, bool weighted, float eps2, float rcut"

TORCH_LIBRARY_FRAGMENT(dpa4, m) {
  m.def("edge_geometry(Tensor vector, Tensor coupling, Tensor factors, *, " DPA4_CONSTANTS ") -> Tensor[]");
  m.def(
      "edge_geometry_backward(Tensor vector, Tensor?[] cotangents, Tensor coupling, Tensor factors, *, " DPA4_CONSTANTS
      ") -> Tensor");
  m.def(
      "edge_geometry_double_backward(Tensor direction, Tensor vector, Tensor?[] cotangents, Tensor coupling, "
      "Tensor factors, *, " DPA4_CONSTANTS ") -> Tensor[]");
}

TORCH_LIBRARY_IMPL(dpa4, CPU, m) {
  m.impl("edge_geometry", Named<geometry_cpu>::kernel);
  m.impl("edge_geometry_backward", Named<backward_cpu>::kernel);
  m.impl("edge_geometry_double_backward", Named<double_backward_cpu>::kernel);
}

TORCH_LIBRARY_IMPL(dpa4, Meta, m) {
  m.impl("edge_geometry", Named<geometry_meta>::kernel);
  m.impl("edge_geometry_backward", Named<backward_meta>::kernel);
  m.impl("edge_geometry_double_backward", Named<double_backward_meta>::kernel);
}

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("edge_geometry", Named<evaluate_autograd>::kernel);
  m.impl("edge_geometry_backward", Named<pull_back_autograd>::kernel);
}

}  // namespace dpa4::edge_geometry_binding
