// Weights of the SO(2) layers, packed for matrix products on tiles.
//
// Flat, in and out, they stand as in checkpoints: for each layer the matrix of m = 0 as (rows, streams, columns), that
// of every m > 0, complex U + iV, as (rows, streams, U or V, columns), then for all but the last layer the gates as
// (width, streams, lmax * width). Packed, each stream has its own matrices, every `width` is padded to whole vectors
// with zeros, and a complex matrix is kept as U, -(U + V) and V - U, because three real products make a complex one:
//
//   (x + iy) (U + iV) = k - y (U + V)  +  i (k + x (V - U)),  k = (x + y) U
#pragma once

#include <utility>

#include "../common/parallel.h"
#include "layout.h"

namespace dpa4 {

// One weight of all streams, made of blocks of channels: a matrix of one order, or the gates.
struct WeightBlock {
  int64_t flat, packed;  // where it starts
  int64_t row_blocks, column_blocks;
  bool complex;
};

struct StackLayout {
  int64_t streams, width, padded, layers;
  std::vector<std::vector<WeightBlock>> blocks;  // of each layer: the orders, then the gates
  int64_t flat_total = 0, packed_total = 0;

  explicit StackLayout(const EdgeLayout& a)
      : streams(a.shape.streams), width(a.shape.width), padded(a.padded), layers(a.shape.layers) {
    for (int64_t i = 0; i < layers; ++i) {
      blocks.emplace_back();
      for (int64_t m = 0; m <= a.shape.mmax; ++m) add(a.shape.lmax - m + 1, a.shape.lmax - m + 1, m > 0);
      if (i + 1 < layers) add(1, a.shape.lmax, false);
    }
  }

  int64_t matrix(int64_t layer, int64_t m, int64_t f) const { return start(blocks[layer][m], f); }
  int64_t gate(int64_t layer, int64_t f) const { return start(blocks[layer].back(), f); }
  int64_t start(const WeightBlock& w, int64_t f) const { return w.packed + f * parts(w) * size(w); }
  int64_t parts(const WeightBlock& w) const { return w.complex ? 3 : 1; }
  int64_t size(const WeightBlock& w) const { return w.row_blocks * w.column_blocks * padded * padded; }

  // Call visit(flat index, row of the packed matrix, its columns) for every run of `width` elements of stream f.
  template <typename F>
  void each_run(const WeightBlock& w, int64_t f, F visit) const {
    const int64_t columns = w.column_blocks * width, step = w.complex ? 2 * columns : columns;
    for (int64_t i = 0; i < w.row_blocks; ++i)
      for (int64_t a = 0; a < width; ++a)
        for (int64_t j = 0; j < w.column_blocks; ++j)
          visit(w.flat + ((i * width + a) * streams + f) * step + j * width, i * padded + a, j * padded);
  }

 private:
  void add(int64_t row_blocks, int64_t column_blocks, bool complex) {
    const WeightBlock w{flat_total, packed_total, row_blocks, column_blocks, complex};
    flat_total += (complex ? 2 : 1) * streams * row_blocks * column_blocks * width * width;
    packed_total += parts(w) * streams * size(w);
    blocks.back().push_back(w);
  }
};

// Packed matrices, or their transposes, of which a complex one belongs to the adjoint (U + iV)^H.
template <typename T, bool transposed>
Buffer<T> pack_stack(const StackLayout& s, const T* flat);

// Flat gradient from packed sums over edges; those of a complex weight, with x and y the inputs and c and d the
// adjoints of the outputs, are (x - y)^T c, y^T (c + d) and x^T (d - c).
template <typename T>
void unpack_gradient(const StackLayout& s, const T* packed, T* flat);

template <typename T>
struct PackedStack {
  StackLayout layout;
  Buffer<T> plain, adjoint;

  PackedStack(StackLayout layout_, const T* flat, bool with_adjoint)
      : layout(std::move(layout_)), plain(pack_stack<T, false>(layout, flat)) {
    if (with_adjoint) adjoint = pack_stack<T, true>(layout, flat);
  }
  const T* gate(int64_t i, int64_t f) const { return plain.get() + layout.gate(i, f); }
  const T* gate_t(int64_t i, int64_t f) const { return adjoint.get() + layout.gate(i, f); }
};

}  // namespace dpa4
