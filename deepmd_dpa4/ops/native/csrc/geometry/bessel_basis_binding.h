// The operator bessel_basis: distances (E,) and frequencies (1, n) to sin(omega r) / r times the envelope, (E, n), with
// first and second derivatives.
#pragma once

#include "bessel_basis.h"

#include "../common/binding.h"

namespace dpa4::bessel_basis_binding {

void check(const Tensor& distance, const Tensor& frequency) {
  TORCH_CHECK(distance.dim() == 1, "distances must be (E,) but are ", distance.sizes());
  TORCH_CHECK(frequency.dim() == 2 && frequency.size(0) == 1, "frequencies must be (1, n) but are ", frequency.sizes());
  TORCH_CHECK(distance.scalar_type() == frequency.scalar_type(), "distances are ", distance.scalar_type(),
              " but frequencies ", frequency.scalar_type());
}

template <typename T>
RadialArguments<T> arguments(const Tensor& r, const Tensor& w, double rcut, int64_t exponent) {
  return {r.const_data_ptr<T>(), r.size(0), w.const_data_ptr<T>(), w.size(1), exponent, T(rcut)};
}

Tensor basis_cpu(const Tensor& distance, const Tensor& frequency, double rcut, int64_t exponent) {
  check(distance, frequency);
  const Tensor r = distance.contiguous(), w = frequency.contiguous();
  const Tensor result = at::empty({r.size(0), w.size(1)}, r.options());
  AT_DISPATCH_FLOATING_TYPES(r.scalar_type(), "bessel_basis", [&] {
    bessel_basis<scalar_t>(arguments<scalar_t>(r, w, rcut, exponent), result.mutable_data_ptr<scalar_t>());
  });
  return result;
}

variable_list backward_cpu(const Tensor& gradient, const Tensor& distance, const Tensor& frequency, double rcut,
                           int64_t exponent) {
  check(distance, frequency);
  const Tensor g = gradient.contiguous(), r = distance.contiguous(), w = frequency.contiguous();
  const Tensor r_bar = at::zeros_like(r), w_bar = at::empty_like(w);
  AT_DISPATCH_FLOATING_TYPES(r.scalar_type(), "bessel_basis_backward", [&] {
    using T = scalar_t;
    bessel_basis_backward<T>(arguments<T>(r, w, rcut, exponent), g.const_data_ptr<T>(), r_bar.mutable_data_ptr<T>(),
                             w_bar.mutable_data_ptr<T>());
  });
  return {r_bar, w_bar};
}

// Derivatives of h_r . r_bar + h_omega . omega_bar by the gradient, the distances and the frequencies.
variable_list double_backward_cpu(const MaybeTensor& along_distance, const MaybeTensor& along_frequency,
                                  const Tensor& gradient, const Tensor& distance, const Tensor& frequency, double rcut,
                                  int64_t exponent) {
  check(distance, frequency);
  const Tensor g = gradient.contiguous(), r = distance.contiguous(), w = frequency.contiguous();
  const Tensor h_r = or_zeros(along_distance, r), h_w = or_zeros(along_frequency, w);
  const Tensor g_bar = at::empty_like(g), r_bar = at::zeros_like(r), w_bar = at::empty_like(w);
  AT_DISPATCH_FLOATING_TYPES(r.scalar_type(), "bessel_basis_double_backward", [&] {
    using T = scalar_t;
    bessel_basis_double_backward<T>(arguments<T>(r, w, rcut, exponent), h_r.const_data_ptr<T>(),
                                    h_w.const_data_ptr<T>(), g.const_data_ptr<T>(), g_bar.mutable_data_ptr<T>(),
                                    r_bar.mutable_data_ptr<T>(), w_bar.mutable_data_ptr<T>());
  });
  return {g_bar, r_bar, w_bar};
}

Tensor basis_meta(const Tensor& distance, const Tensor& frequency, double, int64_t) {
  return distance.new_empty_symint({distance.sym_size(0), frequency.sym_size(1)});
}

variable_list backward_meta(const Tensor&, const Tensor& distance, const Tensor& frequency, double, int64_t) {
  return {at::empty_like(distance), at::empty_like(frequency)};
}

variable_list double_backward_meta(const MaybeTensor&, const MaybeTensor&, const Tensor& gradient,
                                   const Tensor& distance, const Tensor& frequency, double, int64_t) {
  return {at::empty_like(gradient), at::empty_like(distance), at::empty_like(frequency)};
}

struct PullBack : Function<PullBack> {
  static variable_list forward(AutogradContext* context, const Tensor& gradient, const Tensor& distance,
                               const Tensor& frequency, double rcut, int64_t exponent) {
    static const auto op = find_operator<decltype(backward_cpu)>("dpa4::bessel_basis_backward");
    context->set_materialize_grads(false);
    context->save_for_backward({gradient, distance, frequency});
    context->saved_data["rcut"] = rcut;
    context->saved_data["exponent"] = exponent;
    at::AutoDispatchBelowADInplaceOrView guard;
    return op.call(gradient, distance, frequency, rcut, exponent);
  }

  static variable_list backward(AutogradContext* context, variable_list h) {
    static const auto op = find_operator<decltype(double_backward_cpu)>("dpa4::bessel_basis_double_backward");
    const variable_list saved = context->get_saved_variables();
    variable_list found = op.call(maybe(h[0]), maybe(h[1]), saved[0], saved[1], saved[2],
                                  context->saved_data["rcut"].toDouble(), context->saved_data["exponent"].toInt());
    found.resize(5);
    return found;
  }
};

struct Evaluate : Function<Evaluate> {
  static Tensor forward(AutogradContext* context, const Tensor& distance, const Tensor& frequency, double rcut,
                        int64_t exponent) {
    static const auto op = find_operator<decltype(basis_cpu)>("dpa4::bessel_basis");
    context->save_for_backward({distance, frequency});
    context->saved_data["rcut"] = rcut;
    context->saved_data["exponent"] = exponent;
    at::AutoDispatchBelowADInplaceOrView guard;
    return op.call(distance, frequency, rcut, exponent);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    static const auto op = find_operator<decltype(backward_cpu)>("dpa4::bessel_basis_backward");
    const variable_list saved = context->get_saved_variables();
    variable_list found = op.call(gradients[0], saved[0], saved[1], context->saved_data["rcut"].toDouble(),
                                  context->saved_data["exponent"].toInt());
    found.resize(4);
    return found;
  }
};

Tensor basis_autograd(const Tensor& distance, const Tensor& frequency, double rcut, int64_t exponent) {
  return Evaluate::apply(distance, frequency, rcut, exponent);
}

variable_list backward_autograd(const Tensor& gradient, const Tensor& distance, const Tensor& frequency, double rcut,
                                int64_t exponent) {
  return PullBack::apply(gradient, distance, frequency, rcut, exponent);
}

TORCH_LIBRARY_FRAGMENT(dpa4, m) {
  m.def("bessel_basis(Tensor distance, Tensor frequency, float rcut, int exponent) -> Tensor");
  m.def(
      "bessel_basis_backward(Tensor gradient, Tensor distance, Tensor frequency, float rcut, int exponent) -> "
      "Tensor[]");
  m.def(
      "bessel_basis_double_backward(Tensor? along_distance, Tensor? along_frequency, Tensor gradient, Tensor distance, "
      "Tensor frequency, float rcut, int exponent) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(dpa4, CPU, m) {
  m.impl("bessel_basis", basis_cpu);
  m.impl("bessel_basis_backward", backward_cpu);
  m.impl("bessel_basis_double_backward", double_backward_cpu);
}

TORCH_LIBRARY_IMPL(dpa4, Meta, m) {
  m.impl("bessel_basis", basis_meta);
  m.impl("bessel_basis_backward", backward_meta);
  m.impl("bessel_basis_double_backward", double_backward_meta);
}

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("bessel_basis", basis_autograd);
  m.impl("bessel_basis_backward", backward_autograd);
}

}  // namespace dpa4::bessel_basis_binding
