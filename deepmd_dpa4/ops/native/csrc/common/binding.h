// What the bindings share. Derivatives call operators through the dispatcher, so that tracing sees each of them.
#pragma once

// Half of the headers of torch declare operators that are not used here.
#define AT_PER_OPERATOR_HEADERS

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>

namespace dpa4 {

using at::Tensor;
using c10::SymInt;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using MaybeTensor = std::optional<Tensor>;

template <typename Signature>
c10::TypedOperatorHandle<Signature> find_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

// Operators have their constants as named arguments at the end; functions here take them as one tuple at the start.
// `kernel` is such a function f in the form of the schema, `call` calls an operator of that form.
template <auto f>
struct Named;

template <typename R, typename... A, typename... S, R (*f)(const std::tuple<S...>&, A...)>
struct Named<f> {
  static R kernel(A... arguments, S... constants) { return f({constants...}, arguments...); }
  static R call(const char* name, const std::tuple<S...>& all, A... arguments) {
    static const auto op = find_operator<R(A..., S...)>(name);
    return std::apply([&](S... constants) { return op.call(arguments..., constants...); }, all);
  }
};

inline MaybeTensor maybe(const Tensor& x) { return x.defined() ? MaybeTensor(x) : std::nullopt; }

// The same, or zeros where there is none.
inline Tensor or_zeros(const MaybeTensor& x, const Tensor& like) {
  return x ? x->contiguous() : at::zeros_like(like, at::MemoryFormat::Contiguous);
}

inline void check_receivers(const Tensor& receiver, int64_t n) {
  TORCH_CHECK(receiver.is_contiguous(), "receivers must be contiguous");
  const int64_t *first = receiver.const_data_ptr<int64_t>(), *last = first + receiver.size(0);
  TORCH_CHECK(std::is_sorted(first, last), "edges must be sorted by receiver");
  TORCH_CHECK(first == last || (*first >= 0 && last[-1] < n), "receivers must lie in [0, ", n, ")");
}

inline void check_nodes(const Tensor& index, int64_t n, const char* what) {
  const int64_t* at = index.const_data_ptr<int64_t>();
  bool inside = true;
  for (int64_t e = 0; e < index.numel(); ++e) inside &= at[e] >= 0 && at[e] < n;
  TORCH_CHECK(inside, what, " must lie in [0, ", n, ")");
}

}  // namespace dpa4
