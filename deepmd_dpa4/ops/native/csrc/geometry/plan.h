// Constants of the geometry of edges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace dpa4 {

// One product of S_l = Pi_l(a (x) S_{l-1}): component `upper` of the result gets factor * a[axis] * S[lower].
template <typename T>
struct RaisingTerm {
  int64_t axis, lower;
  T factor;
};

// Constants of the operator.
template <typename T>
struct GeometryPlan {
  int64_t lmax, mmax;
  bool weighted;
  T eps2, rcut;
  int64_t exponent;  // of the envelope
  const T* scale;
  int64_t entries, zonal;                   // columns of the table of rotations and of the harmonics with l > 0
  std::vector<std::vector<int64_t>> start;  // [l][m]: first table column of the row +m; the row -m follows
  std::vector<std::vector<std::vector<RaisingTerm<T>>>> terms;  // [l][upper]

  GeometryPlan(int64_t degree, int64_t order, int64_t envelope_exponent, bool weight_zonal, double epsilon2,
               double cutoff, const int64_t* coupling, const T* coefficient, int64_t n_terms, const T* scales)
      : lmax(degree), mmax(order), weighted(weight_zonal), eps2(T(epsilon2)), rcut(T(cutoff)),
        exponent(envelope_exponent), scale(scales), entries(0), zonal((degree + 1) * (degree + 1) - 1),
        start(degree + 1), terms(degree + 1) {
    for (int64_t l = 0; l <= lmax; ++l) {
      terms[l].resize(2 * l + 1);
      for (int64_t m = 0; m <= std::min(mmax, l); ++m) {
        start[l].push_back(entries);
        entries += (m == 0 ? 1 : 2) * (2 * l + 1);
      }
    }
    for (int64_t k = 0; k < n_terms; ++k, coupling += 4)
      terms[coupling[0]][coupling[3]].push_back({coupling[1], coupling[2], coefficient[k]});
  }
};

}  // namespace dpa4
