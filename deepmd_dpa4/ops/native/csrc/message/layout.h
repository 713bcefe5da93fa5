// Where the coefficients of an edge stand in the arrays of the edge operator.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace dpa4 {

constexpr int kMaxDegree = 5;
constexpr int kMaxStreams = 8;
constexpr int kMaxHeads = 8;

// Options of one convolution that the operator needs.
struct EdgeShape {
  int64_t lmax, mmax;  // degree and order of the features
  int64_t table_mmax;  // order of the rows in the rotation table
  int64_t streams, width, heads;
  int64_t layers;  // SO(2) layers, all but the last one gated
  int64_t rank;    // channel bases of the degree mixer; 0 = one scale per degree and channel instead
  bool focus, focus_norm;
};

// One kept row (l, m) of an edge.
struct EdgeRow {
  int64_t degree;
  int64_t order;     // |m|
  int64_t position;  // row inside its group of one |m|: all of -m, then all of +m
  int64_t local;     // row in edge order
  int64_t table;     // first of its 2l+1 entries in the rotation table
};

struct EdgeLayout {
  EdgeShape shape;
  int64_t padded;                               // width of a stream rounded up to whole vectors
  int64_t channels;                             // streams * padded
  int64_t size;                                 // (lmax+1)^2
  int64_t rows;                                 // kept rows
  int64_t copies;                               // max(rank, 1)
  int64_t kernel;                               // entries of the degree mixer, or of the scales, per edge
  int64_t table;                                // entries of the rotation table per edge that this block reads
  std::vector<int64_t> group;                   // columns of each order: rows * padded
  std::vector<int64_t> group_start;             // first column of each order, for one stream
  std::vector<int64_t> kernel_start;            // first mixer entry of each order
  std::vector<std::vector<EdgeRow>> of_degree;  // rows of each degree
  int64_t state;                                // columns of all orders of one stream
  int64_t gates;                                // lmax * padded
  int64_t kept;                                 // numbers of an edge that a forward pass can keep for a derivative

  EdgeLayout(const EdgeShape& s, int64_t vector_width) : shape(s) {
    const int64_t L = s.lmax, M = s.mmax;
    padded = (s.width + vector_width - 1) / vector_width * vector_width;
    channels = s.streams * padded;
    size = (L + 1) * (L + 1);
    copies = std::max<int64_t>(s.rank, 1);
    gates = L * padded;
    rows = state = 0;
    int64_t entries = 0;
    std::vector<int64_t> first_row;
    for (int64_t m = 0; m <= M; ++m) {
      const int64_t degrees = L - m + 1, n = degrees * (m == 0 ? 1 : 2);
      first_row.push_back(rows);
      group.push_back(n * padded);
      group_start.push_back(state);
      kernel_start.push_back(entries);
      rows += n;
      state += n * padded;
      entries += degrees * degrees;
    }
    kept = s.streams * ((s.layers + 1) * state + (s.layers - 1) * gates);
    kernel = s.rank > 0 ? entries * s.rank : (L + 1) * channels;
    table = 0;
    for (int64_t l = 0; l <= L; ++l) {
      of_degree.emplace_back();
      const int64_t n = 2 * l + 1;
      for (int64_t m = 0; m <= std::min(s.table_mmax, l); ++m)
        for (int sign = (m == 0 ? 0 : 1); sign >= (m == 0 ? 0 : -1); sign -= 2) {
          if (m <= M) {
            const int64_t position = l - m + (sign > 0 ? L - m + 1 : 0);
            const int64_t local = first_row[m] + (m == 0 ? l : 2 * (l - m) + (sign > 0 ? 1 : 0));
            of_degree.back().push_back({l, m, position, local, table});
          }
          table += n;
          if (m == 0) break;
        }
    }
  }
};

}  // namespace dpa4
