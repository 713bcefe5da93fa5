#include "couple.h"

#include <cstring>
#include <vector>

#include "../common/parallel.h"
#include "../common/simd.h"

namespace dpa4 {
namespace {

// Wide tiles share the decoding of an entry among more columns, which is worth leaving the first-level cache a little.
constexpr int64_t kCoupleTileBytes = 96 * 1024;
// Multiplications below which a second thread costs more than it brings.
constexpr int64_t kCoupleGrain = 1 << 18;

// Entries grouped for the use of registers: groups of one row a and one number of entries per pair (a, b), so that the
// loops over a group have a fixed length.
template <typename T>
struct CouplingProgram {
  struct Group {
    int32_t first, pairs, entries;
  };
  std::vector<Group> groups;
  std::vector<int32_t> rows;  // for each pair: b, then c of each entry
  std::vector<T> values;

  CouplingProgram(const int32_t* index, const T* value, int64_t count) {
    rows.reserve(2 * count);
    values.reserve(count);
    for (int64_t begin = 0, end; begin < count; begin = end) {
      const int32_t a = index[3 * begin], b = index[3 * begin + 1];
      for (end = begin; end < count && index[3 * end] == a && index[3 * end + 1] == b; ++end) {}
      const int32_t entries = int32_t(end - begin);
      if (groups.empty() || groups.back().first != a || groups.back().entries != entries)
        groups.push_back({a, 0, entries});
      ++groups.back().pairs;
      rows.push_back(b);
      for (int64_t i = begin; i < end; ++i) {
        rows.push_back(index[3 * i + 2]);
        // Kernels add both orders of a pair, which are the same one on the diagonal.
        values.push_back(a == b ? value[i] / 2 : value[i]);
      }
    }
  }
};

// NV packs of one row of a tile.
template <typename T, int NV>
struct Packs {
  Pack<T> v[NV];

  static Packs zero() {
    Packs p;
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) p.v[i] = Pack<T>{};
    return p;
  }
  static Packs read(const T* from) {
    Packs p;
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) p.v[i] = load(from + i * Simd<T>::width);
    return p;
  }
  void write(T* to) const {
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) store(to + i * Simd<T>::width, v[i]);
  }
  void add(const Packs& x, const Packs& y) {
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) v[i] += x.v[i] * y.v[i];
  }
  void add(T x, const Packs& y) {
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) v[i] += x * y.v[i];
  }
  void add(const Packs& x) {
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) v[i] += x.v[i];
  }
};

// The three kernels work on tiles: row r of an operand stands at r * NV * width.

// y_c += C_abc l_a r_b
struct CoupleKernel {
  static constexpr int inputs = 2, outputs = 1;

  template <typename T, int NV>
  static void run(const CouplingProgram<T>& program, T* const* in, T* const* out) {
    using P = Packs<T, NV>;
    constexpr int64_t W = NV * Simd<T>::width;
    const T *left = in[0], *right = in[1], *value = program.values.data();
    T* y = out[0];
    const int32_t* row = program.rows.data();
    for (const auto& group : program.groups) {
      const P left_a = P::read(left + group.first * W), right_a = P::read(right + group.first * W);
      for (int32_t pair = 0; pair < group.pairs; ++pair) {
        const int64_t b = *row++ * W;
        P product = P::zero();
        product.add(left_a, P::read(right + b));
        product.add(right_a, P::read(left + b));
        for (int32_t e = 0; e < group.entries; ++e) {
          T* to = y + *row++ * W;
          P sum = P::read(to);
          sum.add(*value++, product);
          sum.write(to);
        }
      }
    }
  }
};

// z_a += C_abc x_b g_c
struct AdjointKernel {
  static constexpr int inputs = 2, outputs = 1;

  template <typename T, int NV>
  static void run(const CouplingProgram<T>& program, T* const* in, T* const* out) {
    using P = Packs<T, NV>;
    constexpr int64_t W = NV * Simd<T>::width;
    const T *x = in[0], *grad = in[1], *value = program.values.data();
    T* z = out[0];
    const int32_t* row = program.rows.data();
    for (const auto& group : program.groups) {
      const P x_a = P::read(x + group.first * W);
      P z_a = P::zero();
      for (int32_t pair = 0; pair < group.pairs; ++pair) {
        const int64_t b = *row++ * W;
        P factor = P::zero();
        for (int32_t e = 0; e < group.entries; ++e) factor.add(*value++, P::read(grad + *row++ * W));
        z_a.add(factor, P::read(x + b));
        P z_b = P::read(z + b);
        z_b.add(factor, x_a);
        z_b.write(z + b);
      }
      z_a.add(P::read(z + group.first * W));
      z_a.write(z + group.first * W);
    }
  }
};

// Both gradients of the product at once: u_a += C_abc r_b g_c and v_a += C_abc l_b g_c.
struct GradientKernel {
  static constexpr int inputs = 3, outputs = 2;

  template <typename T, int NV>
  static void run(const CouplingProgram<T>& program, T* const* in, T* const* out) {
    using P = Packs<T, NV>;
    constexpr int64_t W = NV * Simd<T>::width;
    const T *left = in[0], *right = in[1], *grad = in[2], *value = program.values.data();
    T *u = out[0], *v = out[1];
    const int32_t* row = program.rows.data();
    for (const auto& group : program.groups) {
      const int64_t a = group.first * W;
      const P left_a = P::read(left + a), right_a = P::read(right + a);
      P u_a = P::zero(), v_a = P::zero();
      for (int32_t pair = 0; pair < group.pairs; ++pair) {
        const int64_t b = *row++ * W;
        P factor = P::zero();
        for (int32_t e = 0; e < group.entries; ++e) factor.add(*value++, P::read(grad + *row++ * W));
        u_a.add(factor, P::read(right + b));
        v_a.add(factor, P::read(left + b));
        P u_b = P::read(u + b), v_b = P::read(v + b);
        u_b.add(factor, right_a);
        v_b.add(factor, left_a);
        u_b.write(u + b);
        v_b.write(v + b);
      }
      u_a.add(P::read(u + a));
      v_a.add(P::read(v + a));
      u_a.write(u + a);
      v_a.write(v + a);
    }
  }
};

// Copy rows of `width` columns, at most NV packs, between arrays of different row strides; the rest of a tile is zero.
template <typename T, int NV>
void copy_tile(int64_t rows, int64_t width, const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  constexpr int64_t W = NV * Simd<T>::width;
  for (int64_t r = 0; r < rows; ++r, from += from_stride, to += to_stride) {
    if (width == W)
      Packs<T, NV>::read(from).write(to);
    else
      std::memcpy(to, from, width * sizeof(T));
  }
}

// Columns [begin, end) of a kernel in tiles of NV packs; the last tile is filled up with zeros.
template <typename Kernel, typename T, int NV>
void couple_columns(const CouplingProgram<T>& program, const CoupleArrays<T>& arrays, int64_t begin, int64_t end) {
  constexpr int64_t W = NV * Simd<T>::width;
  constexpr int count = Kernel::inputs + Kernel::outputs;
  const int64_t rows = arrays.rows, size = rows * W;
  Buffer<T> scratch = allocate<T>(count * size);
  T* tile[count];
  for (int i = 0; i < count; ++i) tile[i] = scratch.get() + i * size;
  T** const result = tile + Kernel::inputs;
  for (int64_t column = begin; column < end; column += W) {
    const int64_t width = std::min(W, end - column);
    if (width < W) std::memset(tile[0], 0, Kernel::inputs * size * sizeof(T));
    for (int i = 0; i < Kernel::inputs; ++i)
      copy_tile<T, NV>(rows, width, arrays.in[i] + column, arrays.columns, tile[i], W);
    std::memset(result[0], 0, Kernel::outputs * size * sizeof(T));
    Kernel::template run<T, NV>(program, tile, result);
    for (int i = 0; i < Kernel::outputs; ++i)
      copy_tile<T, NV>(rows, width, result[i], W, arrays.out[i] + column, arrays.columns);
  }
}

template <typename Kernel, typename T>
void run_all(const int32_t* index, const T* value, int64_t entries, const CoupleArrays<T>& arrays) {
  const CouplingProgram<T> program(index, value, entries);
  const int64_t bytes = (Kernel::inputs + Kernel::outputs) * arrays.rows * kVectorBytes;
  const int packs = 4 * bytes <= kCoupleTileBytes ? 4 : 2 * bytes <= kCoupleTileBytes ? 2 : 1;
  const int64_t width = packs * Simd<T>::width, tiles = (arrays.columns + width - 1) / width;
  in_parts(tiles, kCoupleGrain / (entries * width + 1), [&](int64_t first, int64_t last) {
    const int64_t begin = first * width, end = std::min(arrays.columns, last * width);
    if (packs == 4)
      couple_columns<Kernel, T, 4>(program, arrays, begin, end);
    else if (packs == 2)
      couple_columns<Kernel, T, 2>(program, arrays, begin, end);
    else
      couple_columns<Kernel, T, 1>(program, arrays, begin, end);
  });
}

}  // namespace

template <typename T>
void couple_all(Coupling kind, const int32_t* index, const T* value, int64_t entries, const CoupleArrays<T>& arrays) {
  switch (kind) {
    case Coupling::couple:
      return run_all<CoupleKernel>(index, value, entries, arrays);
    case Coupling::adjoint:
      return run_all<AdjointKernel>(index, value, entries, arrays);
    case Coupling::gradient:
      return run_all<GradientKernel>(index, value, entries, arrays);
  }
}

template void couple_all(Coupling, const int32_t*, const float*, int64_t, const CoupleArrays<float>&);
template void couple_all(Coupling, const int32_t*, const double*, int64_t, const CoupleArrays<double>&);

}  // namespace dpa4
