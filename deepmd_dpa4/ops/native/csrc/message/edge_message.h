// The edge part of one convolution on arrays.
#pragma once

#include "../common/edges.h"
#include "stack.h"

namespace dpa4 {

// Of how many channels the width of a stream has to be a multiple.
template <typename T>
int64_t padding_of();

// Arguments of the operator, padded to whole vectors; rows of edges contiguous. Unused ones are null.
template <typename T>
struct EdgeArguments {
  const T* features = nullptr;  // (nodes, copies * size, C)
  const T* table = nullptr;     // (edges, table_stride)
  const T* kernels = nullptr;   // (edges, kernel)
  const T* weight = nullptr;    // (edges, streams, heads)
  const T* focus = nullptr;     // (streams, padded)
  const PackedStack<T>* stack = nullptr;
};

// Where gradients go. Those of edges are written, all others are added to.
template <typename T>
struct EdgeGradients {
  T* features = nullptr;
  T* table = nullptr;
  T* kernels = nullptr;
  T* weight = nullptr;
  T* focus = nullptr;
  T* stack = nullptr;  // packed
};

// The edges are divided into `parts`, one for each thread, of whole receivers and in tiles. Values that a forward pass
// leaves in `kept` (edges, layout.kept), unless it is null, spare a backward pass with the same parts their products.

// out (receivers, size, C), zero at the start.
template <typename T>
void edge_forward(const EdgeLayout& layout, int64_t stride, const EdgeArguments<T>& in, const EdgeIndex& index,
                  int64_t parts, T* out, T* kept);

// Gradients of <adjoint, out>, or with tangents `dot` of <adjoint, tangent of out>; then `out_dot` (receivers, size,
// C), zero at the start, receives the tangent of out.
template <typename T, bool tangent>
void edge_backward(const EdgeLayout& layout, int64_t stride, const EdgeArguments<T>& in, const EdgeArguments<T>* dot,
                   const EdgeIndex& index, int64_t parts, const T* adjoint, const EdgeGradients<T>& out, T* out_dot,
                   T* kept);

}  // namespace dpa4
