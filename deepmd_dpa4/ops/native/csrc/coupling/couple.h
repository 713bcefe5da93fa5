// Products of two fields through a sparse coupling: y_c = sum_ab C_abc l_a r_b, column by column of (rows, columns).
//
// C is symmetric in a and b, and an entry (a, b, c) with a != b stands for (b, a, c) too. Columns are handled in tiles,
// of which all rows stay in cache while the list of entries runs over them.
#pragma once

#include <cstdint>

namespace dpa4 {

// A view of the arrays of one call: (rows, columns) each.
template <typename T>
struct CoupleArrays {
  int64_t rows, columns;
  const T* in[3];
  T* out[2];
};

enum class Coupling {
  couple,    // y_c += C_abc l_a r_b
  adjoint,   // z_a += C_abc x_b g_c
  gradient,  // u_a += C_abc r_b g_c and v_a += C_abc l_b g_c
};

// All columns, on all threads. `index` holds (a, b, c); any order is correct, entries of a pair side by side and pairs
// ordered by a and by their number of entries make few groups.
template <typename T>
void couple_all(Coupling kind, const int32_t* index, const T* value, int64_t entries, const CoupleArrays<T>& arrays);

}  // namespace dpa4
