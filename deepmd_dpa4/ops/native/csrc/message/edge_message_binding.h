// The operators dpa4::edge_message, edge_message_backward and edge_message_backward_backward.
#pragma once

#include "edge_message.h"

#include <c10/core/impl/TorchDispatchModeTLS.h>

#include "../common/binding.h"

namespace dpa4::edge_message_binding {

// Bytes that one operation keeps at most between its passes. DPA4-Air takes 15 kB an edge: up to 32,768 edges, where
// evaluation in tiles begins, are kept; what is larger goes easy on memory.
constexpr int64_t kMostKept = int64_t(512) << 20;

using Sizes = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool>;

EdgeShape parse_shape(const Sizes& sizes, int64_t channels, bool focus) {
  const auto [lmax, mmax, table_mmax, streams, heads, layers, rank, focus_norm] = sizes;
  TORCH_CHECK(1 <= lmax && lmax <= kMaxDegree && mmax <= lmax && 1 <= streams && streams <= kMaxStreams && 1 <= heads &&
                  heads <= kMaxHeads && layers >= 1,
              "dpa4: these sizes are not covered by the edge operator");
  return {lmax, mmax, table_mmax, streams, channels / streams, heads, layers, rank, focus, focus_norm};
}

// Numbers of an edge that a forward pass can keep.
int64_t kept_of_an_edge(const Sizes& sizes, const Tensor& features, const MaybeTensor& focus) {
  const int64_t padding = features.scalar_type() == at::kFloat ? padding_of<float>() : padding_of<double>();
  return EdgeLayout(parse_shape(sizes, features.size(-1), focus && focus->defined()), padding).kept;
}

// Pad the last axis from streams * width to streams * padded.
Tensor pad(const Tensor& x, const EdgeLayout& a) {
  if (a.padded == a.shape.width) return x.contiguous();
  auto sizes = x.sizes().vec();
  sizes.back() = a.shape.streams;
  sizes.push_back(a.shape.width);
  Tensor wide = at::constant_pad_nd(x.reshape(sizes), {0, a.padded - a.shape.width});
  return wide.flatten(-2).contiguous();
}

Tensor unpad(const Tensor& x, const EdgeLayout& a) {
  if (a.padded == a.shape.width) return x;
  auto sizes = x.sizes().vec();
  sizes.back() = a.shape.streams;
  sizes.push_back(a.padded);
  return x.reshape(sizes).narrow(-1, 0, a.shape.width).flatten(-2).contiguous();
}

// Padded copies of the arguments and views of their data.
template <typename T>
struct Arguments {
  Tensor features, table, kernels, weight, focus, flat;
  std::unique_ptr<PackedStack<T>> stack;
  EdgeArguments<T> view;

  Arguments(const EdgeLayout& a, const Tensor& features_, const Tensor& table_, const Tensor& kernels_,
            const Tensor& weight_, const MaybeTensor& stack_, const MaybeTensor& focus_, bool with_adjoint) {
    features = pad(features_, a);
    table = table_.contiguous();
    kernels = a.shape.rank > 0 ? kernels_.contiguous()
                               : pad(kernels_.reshape({kernels_.size(0), a.shape.lmax + 1, features_.size(-1)}), a);
    weight = weight_.contiguous();
    view = {features.const_data_ptr<T>(),
            table.const_data_ptr<T>(),
            kernels.const_data_ptr<T>(),
            weight.const_data_ptr<T>(),
            nullptr,
            nullptr};
    if (focus_ && focus_->defined()) {
      focus = pad(focus_->reshape({-1}), a);
      view.focus = focus.const_data_ptr<T>();
    }
    if (stack_ && stack_->defined()) {
      flat = stack_->contiguous();
      StackLayout layout(a);
      TORCH_CHECK(flat.numel() == layout.flat_total, "dpa4: `stack` has the wrong size");
      stack = std::make_unique<PackedStack<T>>(std::move(layout), flat.const_data_ptr<T>(), with_adjoint);
      view.stack = stack.get();
    }
  }
};

EdgeIndex index_of(const Tensor& sender, const Tensor& receiver, const Tensor& features, int64_t receivers) {
  check_receivers(receiver, receivers);
  check_nodes(sender, features.size(0), "senders");
  return {sender.const_data_ptr<int64_t>(), receiver.const_data_ptr<int64_t>(), sender.numel(), features.size(0),
          receivers};
}

// The sums of the messages and, with `keep`, what spares the backward passes their products, in tiles of the parts.
std::tuple<Tensor, Tensor> sum_messages(const Sizes& sizes, const Tensor& features, const Tensor& table,
                                        const Tensor& kernels, const Tensor& weight, const Tensor& stack,
                                        const MaybeTensor& focus, const Tensor& sender, const Tensor& receiver,
                                        int64_t receivers, int64_t parts, bool keep) {
  Tensor result, kept;
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "dpa4::edge_message", [&] {
    using T = scalar_t;
    const EdgeShape s = parse_shape(sizes, features.size(-1), focus && focus->defined());
    const EdgeLayout a(s, padding_of<T>());
    const Arguments<T> in(a, features, table, kernels, weight, stack, focus, false);
    const Tensor from = sender.contiguous(), to = receiver.contiguous();
    Tensor out = at::zeros({receivers, a.size, a.channels}, features.options());
    if (keep) kept = at::empty({from.numel(), a.kept}, features.options());
    edge_forward<T>(a, table.size(1), in.view, index_of(from, to, features, receivers), parts,
                    out.mutable_data_ptr<T>(), keep ? kept.mutable_data_ptr<T>() : nullptr);
    result = unpad(out, a);
  });
  return {result, kept};
}

Tensor forward_cpu(const Sizes& sizes, const Tensor& features, const Tensor& table, const Tensor& kernels,
                   const Tensor& weight, const Tensor& stack, const MaybeTensor& focus, const Tensor& sender,
                   const Tensor& receiver, int64_t receivers) {
  return std::get<0>(sum_messages(sizes, features, table, kernels, weight, stack, focus, sender, receiver, receivers,
                                  edge_threads(sender.numel()), false));
}

std::tuple<Tensor, Tensor> forward_keeping_cpu(const Sizes& sizes, const Tensor& features, const Tensor& table,
                                               const Tensor& kernels, const Tensor& weight, const Tensor& stack,
                                               const MaybeTensor& focus, const Tensor& sender, const Tensor& receiver,
                                               int64_t receivers, int64_t parts) {
  TORCH_CHECK(parts >= 1, "dpa4: edges are divided into at least one part");
  return sum_messages(sizes, features, table, kernels, weight, stack, focus, sender, receiver, receivers, parts, true);
}

// What a forward pass kept; null without.
template <typename T>
T* data_of(const MaybeTensor& kept, const EdgeLayout& a, int64_t edges, int64_t parts) {
  if (!kept) return nullptr;
  TORCH_CHECK(kept->is_contiguous() && kept->numel() == edges * a.kept && parts >= 1,
              "dpa4: `kept` does not come from a forward pass on these edges");
  return kept->template mutable_data_ptr<T>();
}

// Gradient arrays in padded form, and back.
template <typename T>
struct Gradients {
  const EdgeLayout& a;
  Tensor features, table, kernels, weight, stack, focus;
  EdgeGradients<T> view;

  Gradients(const EdgeLayout& layout, const Arguments<T>& in, at::ArrayRef<bool> wanted, bool focused) : a(layout) {
    const int64_t edges = in.table.size(0);
    const auto options = in.features.options();
    if (wanted[0]) view.features = (features = at::zeros_like(in.features)).template mutable_data_ptr<T>();
    if (wanted[1]) view.table = (table = at::empty_like(in.table)).template mutable_data_ptr<T>();
    if (wanted[2]) view.kernels = (kernels = at::empty({edges, a.kernel}, options)).template mutable_data_ptr<T>();
    if (wanted[3]) view.weight = (weight = at::empty_like(in.weight)).template mutable_data_ptr<T>();
    if (wanted[4])
      view.stack = (stack = at::zeros({in.stack->layout.packed_total}, options)).template mutable_data_ptr<T>();
    if (wanted[5] && focused) view.focus = (focus = at::zeros({a.channels}, options)).template mutable_data_ptr<T>();
  }

  // In the shapes of the arguments; empty where not wanted.
  void append(const Arguments<T>& in, variable_list& out) const {
    const Tensor none = at::empty({0}, in.features.options());
    out.push_back(features.defined() ? unpad(features, a) : none);
    out.push_back(table.defined() ? table : none);
    if (!kernels.defined())
      out.push_back(none);
    else if (a.shape.rank > 0)
      out.push_back(kernels);
    else
      out.push_back(unpad(kernels.view({-1, a.shape.lmax + 1, a.channels}), a).flatten(1));
    out.push_back(weight.defined() ? weight : none);
    if (stack.defined()) {
      Tensor flat = at::empty({in.stack->layout.flat_total}, stack.options());
      unpack_gradient<T>(in.stack->layout, stack.const_data_ptr<T>(), flat.mutable_data_ptr<T>());
      out.push_back(flat);
    } else {
      out.push_back(none);
    }
    out.push_back(focus.defined() ? unpad(focus, a).view({a.shape.streams, a.shape.width}) : none);
  }
};

variable_list backward_cpu(const Sizes& sizes, const Tensor& gradient, const Tensor& features, const Tensor& table,
                           const Tensor& kernels, const Tensor& weight, const Tensor& stack, const MaybeTensor& focus,
                           const Tensor& sender, const Tensor& receiver, std::array<bool, 6> wanted,
                           const MaybeTensor& kept, int64_t parts) {
  variable_list result;
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "dpa4::edge_message_backward", [&] {
    using T = scalar_t;
    const bool focused = focus && focus->defined();
    const EdgeLayout a(parse_shape(sizes, features.size(-1), focused), padding_of<T>());
    const Arguments<T> in(a, features, table, kernels, weight, stack, focus, true);
    const Tensor from = sender.contiguous(), to = receiver.contiguous(), adjoint = pad(gradient, a);
    const Gradients<T> out(a, in, wanted, focused);
    edge_backward<T, false>(a, table.size(1), in.view, nullptr, index_of(from, to, features, gradient.size(0)),
                            kept ? parts : edge_threads(from.numel()), adjoint.const_data_ptr<T>(), out.view, nullptr,
                            data_of<T>(kept, a, from.numel(), parts));
    out.append(in, result);
  });
  return result;
}

variable_list backward_backward_cpu(const Sizes& sizes, const Tensor& gradient, const Tensor& features,
                                    const Tensor& table, const Tensor& kernels, const Tensor& weight,
                                    const Tensor& stack, const MaybeTensor& focus, const Tensor& dot_features,
                                    const Tensor& dot_table, const Tensor& dot_kernels, const Tensor& dot_weight,
                                    const MaybeTensor& dot_stack, const MaybeTensor& dot_focus, const Tensor& sender,
                                    const Tensor& receiver, std::array<bool, 7> wanted, const MaybeTensor& kept,
                                    int64_t parts) {
  variable_list result;
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "dpa4::edge_message_backward_backward", [&] {
    using T = scalar_t;
    const bool focused = focus && focus->defined();
    const EdgeLayout a(parse_shape(sizes, features.size(-1), focused), padding_of<T>());
    const Arguments<T> in(a, features, table, kernels, weight, stack, focus, true);
    const Arguments<T> dot(a, dot_features, dot_table, dot_kernels, dot_weight, dot_stack, dot_focus, true);
    const Tensor from = sender.contiguous(), to = receiver.contiguous(), adjoint = pad(gradient, a);
    const Gradients<T> out(a, in, at::ArrayRef<bool>(wanted).slice(1), focused);
    Tensor out_dot = at::zeros_like(adjoint);
    edge_backward<T, true>(a, table.size(1), in.view, &dot.view, index_of(from, to, features, gradient.size(0)),
                           kept ? parts : edge_threads(from.numel()), adjoint.const_data_ptr<T>(), out.view,
                           wanted[0] ? out_dot.mutable_data_ptr<T>() : nullptr,
                           data_of<T>(kept, a, from.numel(), parts));
    result.push_back(unpad(out_dot, a));
    out.append(in, result);
  });
  return result;
}

Tensor forward_meta(const Sizes& sizes, const Tensor& features, const Tensor&, const Tensor&, const Tensor&,
                    const Tensor&, const MaybeTensor&, const Tensor&, const Tensor&, SymInt receivers) {
  const int64_t size = std::get<0>(sizes) + 1;
  return at::empty_symint({receivers, size * size, features.sym_size(-1)}, features.options());
}

std::tuple<Tensor, Tensor> forward_keeping_meta(const Sizes& sizes, const Tensor& features, const Tensor& table,
                                                const Tensor& kernels, const Tensor& weight, const Tensor& stack,
                                                const MaybeTensor& focus, const Tensor& sender, const Tensor& receiver,
                                                SymInt receivers, int64_t) {
  const Tensor out = forward_meta(sizes, features, table, kernels, weight, stack, focus, sender, receiver, receivers);
  return {out, at::empty_symint({sender.sym_size(0), kept_of_an_edge(sizes, features, focus)}, features.options())};
}

variable_list like(at::ArrayRef<Tensor> arguments, at::ArrayRef<bool> wanted) {
  variable_list result;
  for (size_t i = 0; i < arguments.size(); ++i)
    result.push_back(wanted[i] && arguments[i].defined() ? at::empty_like(arguments[i])
                                                         : at::empty({0}, arguments[0].options()));
  return result;
}

variable_list backward_meta(const Sizes&, const Tensor&, const Tensor& features, const Tensor& table,
                            const Tensor& kernels, const Tensor& weight, const Tensor& stack, const MaybeTensor& focus,
                            const Tensor&, const Tensor&, std::array<bool, 6> wanted, const MaybeTensor&, int64_t) {
  return like({features, table, kernels, weight, stack, focus.value_or(Tensor())}, wanted);
}

variable_list backward_backward_meta(const Sizes&, const Tensor& gradient, const Tensor& features, const Tensor& table,
                                     const Tensor& kernels, const Tensor& weight, const Tensor& stack,
                                     const MaybeTensor& focus, const Tensor&, const Tensor&, const Tensor&,
                                     const Tensor&, const MaybeTensor&, const MaybeTensor&, const Tensor&,
                                     const Tensor&, std::array<bool, 7> wanted, const MaybeTensor&, int64_t) {
  return like({gradient, features, table, kernels, weight, stack, focus.value_or(Tensor())}, wanted);
}

// Custom functions take no undefined tensors: an empty one stands for none.
bool present(const Tensor& x) { return x.defined() && x.sym_numel() != 0; }
MaybeTensor optional(const Tensor& x) { return present(x) ? MaybeTensor(x) : std::nullopt; }
Tensor or_empty(const MaybeTensor& x, const Tensor& like) {
  return x && x->defined() ? *x : at::empty({0}, like.options());
}

struct EdgeMessageBackward : Function<EdgeMessageBackward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& gradient, const Tensor& features,
                               const Tensor& table, const Tensor& kernels, const Tensor& weight, const Tensor& stack,
                               const Tensor& focus, const Tensor& sender, const Tensor& receiver, const Sizes& sizes,
                               std::array<bool, 6> wanted, const Tensor& kept, int64_t parts) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({gradient, features, table, kernels, weight, stack, focus, sender, receiver, kept});
    ctx->saved_data["sizes"] = sizes;
    ctx->saved_data["parts"] = parts;
    ctx->set_materialize_grads(false);
    return Named<backward_meta>::call("dpa4::edge_message_backward", sizes, gradient, features, table, kernels, weight,
                                      stack, optional(focus), sender, receiver, wanted, optional(kept), parts);
  }

  static variable_list backward(AutogradContext* ctx, variable_list dot) {
    const auto saved = ctx->get_saved_variables();
    std::array<bool, 7> wanted;
    for (int i = 0; i < 7; ++i) wanted[i] = ctx->needs_input_grad(i) && present(saved[i]);
    variable_list tangent(dot.begin(), dot.begin() + 6);
    for (int i = 0; i < 4; ++i)
      if (!tangent[i].defined()) tangent[i] = at::zeros_like(saved[i + 1]);
    const auto sizes = ctx->saved_data["sizes"].to<Sizes>();
    variable_list result = Named<backward_backward_meta>::call(
        "dpa4::edge_message_backward_backward", sizes, saved[0], saved[1], saved[2], saved[3], saved[4], saved[5],
        optional(saved[6]), tangent[0], tangent[1], tangent[2], tangent[3], optional(tangent[4]), optional(tangent[5]),
        saved[7], saved[8], wanted, optional(saved[9]), ctx->saved_data["parts"].toInt());
    for (int i = 0; i < 7; ++i)
      if (!wanted[i]) result[i] = Tensor();
    result.resize(13);
    return result;
  }
};

struct EdgeMessage : Function<EdgeMessage> {
  static Tensor forward(AutogradContext* ctx, const Tensor& features, const Tensor& table, const Tensor& kernels,
                        const Tensor& weight, const Tensor& stack, const Tensor& focus, const Tensor& sender,
                        const Tensor& receiver, const SymInt& receivers, const Sizes& sizes, bool keep) {
    at::AutoDispatchBelowADInplaceOrView below;
    Tensor out, kept = at::empty({0}, features.options());
    const int64_t parts = keep ? edge_threads(sender.numel()) : 0;
    if (keep)
      std::tie(out, kept) =
          Named<forward_keeping_meta>::call("dpa4::edge_message_keeping", sizes, features, table, kernels, weight,
                                            stack, optional(focus), sender, receiver, receivers, parts);
    else
      out = Named<forward_meta>::call("dpa4::edge_message", sizes, features, table, kernels, weight, stack,
                                      optional(focus), sender, receiver, receivers);
    ctx->save_for_backward({features, table, kernels, weight, stack, focus, sender, receiver, kept});
    ctx->saved_data["sizes"] = sizes;
    ctx->saved_data["parts"] = parts;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradient) {
    const auto saved = ctx->get_saved_variables();
    std::array<bool, 6> wanted;
    for (int i = 0; i < 6; ++i) wanted[i] = ctx->needs_input_grad(i) && present(saved[i]);
    variable_list result = EdgeMessageBackward::apply(
        gradient[0], saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], saved[6], saved[7],
        ctx->saved_data["sizes"].to<Sizes>(), wanted, saved[8], ctx->saved_data["parts"].toInt());
    for (int i = 0; i < 6; ++i)
      if (!wanted[i]) result[i] = Tensor();
    result.resize(11);
    return result;
  }
};

// Whether a forward pass keeps its values: if a derivative can follow, and where this saves time, which reading them
// back does not once there are too many. Traced, the operators stay such that their graphs run with any number of
// threads.
bool pays_to_keep(const Sizes& sizes, const Tensor& features, const Tensor& table, const Tensor& kernels,
                  const Tensor& weight, const Tensor& stack, const MaybeTensor& focus, const Tensor& sender) {
  const bool traced = c10::impl::TorchDispatchModeTLS::any_modes_set() || features.is_meta() ||
                      features.key_set().has(c10::DispatchKey::Python);
  if (traced || !at::GradMode::is_enabled()) return false;
  const Tensor given[] = {features, table, kernels, weight, stack, focus.value_or(Tensor())};
  const bool differentiable =
      std::any_of(std::begin(given), std::end(given), [](const Tensor& x) { return x.defined() && x.requires_grad(); });
  const int64_t bytes = kept_of_an_edge(sizes, features, focus) * features.element_size() * sender.numel();
  return differentiable && bytes <= kMostKept;
}

Tensor forward_autograd(const Sizes& sizes, const Tensor& features, const Tensor& table, const Tensor& kernels,
                        const Tensor& weight, const Tensor& stack, const MaybeTensor& focus, const Tensor& sender,
                        const Tensor& receiver, SymInt receivers) {
  const bool keep = pays_to_keep(sizes, features, table, kernels, weight, stack, focus, sender);
  return EdgeMessage::apply(features, table, kernels, weight, stack, or_empty(focus, features), sender, receiver,
                            receivers, sizes, keep);
}

variable_list backward_autograd(const Sizes& sizes, const Tensor& gradient, const Tensor& features, const Tensor& table,
                                const Tensor& kernels, const Tensor& weight, const Tensor& stack,
                                const MaybeTensor& focus, const Tensor& sender, const Tensor& receiver,
                                std::array<bool, 6> wanted, const MaybeTensor& kept, int64_t parts) {
  return EdgeMessageBackward::apply(gradient, features, table, kernels, weight, stack, or_empty(focus, features),
                                    sender, receiver, sizes, wanted, or_empty(kept, features), parts);
}

#define DPA4_SIZES "int lmax, int mmax, int table_mmax, int streams, int heads, int layers, int rank, bool focus_norm"

TORCH_LIBRARY_FRAGMENT(dpa4, m) {
  m.def(
      "edge_message(Tensor features, Tensor table, Tensor kernels, Tensor weight, Tensor stack, Tensor? focus, "
      "Tensor sender, Tensor receiver, SymInt receivers, *, " DPA4_SIZES ") -> Tensor");
  m.def(
      "edge_message_keeping(Tensor features, Tensor table, Tensor kernels, Tensor weight, Tensor stack, "
      "Tensor? focus, Tensor sender, Tensor receiver, SymInt receivers, int parts, *, " DPA4_SIZES
      ") -> (Tensor, Tensor)");
  m.def(
      "edge_message_backward(Tensor gradient, Tensor features, Tensor table, Tensor kernels, Tensor weight, "
      "Tensor stack, Tensor? focus, Tensor sender, Tensor receiver, bool[6] wanted, Tensor? kept=None, int parts=0, "
      "*, " DPA4_SIZES ") -> Tensor[]");
  m.def(
      "edge_message_backward_backward(Tensor gradient, Tensor features, Tensor table, Tensor kernels, Tensor weight, "
      "Tensor stack, Tensor? focus, Tensor dot_features, Tensor dot_table, Tensor dot_kernels, Tensor dot_weight, "
      "Tensor? dot_stack, Tensor? dot_focus, Tensor sender, Tensor receiver, bool[7] wanted, Tensor? kept=None, "
      "int parts=0, *, " DPA4_SIZES ") -> Tensor[]");
}

TORCH_LIBRARY_IMPL(dpa4, CPU, m) {
  m.impl("edge_message", Named<forward_cpu>::kernel);
  m.impl("edge_message_keeping", Named<forward_keeping_cpu>::kernel);
  m.impl("edge_message_backward", Named<backward_cpu>::kernel);
  m.impl("edge_message_backward_backward", Named<backward_backward_cpu>::kernel);
}

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("edge_message", Named<forward_autograd>::kernel);
  m.impl("edge_message_backward", Named<backward_autograd>::kernel);
}

TORCH_LIBRARY_IMPL(dpa4, Meta, m) {
  m.impl("edge_message", Named<forward_meta>::kernel);
  m.impl("edge_message_keeping", Named<forward_keeping_meta>::kernel);
  m.impl("edge_message_backward", Named<backward_meta>::kernel);
  m.impl("edge_message_backward_backward", Named<backward_backward_meta>::kernel);
}

}  // namespace dpa4::edge_message_binding
