// The operators dpa4::pair_sum, pair_scatter, pair_dot, receiver_sum and sender_sum (see pairs.h), closed under
// differentiation: every backward calls the others.
#pragma once

#include "pairs.h"

#include "../common/binding.h"

namespace dpa4::pairs_binding {

struct Pairs : EdgeIndex {
  Tensor to, from;

  Pairs(const Tensor& receiver_, const Tensor& sender_, int64_t receivers_, int64_t senders)
      : to(receiver_.contiguous()), from(sender_.contiguous()) {
    TORCH_CHECK(to.sizes() == from.sizes(), "dpa4: there are ", to.numel(), " receivers but ", from.numel(),
                " senders");
    check_nodes(to, receivers_, "receivers");
    check_nodes(from, senders, "senders");
    static_cast<EdgeIndex&>(*this) = {from.const_data_ptr<int64_t>(), to.const_data_ptr<int64_t>(), to.numel(), senders,
                                      receivers_};
  }
};

Tensor pair_sum_cpu(const Tensor& node, const Tensor& receiver, const Tensor& sender, double sign) {
  const Pairs pairs(receiver, sender, node.size(0), node.size(0));
  const Tensor x = node.contiguous(), y = at::empty({pairs.edges, x.size(1)}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "dpa4::pair_sum", [&] {
    using T = scalar_t;
    pair_sum<T>(pairs, x.const_data_ptr<T>(), x.size(1), T(sign), y.mutable_data_ptr<T>());
  });
  return y;
}

Tensor pair_scatter_cpu(const Tensor& edge, const Tensor& receiver, const Tensor& sender, int64_t nodes, double sign) {
  const Pairs pairs(receiver, sender, nodes, nodes);
  const Tensor y = edge.contiguous(), x = at::zeros({nodes, y.size(1)}, y.options());
  AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "dpa4::pair_scatter", [&] {
    using T = scalar_t;
    pair_scatter<T>(pairs, y.const_data_ptr<T>(), y.size(1), T(sign), x.mutable_data_ptr<T>());
  });
  return x;
}

Tensor pair_dot_cpu(const Tensor& a_, const Tensor& b_, const Tensor& receiver, const Tensor& sender) {
  const Pairs pairs(receiver, sender, a_.size(0), b_.size(0));
  const Tensor a = a_.contiguous(), b = b_.contiguous(), y = at::empty({pairs.edges, a.size(1)}, a.options());
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "dpa4::pair_dot", [&] {
    using T = scalar_t;
    pair_dot<T>(pairs, a.const_data_ptr<T>(), b.const_data_ptr<T>(), a.size(1), a.size(2), y.mutable_data_ptr<T>());
  });
  return y;
}

Tensor receiver_sum_cpu(const Tensor& g_, const Tensor& b_, const Tensor& receiver, const Tensor& sender,
                        int64_t nodes) {
  const Pairs pairs(receiver, sender, nodes, b_.size(0));
  check_receivers(pairs.to, nodes);
  const Tensor g = g_.contiguous(), b = b_.contiguous(), a = at::zeros({nodes, b.size(1), b.size(2)}, b.options());
  AT_DISPATCH_FLOATING_TYPES(b.scalar_type(), "dpa4::receiver_sum", [&] {
    using T = scalar_t;
    receiver_sum<T>(pairs, g.const_data_ptr<T>(), b.const_data_ptr<T>(), b.size(1), b.size(2), a.mutable_data_ptr<T>());
  });
  return a;
}

Tensor sender_sum_cpu(const Tensor& g_, const Tensor& a_, const Tensor& receiver, const Tensor& sender, int64_t nodes) {
  const Pairs pairs(receiver, sender, a_.size(0), nodes);
  const Tensor g = g_.contiguous(), a = a_.contiguous(), b = at::zeros({nodes, a.size(1), a.size(2)}, a.options());
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "dpa4::sender_sum", [&] {
    using T = scalar_t;
    sender_sum<T>(pairs, g.const_data_ptr<T>(), a.const_data_ptr<T>(), a.size(1), a.size(2), b.mutable_data_ptr<T>());
  });
  return b;
}

Tensor pair_sum(const Tensor& node, const Tensor& receiver, const Tensor& sender, double sign) {
  static const auto op = find_operator<decltype(pair_sum_cpu)>("dpa4::pair_sum");
  return op.call(node, receiver, sender, sign);
}
Tensor pair_scatter(const Tensor& edge, const Tensor& receiver, const Tensor& sender, SymInt nodes, double sign) {
  static const auto op = find_operator<decltype(pair_scatter)>("dpa4::pair_scatter");
  return op.call(edge, receiver, sender, nodes, sign);
}
Tensor pair_dot(const Tensor& a, const Tensor& b, const Tensor& receiver, const Tensor& sender) {
  static const auto op = find_operator<decltype(pair_dot_cpu)>("dpa4::pair_dot");
  return op.call(a, b, receiver, sender);
}
Tensor receiver_sum(const Tensor& g, const Tensor& b, const Tensor& receiver, const Tensor& sender, SymInt nodes) {
  static const auto op = find_operator<decltype(receiver_sum)>("dpa4::receiver_sum");
  return op.call(g, b, receiver, sender, nodes);
}
Tensor sender_sum(const Tensor& g, const Tensor& a, const Tensor& receiver, const Tensor& sender, SymInt nodes) {
  static const auto op = find_operator<decltype(sender_sum)>("dpa4::sender_sum");
  return op.call(g, a, receiver, sender, nodes);
}

struct PairSum : Function<PairSum> {
  static Tensor forward(AutogradContext* ctx, const Tensor& node, const Tensor& receiver, const Tensor& sender,
                        double sign) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({receiver, sender});
    ctx->saved_data["nodes"] = node.sym_size(0);
    ctx->saved_data["sign"] = sign;
    return pair_sum(node, receiver, sender, sign);
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    const auto saved = ctx->get_saved_variables();
    const double sign = ctx->saved_data["sign"].toDouble();
    const SymInt nodes = ctx->saved_data["nodes"].toSymInt();
    return {pair_scatter(g[0], saved[0], saved[1], nodes, sign), Tensor(), Tensor(), Tensor()};
  }
};

struct PairScatter : Function<PairScatter> {
  static Tensor forward(AutogradContext* ctx, const Tensor& edge, const Tensor& receiver, const Tensor& sender,
                        const SymInt& nodes, double sign) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({receiver, sender});
    ctx->saved_data["sign"] = sign;
    return pair_scatter(edge, receiver, sender, nodes, sign);
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    const auto saved = ctx->get_saved_variables();
    return {pair_sum(g[0], saved[0], saved[1], ctx->saved_data["sign"].toDouble()), Tensor(), Tensor(), Tensor(),
            Tensor()};
  }
};

// The three below are derivatives of one trilinear form, sum_e g_e <a_i, b_j>.

struct PairDot : Function<PairDot> {
  static Tensor forward(AutogradContext* ctx, const Tensor& a, const Tensor& b, const Tensor& receiver,
                        const Tensor& sender) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({a, b, receiver, sender});
    return pair_dot(a, b, receiver, sender);
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    const auto s = ctx->get_saved_variables();
    return {ctx->needs_input_grad(0) ? receiver_sum(g[0], s[1], s[2], s[3], s[0].sym_size(0)) : Tensor(),
            ctx->needs_input_grad(1) ? sender_sum(g[0], s[0], s[2], s[3], s[1].sym_size(0)) : Tensor(), Tensor(),
            Tensor()};
  }
};

struct ReceiverSum : Function<ReceiverSum> {
  static Tensor forward(AutogradContext* ctx, const Tensor& g, const Tensor& b, const Tensor& receiver,
                        const Tensor& sender, const SymInt& nodes) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({g, b, receiver, sender});
    return receiver_sum(g, b, receiver, sender, nodes);
  }
  static variable_list backward(AutogradContext* ctx, variable_list a) {
    const auto s = ctx->get_saved_variables();
    return {ctx->needs_input_grad(0) ? pair_dot(a[0], s[1], s[2], s[3]) : Tensor(),
            ctx->needs_input_grad(1) ? sender_sum(s[0], a[0], s[2], s[3], s[1].sym_size(0)) : Tensor(), Tensor(),
            Tensor(), Tensor()};
  }
};

struct SenderSum : Function<SenderSum> {
  static Tensor forward(AutogradContext* ctx, const Tensor& g, const Tensor& a, const Tensor& receiver,
                        const Tensor& sender, const SymInt& nodes) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({g, a, receiver, sender});
    return sender_sum(g, a, receiver, sender, nodes);
  }
  static variable_list backward(AutogradContext* ctx, variable_list b) {
    const auto s = ctx->get_saved_variables();
    return {ctx->needs_input_grad(0) ? pair_dot(s[1], b[0], s[2], s[3]) : Tensor(),
            ctx->needs_input_grad(1) ? receiver_sum(s[0], b[0], s[2], s[3], s[1].sym_size(0)) : Tensor(), Tensor(),
            Tensor(), Tensor()};
  }
};

Tensor node_meta(const Tensor& edge, const Tensor&, const Tensor&, SymInt nodes, double) {
  return edge.new_empty_symint({nodes, edge.sym_size(1)});
}
Tensor block_meta(const Tensor&, const Tensor& x, const Tensor&, const Tensor&, SymInt nodes) {
  return x.new_empty_symint({nodes, x.sym_size(1), x.sym_size(2)});
}

TORCH_LIBRARY_FRAGMENT(dpa4, m) {
  m.def("pair_sum(Tensor node, Tensor receiver, Tensor sender, float sign) -> Tensor");
  m.def("pair_scatter(Tensor edge, Tensor receiver, Tensor sender, SymInt nodes, float sign) -> Tensor");
  m.def("pair_dot(Tensor a, Tensor b, Tensor receiver, Tensor sender) -> Tensor");
  m.def("receiver_sum(Tensor g, Tensor b, Tensor receiver, Tensor sender, SymInt nodes) -> Tensor");
  m.def("sender_sum(Tensor g, Tensor a, Tensor receiver, Tensor sender, SymInt nodes) -> Tensor");
}

TORCH_LIBRARY_IMPL(dpa4, CPU, m) {
  m.impl("pair_sum", pair_sum_cpu);
  m.impl("pair_scatter", pair_scatter_cpu);
  m.impl("pair_dot", pair_dot_cpu);
  m.impl("receiver_sum", receiver_sum_cpu);
  m.impl("sender_sum", sender_sum_cpu);
}

TORCH_LIBRARY_IMPL(dpa4, Autograd, m) {
  m.impl("pair_sum", [](const Tensor& node, const Tensor& receiver, const Tensor& sender, double sign) {
    return PairSum::apply(node, receiver, sender, sign);
  });
  m.impl("pair_scatter", [](const Tensor& edge, const Tensor& receiver, const Tensor& sender, SymInt nodes,
                            double sign) { return PairScatter::apply(edge, receiver, sender, nodes, sign); });
  m.impl("pair_dot", [](const Tensor& a, const Tensor& b, const Tensor& receiver, const Tensor& sender) {
    return PairDot::apply(a, b, receiver, sender);
  });
  m.impl("receiver_sum", [](const Tensor& g, const Tensor& b, const Tensor& receiver, const Tensor& sender,
                            SymInt nodes) { return ReceiverSum::apply(g, b, receiver, sender, nodes); });
  m.impl("sender_sum", [](const Tensor& g, const Tensor& a, const Tensor& receiver, const Tensor& sender,
                          SymInt nodes) { return SenderSum::apply(g, a, receiver, sender, nodes); });
}

TORCH_LIBRARY_IMPL(dpa4, Meta, m) {
  m.impl("pair_sum", [](const Tensor& node, const Tensor& receiver, const Tensor&, double) {
    return node.new_empty_symint({receiver.sym_size(0), node.sym_size(1)});
  });
  m.impl("pair_scatter", node_meta);
  m.impl("pair_dot", [](const Tensor& a, const Tensor&, const Tensor& receiver, const Tensor&) {
    return a.new_empty_symint({receiver.sym_size(0), a.sym_size(1)});
  });
  m.impl("receiver_sum", block_meta);
  m.impl("sender_sum", block_meta);
}

}  // namespace dpa4::pairs_binding
