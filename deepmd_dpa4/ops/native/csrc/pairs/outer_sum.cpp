// Sums over the edges of each receiver of an outer product, S_i = sum_{e -> i} a_e (x) b_e, and the two products with
// S that differentiation brings, S_i b_e and S_i^T a_e. Each is bilinear, so the three are closed under
// differentiation: every backward calls the others through the dispatcher and works to any order.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "../common/dispatch.h"
#include "../common/receivers.h"
#include "../dense/gemm.h"

namespace dpa4 {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// C = A B (or C += A B) with any number of columns: where it is no multiple of the vector width, B and C go through a
// scratch array with padded rows.
template <typename T>
class Product {
 public:
  explicit Product(int64_t columns) : N(columns), ld(padded<T>(columns)) {}

  void operator()(int64_t M, int64_t K, Operand<T> a, const T* b, T* c) {
    if (N == ld) {
      gemm<T, false>(M, N, K, a, b, N, c, N);
      return;
    }
    reserve((M + K) * ld);
    T *wide_b = scratch.get(), *wide_c = wide_b + K * ld;
    for (int64_t k = 0; k < K; ++k) {
      std::copy(b + k * N, b + (k + 1) * N, wide_b + k * ld);
      std::fill(wide_b + k * ld + N, wide_b + (k + 1) * ld, T(0));
    }
    gemm<T, false>(M, ld, K, a, wide_b, ld, wide_c, ld);
    for (int64_t i = 0; i < M; ++i) std::copy(wide_c + i * ld, wide_c + i * ld + N, c + i * N);
  }

 private:
  void reserve(int64_t count) {
    if (count > capacity) {
      scratch = allocate<T>(count);
      capacity = count;
    }
  }

  int64_t N, ld, capacity = 0;
  Buffer<T> scratch;
};

template <typename T>
void sum_kernel(const Tensor& a, const Tensor& b, const Tensor& receiver, Tensor& total) {
  const int64_t P = a.size(1), Q = b.size(1);
  const T *left = a.const_data_ptr<T>(), *right = b.const_data_ptr<T>();
  T* out = total.mutable_data_ptr<T>();
  over_receivers(receiver.const_data_ptr<int64_t>(), a.size(0), [=] {
    return [=, product = Product<T>(Q)](int64_t i, int64_t begin, int64_t end) mutable {
      product(P, end - begin, {left + begin * P, 1, P}, right + begin * Q, out + i * P * Q);
    };
  });
}

// Rows x_e S_i, where S_i is (R, C) with element (r, c) at r * row + c * column.
template <typename T>
void apply_kernel(const Tensor& sums, const Tensor& x, const Tensor& receiver, Tensor& result, bool transposed) {
  const int64_t R = x.size(1), C = result.size(1);
  const T *matrix = sums.const_data_ptr<T>(), *rows = x.const_data_ptr<T>();
  T* out = result.mutable_data_ptr<T>();
  over_receivers(receiver.const_data_ptr<int64_t>(), x.size(0), [=] {
    return [=, product = Product<T>(C), turned = std::vector<T>(transposed ? R * C : 0)](int64_t i, int64_t begin,
                                                                                         int64_t end) mutable {
      const T* s = matrix + i * R * C;
      if (transposed) {
        for (int64_t c = 0; c < C; ++c)
          for (int64_t r = 0; r < R; ++r) turned[r * C + c] = s[c * R + r];
        s = turned.data();
      }
      product(end - begin, R, {rows + begin * R, R, 1}, s, out + begin * C);
    };
  });
}

void check(const Tensor& x, const Tensor& y, const Tensor& receiver, int64_t n) {
  TORCH_CHECK(x.scalar_type() == y.scalar_type(), "outer sums need operands of one type but got ", x.scalar_type(),
              " and ", y.scalar_type());
  check_receivers(receiver, n);
}

Tensor outer_sum_cpu(const Tensor& a, const Tensor& b, const Tensor& receiver, int64_t n) {
  check(a, b, receiver, n);
  Tensor total = at::zeros({n, a.size(1), b.size(1)}, a.options());
  const Tensor left = a.contiguous(), right = b.contiguous();
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "outer_sum", [&] { sum_kernel<scalar_t>(left, right, receiver, total); });
  return total;
}

Tensor apply(const Tensor& sums, const Tensor& x, const Tensor& receiver, bool transposed) {
  check(sums, x, receiver, sums.size(0));
  Tensor result = at::empty({x.size(0), sums.size(transposed ? 1 : 2)}, x.options());
  const Tensor matrix = sums.contiguous(), rows = x.contiguous();
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "outer_sum_apply",
                             [&] { apply_kernel<scalar_t>(matrix, rows, receiver, result, transposed); });
  return result;
}

Tensor outer_sum_left_cpu(const Tensor& sums, const Tensor& b, const Tensor& receiver) {
  return apply(sums, b, receiver, true);
}

Tensor outer_sum_right_cpu(const Tensor& sums, const Tensor& a, const Tensor& receiver) {
  return apply(sums, a, receiver, false);
}

Tensor outer_sum_meta(const Tensor& a, const Tensor& b, const Tensor& receiver, c10::SymInt n) {
  return a.new_empty_symint({n, a.sym_size(1), b.sym_size(1)});
}

Tensor outer_sum_left_meta(const Tensor& sums, const Tensor& b, const Tensor& receiver) {
  return b.new_empty_symint({b.sym_size(0), sums.sym_size(1)});
}

Tensor outer_sum_right_meta(const Tensor& sums, const Tensor& a, const Tensor& receiver) {
  return a.new_empty_symint({a.sym_size(0), sums.sym_size(2)});
}

Tensor outer_sum(const Tensor& a, const Tensor& b, const Tensor& receiver, c10::SymInt n) {
  static const auto op = find_operator<decltype(outer_sum_meta)>("dpa4::outer_sum");
  return op.call(a, b, receiver, n);
}

template <bool transposed>
Tensor outer_apply(const Tensor& sums, const Tensor& x, const Tensor& receiver) {
  static const auto op =
      find_operator<decltype(outer_sum_left_cpu)>(transposed ? "dpa4::outer_sum_left" : "dpa4::outer_sum_right");
  return op.call(sums, x, receiver);
}

constexpr auto outer_sum_left = outer_apply<true>;
constexpr auto outer_sum_right = outer_apply<false>;

struct OuterSum : torch::autograd::Function<OuterSum> {
  static Tensor forward(AutogradContext* context, const Tensor& a, const Tensor& b, const Tensor& receiver,
                        const c10::SymInt& n) {
    context->save_for_backward({a, b, receiver});
    at::AutoDispatchBelowADInplaceOrView guard;
    return outer_sum(a, b, receiver, n);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &a = saved[0], &b = saved[1], &receiver = saved[2], &g = gradients[0];
    Tensor for_a, for_b;
    if (context->needs_input_grad(0)) for_a = outer_sum_left(g, b, receiver);
    if (context->needs_input_grad(1)) for_b = outer_sum_right(g, a, receiver);
    return {for_a, for_b, Tensor(), Tensor()};
  }
};

template <bool transposed>
struct OuterApply : torch::autograd::Function<OuterApply<transposed>> {
  static Tensor forward(AutogradContext* context, const Tensor& sums, const Tensor& x, const Tensor& receiver) {
    context->save_for_backward({sums, x, receiver});
    at::AutoDispatchBelowADInplaceOrView guard;
    return outer_apply<transposed>(sums, x, receiver);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &sums = saved[0], &x = saved[1], &receiver = saved[2], &g = gradients[0];
    Tensor for_sums, for_x;
    if (context->needs_input_grad(0)) {
      const c10::SymInt n = sums.sym_size(0);
      for_sums = transposed ? outer_sum(g, x, receiver, n) : outer_sum(x, g, receiver, n);
    }
    if (context->needs_input_grad(1)) for_x = outer_apply<!transposed>(sums, g, receiver);
    return {for_sums, for_x, Tensor()};
  }
};

Tensor outer_sum_autograd(const Tensor& a, const Tensor& b, const Tensor& receiver, c10::SymInt n) {
  return OuterSum::apply(a, b, receiver, n);
}

template <bool transposed>
Tensor outer_apply_autograd(const Tensor& sums, const Tensor& x, const Tensor& receiver) {
  return OuterApply<transposed>::apply(sums, x, receiver);
}

}  // namespace

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

}  // namespace dpa4
