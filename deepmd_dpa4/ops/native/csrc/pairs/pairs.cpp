// Maps between nodes and the pairs of nodes that edges are, each closed under differentiation: every backward calls the
// others through the dispatcher.
//
//   pair_sum      y_e = x_i + s x_j                      pair_scatter   its transpose
//   pair_dot      y_e = <a_i, b_j> in each block of channels; its derivatives are
//   receiver_sum  A_i = sum_{e -> i} g_e b_j        and  sender_sum     B_j = sum_{e: j ->} g_e a_i
//
// for an edge e from j to i.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "../common/dispatch.h"
#include "../common/receivers.h"
#include "../message/driver.h"

namespace dpa4 {
namespace {

using at::Tensor;
using c10::SymInt;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// y += factor x, and <x, y>, of any length.
template <typename T>
void add(int64_t n, T factor, const T* x, T* y) {
  for (int64_t c = 0; c < n; ++c) y[c] += factor * x[c];
}

template <typename T>
T inner(int64_t n, const T* x, const T* y) {
  constexpr int64_t W = Simd<T>::width;
  Pack<T> total{};
  int64_t c = 0;
  for (; c + W <= n; c += W) total += load(x + c) * load(y + c);
  T rest = sum<T>(total);
  for (; c < n; ++c) rest += x[c] * y[c];
  return rest;
}

struct Pairs {
  Tensor receiver, sender;
  const int64_t *to, *from;
  int64_t edges;

  Pairs(const Tensor& receiver_, const Tensor& sender_, int64_t receivers, int64_t senders)
      : receiver(receiver_.contiguous()), sender(sender_.contiguous()) {
    TORCH_CHECK(receiver.sizes() == sender.sizes(), "dpa4: there are ", receiver.numel(), " receivers but ",
                sender.numel(), " senders");
    check_nodes(receiver, receivers, "receivers");
    check_nodes(sender, senders, "senders");
    to = receiver.const_data_ptr<int64_t>();
    from = sender.const_data_ptr<int64_t>();
    edges = receiver.numel();
  }
  int64_t threads() const { return edge_threads({from, to, edges, 0, 0}); }
  std::vector<int64_t> divide(int64_t parts) const { return divide_edges({from, to, edges, 0, 0}, parts); }
};

Tensor pair_sum_cpu(const Tensor& node, const Tensor& receiver, const Tensor& sender, double sign) {
  const Pairs pairs(receiver, sender, node.size(0), node.size(0));
  const Tensor x = node.contiguous();
  const int64_t K = x.size(1);
  Tensor y = at::empty({pairs.edges, K}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "dpa4::pair_sum", [&] {
    const scalar_t* in = x.const_data_ptr<scalar_t>();
    scalar_t* out = y.mutable_data_ptr<scalar_t>();
    in_parts(pairs.edges, 1024, [&](int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e) {
        const scalar_t *i = in + pairs.to[e] * K, *j = in + pairs.from[e] * K;
        for (int64_t c = 0; c < K; ++c) out[e * K + c] = i[c] + scalar_t(sign) * j[c];
      }
    });
  });
  return y;
}

Tensor pair_scatter_cpu(const Tensor& edge, const Tensor& receiver, const Tensor& sender, int64_t nodes, double sign) {
  const Pairs pairs(receiver, sender, nodes, nodes);
  const Tensor y = edge.contiguous();
  const int64_t K = y.size(1), threads = pairs.threads();
  Tensor x = at::zeros({nodes, K}, y.options());
  AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "dpa4::pair_scatter", [&] {
    const scalar_t* in = y.const_data_ptr<scalar_t>();
    PerThread<scalar_t> total(x.mutable_data_ptr<scalar_t>(), nodes * K, threads);
    on_threads(int(threads), [&](int t) {
      scalar_t* out = total.begin(t);
      for (int64_t e = pairs.edges * t / threads; e < pairs.edges * (t + 1) / threads; ++e) {
        add<scalar_t>(K, scalar_t(1), in + e * K, out + pairs.to[e] * K);
        add<scalar_t>(K, scalar_t(sign), in + e * K, out + pairs.from[e] * K);
      }
    });
    total.reduce();
  });
  return x;
}

// a (N, B, w) of the receivers, b (M, B, w) of the senders, result (E, B).
Tensor pair_dot_cpu(const Tensor& a, const Tensor& b, const Tensor& receiver, const Tensor& sender) {
  const Pairs pairs(receiver, sender, a.size(0), b.size(0));
  const Tensor left = a.contiguous(), right = b.contiguous();
  const int64_t B = a.size(1), w = a.size(2);
  Tensor y = at::empty({pairs.edges, B}, a.options());
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "dpa4::pair_dot", [&] {
    const scalar_t *i = left.const_data_ptr<scalar_t>(), *j = right.const_data_ptr<scalar_t>();
    scalar_t* out = y.mutable_data_ptr<scalar_t>();
    in_parts(pairs.edges, 256, [&](int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e)
        for (int64_t k = 0; k < B; ++k)
          out[e * B + k] = inner<scalar_t>(w, i + (pairs.to[e] * B + k) * w, j + (pairs.from[e] * B + k) * w);
    });
  });
  return y;
}

Tensor receiver_sum_cpu(const Tensor& g, const Tensor& b, const Tensor& receiver, const Tensor& sender, int64_t nodes) {
  const Pairs pairs(receiver, sender, nodes, b.size(0));
  check_receivers(pairs.receiver, nodes);
  const Tensor factor = g.contiguous(), right = b.contiguous();
  const int64_t B = b.size(1), w = b.size(2), threads = pairs.threads();
  const std::vector<int64_t> start = pairs.divide(threads);
  Tensor a = at::zeros({nodes, B, w}, b.options());
  AT_DISPATCH_FLOATING_TYPES(b.scalar_type(), "dpa4::receiver_sum", [&] {
    const scalar_t *f = factor.const_data_ptr<scalar_t>(), *j = right.const_data_ptr<scalar_t>();
    scalar_t* out = a.mutable_data_ptr<scalar_t>();
    on_threads(int(threads), [&](int t) {
      for (int64_t e = start[t]; e < start[t + 1]; ++e)
        for (int64_t k = 0; k < B; ++k)
          add<scalar_t>(w, f[e * B + k], j + (pairs.from[e] * B + k) * w, out + (pairs.to[e] * B + k) * w);
    });
  });
  return a;
}

Tensor sender_sum_cpu(const Tensor& g, const Tensor& a, const Tensor& receiver, const Tensor& sender, int64_t nodes) {
  const Pairs pairs(receiver, sender, a.size(0), nodes);
  const Tensor factor = g.contiguous(), left = a.contiguous();
  const int64_t B = a.size(1), w = a.size(2), threads = pairs.threads();
  Tensor b = at::zeros({nodes, B, w}, a.options());
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "dpa4::sender_sum", [&] {
    const scalar_t *f = factor.const_data_ptr<scalar_t>(), *i = left.const_data_ptr<scalar_t>();
    PerThread<scalar_t> total(b.mutable_data_ptr<scalar_t>(), nodes * B * w, threads);
    on_threads(int(threads), [&](int t) {
      scalar_t* out = total.begin(t);
      for (int64_t e = pairs.edges * t / threads; e < pairs.edges * (t + 1) / threads; ++e)
        for (int64_t k = 0; k < B; ++k)
          add<scalar_t>(w, f[e * B + k], i + (pairs.to[e] * B + k) * w, out + (pairs.from[e] * B + k) * w);
    });
    total.reduce();
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

struct PairSum : torch::autograd::Function<PairSum> {
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

struct PairScatter : torch::autograd::Function<PairScatter> {
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

struct PairDot : torch::autograd::Function<PairDot> {
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

struct ReceiverSum : torch::autograd::Function<ReceiverSum> {
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

struct SenderSum : torch::autograd::Function<SenderSum> {
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

}  // namespace

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

}  // namespace dpa4
