// Weights of the SO(2) layers, packed for matrix products on tiles.
//
// The flat order, in and out: for each layer the matrices (streams, K, K) of all orders, then for all but the last layer
// the gate (streams, width, lmax * width). Packed, every `width` is padded to whole vectors with zeros.
#pragma once

#include <cstring>
#include <utility>

#include "edge_layout.h"
#include "parallel.h"

namespace dpa4 {

struct StackLayout {
  int64_t layers, orders, streams;
  std::vector<int64_t> matrix_size, matrix_start;  // of each order: K and the start inside a layer
  int64_t gate_start, width, gates, layer_size, total;

  StackLayout(const EdgeLayout& a, int64_t channel_width) {
    const EdgeShape& s = a.shape;
    layers = s.layers;
    orders = s.mmax + 1;
    streams = s.streams;
    width = channel_width;
    gates = s.lmax * width;
    layer_size = 0;
    for (int64_t m = 0; m < orders; ++m) {
      const int64_t k = a.group[m] / a.padded * width;
      matrix_size.push_back(k);
      matrix_start.push_back(layer_size);
      layer_size += streams * k * k;
    }
    gate_start = layer_size;
    layer_size += streams * width * gates;
    total = layers * layer_size - streams * width * gates;
  }

  int64_t matrix(int64_t layer, int64_t m, int64_t f) const {
    return layer * layer_size + matrix_start[m] + f * matrix_size[m] * matrix_size[m];
  }
  int64_t gate(int64_t layer, int64_t f) const { return layer * layer_size + gate_start + f * width * gates; }
};

// Copy a matrix whose rows and columns are blocks of channels between two widths of the block.
template <typename T, bool transpose>
void copy_blocks(const T* from, int64_t from_width, T* to, int64_t to_width, int64_t row_blocks, int64_t column_blocks) {
  const int64_t width = std::min(from_width, to_width);
  const int64_t from_columns = column_blocks * from_width;
  const int64_t to_columns = (transpose ? row_blocks : column_blocks) * to_width;
  for (int64_t i = 0; i < row_blocks; ++i)
    for (int64_t a = 0; a < width; ++a) {
      const T* source = from + (i * from_width + a) * from_columns;
      for (int64_t j = 0; j < column_blocks; ++j)
        for (int64_t b = 0; b < width; ++b) {
          const int64_t row = i * to_width + a, column = j * to_width + b;
          to[transpose ? column * to_columns + row : row * to_columns + column] = source[j * from_width + b];
        }
    }
}

// All matrices of a flat stack copied to another width, each transposed if asked for.
template <typename T, bool transpose>
void copy_stack(const StackLayout& from, const T* source, const StackLayout& to, T* target) {
  for (int64_t i = 0; i < from.layers; ++i)
    for (int64_t f = 0; f < from.streams; ++f) {
      for (int64_t m = 0; m < from.orders; ++m) {
        const int64_t blocks = from.matrix_size[m] / from.width;
        copy_blocks<T, transpose>(source + from.matrix(i, m, f), from.width, target + to.matrix(i, m, f), to.width,
                                  blocks, blocks);
      }
      if (i + 1 < from.layers)
        copy_blocks<T, transpose>(source + from.gate(i, f), from.width, target + to.gate(i, f), to.width, 1,
                                  from.gates / from.width);
    }
}

template <typename T>
struct PackedStack {
  StackLayout layout;
  Buffer<T> plain, transposed;

  PackedStack(const EdgeLayout& a, const T* flat, bool with_transposed) : layout(a, a.padded) {
    const StackLayout source(a, a.shape.width);
    plain = allocate<T>(layout.total);
    std::memset(plain.get(), 0, layout.total * sizeof(T));
    copy_stack<T, false>(source, flat, layout, plain.get());
    if (!with_transposed) return;
    transposed = allocate<T>(layout.total);
    std::memset(transposed.get(), 0, layout.total * sizeof(T));
    copy_stack<T, true>(source, flat, layout, transposed.get());
  }
  const T* matrix(int64_t i, int64_t m, int64_t f) const { return plain.get() + layout.matrix(i, m, f); }
  const T* matrix_t(int64_t i, int64_t m, int64_t f) const { return transposed.get() + layout.matrix(i, m, f); }
  const T* gate(int64_t i, int64_t f) const { return plain.get() + layout.gate(i, f); }
  const T* gate_t(int64_t i, int64_t f) const { return transposed.get() + layout.gate(i, f); }
};

}  // namespace dpa4
