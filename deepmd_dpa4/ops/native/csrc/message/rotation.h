// Into the frame of one edge and back, and the derivatives with respect to features, rotation and degree mixer.
#pragma once

#include <type_traits>

#include "../common/simd.h"
#include "layout.h"

namespace dpa4 {

// rows[i] (+)= sum_j d[i][j] x[j] for the N = 2l+1 coefficients x[j] of one degree.
template <typename T, int N, bool accumulate>
void turn_degree(const EdgeLayout& a, const std::vector<EdgeRow>& rows, const T* table, const T* x, T* local) {
  const int64_t C = a.channels;
  for (int64_t c = 0; c < C; c += Simd<T>::width) {
    Pack<T> v[N];
    for (int j = 0; j < N; ++j) v[j] = load(x + j * C + c);
    for (const EdgeRow& row : rows) {
      const T* d = table + row.table;
      T* out = local + row.local * C + c;
      Pack<T> total = accumulate ? load(out) : Pack<T>{};
#pragma GCC unroll 11
      for (int j = 0; j < N; ++j) total += d[j] * v[j];
      store(out, total);
    }
  }
}

// x[j] += sum_i d[i][j] rows[i].
template <typename T, int N>
void turn_degree_back(const EdgeLayout& a, const std::vector<EdgeRow>& rows, const T* table, const T* local, T* x) {
  const int64_t C = a.channels;
  for (int64_t c = 0; c < C; c += Simd<T>::width) {
    Pack<T> v[N];
#pragma GCC unroll 11
    for (int j = 0; j < N; ++j) v[j] = load(x + j * C + c);
    for (const EdgeRow& row : rows) {
      const T* d = table + row.table;
      const Pack<T> in = load(local + row.local * C + c);
#pragma GCC unroll 11
      for (int j = 0; j < N; ++j) v[j] += d[j] * in;
    }
#pragma GCC unroll 11
    for (int j = 0; j < N; ++j) store(x + j * C + c, v[j]);
  }
}

// d[i][j] += <rows[i], x[j]>.
template <typename T, int N>
void turn_degree_table(const EdgeLayout& a, const std::vector<EdgeRow>& rows, const T* local, const T* x, T* table) {
  const int64_t C = a.channels;
  for (const EdgeRow& row : rows) {
    Pack<T> total[N];
#pragma GCC unroll 11
    for (int j = 0; j < N; ++j) total[j] = Pack<T>{};
    for (int64_t c = 0; c < C; c += Simd<T>::width) {
      const Pack<T> in = load(local + row.local * C + c);
#pragma GCC unroll 11
      for (int j = 0; j < N; ++j) total[j] += in * load(x + j * C + c);
    }
    for (int j = 0; j < N; ++j) table[row.table + j] += sum<T>(total[j]);
  }
}

// Call f(N, rows, first coefficient) for every degree, with N = 2l+1 as a constant.
template <int l = 0, typename F>
void each_degree(const EdgeLayout& a, F f) {
  f(std::integral_constant<int, 2 * l + 1>(), a.of_degree[l], l * l * a.channels);
  if constexpr (l < kMaxDegree)
    if (l < a.shape.lmax) each_degree<l + 1>(a, f);
}

// local (rows, C) (+)= D x, x (size, C).
template <typename T, bool accumulate>
void turn(const EdgeLayout& a, const T* table, const T* x, T* local) {
  each_degree(a, [&](auto N, const std::vector<EdgeRow>& rows, int64_t first) {
    turn_degree<T, N(), accumulate>(a, rows, table, x + first, local);
  });
}

// x += D^T local.
template <typename T>
void turn_back(const EdgeLayout& a, const T* table, const T* local, T* x) {
  each_degree(a, [&](auto N, const std::vector<EdgeRow>& rows, int64_t first) {
    turn_degree_back<T, N()>(a, rows, table, local, x + first);
  });
}

// table += local x^T, the derivative of <local, D x> with respect to D.
template <typename T>
void turn_table(const EdgeLayout& a, const T* local, const T* x, T* table) {
  each_degree(a, [&](auto N, const std::vector<EdgeRow>& rows, int64_t first) {
    turn_degree_table<T, N()>(a, rows, local, x + first, table);
  });
}

// First row of the pairs of order m with the given sign, and the distance between degrees.
struct MixRows {
  int64_t first, step, degrees, kernel;
};

inline int64_t mix_rows(const EdgeLayout& a, MixRows* out) {
  int64_t n = 0, first = 0;
  for (int64_t m = 0; m <= a.shape.mmax; ++m) {
    const int64_t degrees = a.shape.lmax - m + 1;
    for (int s = 0; s < (m == 0 ? 1 : 2); ++s) out[n++] = {first + s, m == 0 ? 1 : 2, degrees, a.kernel_start[m]};
    first += degrees * (m == 0 ? 1 : 2);
  }
  return n;
}

// Mixed rows: out[l'] (+)= sum_{rho, l} k[l, l', rho] in[rho][l] for every order and sign; in (copies, rows, C).
template <typename T, bool accumulate>
void mix(const EdgeLayout& a, const T* k, const T* in, T* out) {
  const int64_t C = a.channels, R = a.copies, block = a.rows * C;
  if (a.shape.rank == 0) {
    for (int64_t l = 0; l <= a.shape.lmax; ++l)
      for (const EdgeRow& row : a.of_degree[l])
        for (int64_t c = 0; c < C; c += Simd<T>::width) {
          const int64_t at = row.local * C + c;
          const Pack<T> value = load(k + l * C + c) * load(in + at);
          store(out + at, accumulate ? load(out + at) + value : value);
        }
    return;
  }
  MixRows groups[32];
  const int64_t n = mix_rows(a, groups);
  for (int64_t g = 0; g < n; ++g) {
    const MixRows& m = groups[g];
    for (int64_t c = 0; c < C; c += Simd<T>::width)
      for (int64_t to = 0; to < m.degrees; ++to) {
        T* target = out + (m.first + to * m.step) * C + c;
        Pack<T> total = accumulate ? load(target) : Pack<T>{};
        for (int64_t from = 0; from < m.degrees; ++from)
          for (int64_t r = 0; r < R; ++r)
            total += k[(m.kernel + from * m.degrees + to) * R + r] *
                     load(in + r * block + (m.first + from * m.step) * C + c);
        store(target, total);
      }
  }
}

// Transposed: in[rho][l] (+)= sum_{l'} k[l, l', rho] out[l'].
template <typename T, bool accumulate>
void mix_back(const EdgeLayout& a, const T* k, const T* out, T* in) {
  const int64_t C = a.channels, R = a.copies, block = a.rows * C;
  if (a.shape.rank == 0) return mix<T, accumulate>(a, k, out, in);
  MixRows groups[32];
  const int64_t n = mix_rows(a, groups);
  for (int64_t g = 0; g < n; ++g) {
    const MixRows& m = groups[g];
    for (int64_t c = 0; c < C; c += Simd<T>::width)
      for (int64_t from = 0; from < m.degrees; ++from)
        for (int64_t r = 0; r < R; ++r) {
          T* target = in + r * block + (m.first + from * m.step) * C + c;
          Pack<T> total = accumulate ? load(target) : Pack<T>{};
          for (int64_t to = 0; to < m.degrees; ++to)
            total += k[(m.kernel + from * m.degrees + to) * R + r] * load(out + (m.first + to * m.step) * C + c);
          store(target, total);
        }
  }
}

// k[l, l', rho] += <in[rho][l], out[l']>.
template <typename T>
void mix_kernel(const EdgeLayout& a, const T* in, const T* out, T* k) {
  const int64_t C = a.channels, R = a.copies, block = a.rows * C;
  if (a.shape.rank == 0) {
    for (int64_t l = 0; l <= a.shape.lmax; ++l)
      for (const EdgeRow& row : a.of_degree[l])
        for (int64_t c = 0; c < C; c += Simd<T>::width) {
          const int64_t at = row.local * C + c;
          store(k + l * C + c, load(k + l * C + c) + load(in + at) * load(out + at));
        }
    return;
  }
  MixRows groups[32];
  const int64_t n = mix_rows(a, groups);
  for (int64_t g = 0; g < n; ++g) {
    const MixRows& m = groups[g];
    for (int64_t from = 0; from < m.degrees; ++from)
      for (int64_t r = 0; r < R; ++r) {
        const T* left = in + r * block + (m.first + from * m.step) * C;
        for (int64_t to = 0; to < m.degrees; ++to) {
          const T* right = out + (m.first + to * m.step) * C;
          Pack<T> total{};
          for (int64_t c = 0; c < C; c += Simd<T>::width) total += load(left + c) * load(right + c);
          k[(m.kernel + from * m.degrees + to) * R + r] += sum<T>(total);
        }
      }
  }
}

}  // namespace dpa4
