// Operators for products of fields through a sparse coupling (see couple.h), differentiable to any order.
//
// With F(l, r, g) = sum C_abc l_a r_b g_c, C symmetric in a and b, there are
//   couple(l, r) = dF/dg,  couple_adjoint(r, g) = dF/dl,  couple_gradient(l, r, g) = (dF/dl, dF/dr).
// The derivatives of all three are made of the first two.
#pragma once

#include "couple.h"

#include <tuple>

#include "../common/binding.h"

namespace dpa4::couple_binding {

using Pair = std::tuple<Tensor, Tensor>;
using Unary = Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&);
using Binary = Pair(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&);

Tensor couple(const Tensor& left, const Tensor& right, const Tensor& index, const Tensor& value) {
  static const auto op = find_operator<Unary>("dpa4::couple");
  return op.call(left, right, index, value);
}

Tensor couple_adjoint(const Tensor& operand, const Tensor& grad, const Tensor& index, const Tensor& value) {
  static const auto op = find_operator<Unary>("dpa4::couple_adjoint");
  return op.call(operand, grad, index, value);
}

Pair couple_gradient(const Tensor& left, const Tensor& right, const Tensor& grad, const Tensor& index,
                     const Tensor& value) {
  static const auto op = find_operator<Binary>("dpa4::couple_gradient");
  return op.call(left, right, grad, index, value);
}

void check(at::TensorList fields, const Tensor& index, const Tensor& value) {
  const Tensor& first = fields[0];
  TORCH_CHECK(first.dim() == 2, "couple: fields must be (rows, columns), not ", first.sizes());
  for (const Tensor& field : fields) {
    TORCH_CHECK(field.sizes() == first.sizes(), "couple: fields differ in shape: ", field.sizes(), ", ", first.sizes());
    TORCH_CHECK(field.scalar_type() == value.scalar_type(), "couple: fields and values differ in type");
  }
  TORCH_CHECK(index.scalar_type() == at::kInt && value.dim() == 1 && index.dim() == 2 &&
                  index.size(0) == value.size(0) && index.size(1) == 3,
              "couple: index must be int32 (entries, 3) and value (entries,), not ", index.sizes(), " and ",
              value.sizes());
}

void check_range(const int32_t* index, int64_t count, int64_t rows) {
  for (int64_t i = 0; i < count; ++i) TORCH_CHECK_INDEX(0 <= index[i] && index[i] < rows, "couple: no row ", index[i]);
}

void run(Coupling kind, at::TensorList in, at::TensorList out, const Tensor& index, const Tensor& value) {
  check(in, index, value);
  const Tensor entries = index.contiguous(), values = value.contiguous();
  check_range(entries.data_ptr<int32_t>(), entries.numel(), in[0].size(0));
  std::vector<Tensor> fields;
  for (const Tensor& field : in) fields.push_back(field.contiguous());
  AT_DISPATCH_FLOATING_TYPES(value.scalar_type(), "couple", [&] {
    CoupleArrays<scalar_t> arrays{in[0].size(0), in[0].size(1), {}, {}};
    for (size_t i = 0; i < fields.size(); ++i) arrays.in[i] = fields[i].data_ptr<scalar_t>();
    for (size_t i = 0; i < out.size(); ++i) arrays.out[i] = out[i].data_ptr<scalar_t>();
    couple_all<scalar_t>(kind, entries.data_ptr<int32_t>(), values.data_ptr<scalar_t>(), values.numel(), arrays);
  });
}

template <Coupling kind>
Tensor one_result(const Tensor& a, const Tensor& b, const Tensor& index, const Tensor& value) {
  Tensor out = at::empty(a.sizes(), a.options());
  run(kind, {a, b}, {out}, index, value);
  return out;
}

Pair two_results(const Tensor& left, const Tensor& right, const Tensor& grad, const Tensor& index,
                 const Tensor& value) {
  Tensor u = at::empty(left.sizes(), left.options()), v = at::empty(left.sizes(), left.options());
  run(Coupling::gradient, {left, right, grad}, {u, v}, index, value);
  return {u, v};
}

Tensor one_shape(const Tensor& a, const Tensor&, const Tensor&, const Tensor&) {
  return at::empty_symint(a.sym_sizes(), a.options());
}

Pair two_shapes(const Tensor& left, const Tensor&, const Tensor&, const Tensor&, const Tensor&) {
  return {at::empty_symint(left.sym_sizes(), left.options()), at::empty_symint(left.sym_sizes(), left.options())};
}

struct Couple : Function<Couple> {
  static Tensor forward(AutogradContext* context, const Tensor& left, const Tensor& right, const Tensor& index,
                        const Tensor& value) {
    context->save_for_backward({left, right, index, value});
    at::AutoDispatchBelowADInplaceOrView guard;
    return couple(left, right, index, value);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto [u, v] = couple_gradient(saved[0], saved[1], grads[0], saved[2], saved[3]);
    return {u, v, Tensor(), Tensor()};
  }
};

struct CoupleAdjoint : Function<CoupleAdjoint> {
  static Tensor forward(AutogradContext* context, const Tensor& operand, const Tensor& grad, const Tensor& index,
                        const Tensor& value) {
    context->save_for_backward({operand, grad, index, value});
    at::AutoDispatchBelowADInplaceOrView guard;
    return couple_adjoint(operand, grad, index, value);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &u = grads[0], &index = saved[2], &value = saved[3];
    return {couple_adjoint(u, saved[1], index, value), couple(u, saved[0], index, value), Tensor(), Tensor()};
  }
};

struct CoupleGradient : Function<CoupleGradient> {
  static variable_list forward(AutogradContext* context, const Tensor& left, const Tensor& right, const Tensor& grad,
                               const Tensor& index, const Tensor& value) {
    context->save_for_backward({left, right, grad, index, value});
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto [u, v] = couple_gradient(left, right, grad, index, value);
    return {u, v};
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &left = saved[0], &right = saved[1], &grad = saved[2], &index = saved[3], &value = saved[4];
    const Tensor &u = grads[0], &v = grads[1];
    return {couple_adjoint(v, grad, index, value), couple_adjoint(u, grad, index, value),
            couple(u, right, index, value).add(couple(left, v, index, value)), Tensor(), Tensor()};
  }
};

Pair differentiable_gradient(const Tensor& left, const Tensor& right, const Tensor& grad, const Tensor& index,
                             const Tensor& value) {
  const auto out = CoupleGradient::apply(left, right, grad, index, value);
  return {out[0], out[1]};
}

template <typename Node>
Tensor differentiable(const Tensor& a, const Tensor& b, const Tensor& index, const Tensor& value) {
  return Node::apply(a, b, index, value);
}

TORCH_LIBRARY_FRAGMENT(dpa4, m) {
  m.def("couple(Tensor left, Tensor right, Tensor index, Tensor value) -> Tensor");
  m.def("couple_adjoint(Tensor operand, Tensor grad, Tensor index, Tensor value) -> Tensor");
  m.def("couple_gradient(Tensor left, Tensor right, Tensor grad, Tensor index, Tensor value) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(dpa4, CPU, m) {
  m.impl("couple", one_result<Coupling::couple>);
  m.impl("couple_adjoint", one_result<Coupling::adjoint>);
  m.impl("couple_gradient", two_results);
}

TORCH_LIBRARY_IMPL(dpa4, Meta, m) {
  m.impl("couple", one_shape);
  m.impl("couple_adjoint", one_shape);
  m.impl("couple_gradient", two_shapes);
}

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("couple", differentiable<Couple>);
  m.impl("couple_adjoint", differentiable<CoupleAdjoint>);
  m.impl("couple_gradient", differentiable_gradient);
}

}  // namespace dpa4::couple_binding
