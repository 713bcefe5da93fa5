// The operator dpa4::matrix_product: A B for matrices, and for batches of matrices with one B each or one B for all.
// The product is bilinear and its derivatives are products, so it can be differentiated to any order.
#pragma once

#include "matrix_product.h"

#include "../common/binding.h"

namespace dpa4::matrix_product_binding {

template <typename T>
Matrices<T> matrices(const Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0), x.stride(1), x.stride(2)};
}

std::vector<SymInt> result_sizes(const Tensor& a, const Tensor& b) {
  auto sizes = a.sym_sizes().vec();
  sizes.back() = b.sym_size(-1);
  return sizes;
}

Tensor matrix_product_cpu(const Tensor& a, const Tensor& b) {
  TORCH_CHECK(a.dim() >= 2 && (b.dim() == 2 || (a.dim() == 3 && b.dim() == 3 && a.size(0) == b.size(0))) &&
                  a.size(-1) == b.size(-2),
              "matrix_product: sizes ", a.sizes(), " and ", b.sizes(), " do not match");
  TORCH_CHECK(a.scalar_type() == b.scalar_type(), "matrix_product: types ", a.scalar_type(), " and ", b.scalar_type(),
              " differ");
  Tensor result = at::empty_symint(result_sizes(a, b), a.options());
  if (result.numel() == 0 || a.size(-1) == 0) return result.zero_();
  const bool flat = b.dim() == 2 && (a.dim() != 3 || a.is_contiguous());
  const Tensor left = flat ? a.reshape({1, -1, a.size(-1)}) : a;
  const Tensor right = b.dim() == 2 ? b.unsqueeze(0).expand({left.size(0), -1, -1}) : b;
  const Sizes s{left.size(0), left.size(1), right.size(2), left.size(2)};
  const int64_t parts = parts_of(s);
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "matrix_product", [&] {
    using T = scalar_t;
    const Matrices<T> x = matrices<T>(left), y = matrices<T>(right);
    if (parts == 1) {
      multiply<T>(s, x, y, 1, result.mutable_data_ptr<T>());
    } else {
      Tensor partial = at::empty({parts, result.numel()}, a.options());
      multiply<T>(s, x, y, parts, partial.mutable_data_ptr<T>());
      result = partial.sum(0).view(result.sizes());
    }
  });
  return result;
}

Tensor matrix_product_meta(const Tensor& a, const Tensor& b) { return a.new_empty_symint(result_sizes(a, b)); }

Tensor matrix_product(const Tensor& a, const Tensor& b) {
  static const auto op = find_operator<decltype(matrix_product_cpu)>("dpa4::matrix_product");
  return op.call(a, b);
}

struct MatrixProduct : Function<MatrixProduct> {
  static Tensor forward(AutogradContext* context, const Tensor& a, const Tensor& b) {
    context->save_for_backward({a, b});
    at::AutoDispatchBelowADInplaceOrView guard;
    return matrix_product(a, b);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &a = saved[0], &b = saved[1], &g = gradients[0];
    Tensor for_a, for_b;
    if (context->needs_input_grad(0)) for_a = matrix_product(g, b.transpose(-1, -2));
    if (context->needs_input_grad(1)) {
      const bool shared = b.dim() == 2;
      const Tensor left = shared ? a.flatten(0, -2) : a, right = shared ? g.flatten(0, -2) : g;
      for_b = matrix_product(left.transpose(-1, -2), right);
    }
    return {for_a, for_b};
  }
};

TORCH_LIBRARY_FRAGMENT(dpa4, m) { m.def("matrix_product(Tensor a, Tensor b) -> Tensor"); }

TORCH_LIBRARY_IMPL(dpa4, CPU, m) { m.impl("matrix_product", matrix_product_cpu); }

TORCH_LIBRARY_IMPL(dpa4, Meta, m) { m.impl("matrix_product", matrix_product_meta); }

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("matrix_product", [](const Tensor& a, const Tensor& b) { return Tensor(MatrixProduct::apply(a, b)); });
}

}  // namespace dpa4::matrix_product_binding
