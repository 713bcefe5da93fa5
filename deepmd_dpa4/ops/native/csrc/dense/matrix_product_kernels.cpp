#include "../common/parallel.h"
#include "../common/simd.h"
#include "matrix_product.h"

namespace dpa4 {
namespace {

constexpr int64_t kRows = 96;         // of A in one task
constexpr int64_t kDepth = 256;       // rows of B in one pass
constexpr int64_t kKept = 4096;       // rows of B that are copied at once, a multiple of the depth
constexpr int64_t kFewest = 1 << 17;  // multiplications that are worth a thread

// Rows of B as the tile kernel wants them: contiguous and whole vectors long. Copied where they are not, and then kept
// for the next rows of A.
template <typename T>
class RightRows {
 public:
  RightRows(const Matrices<T>& source, int64_t rows, int64_t columns)
      : source_(source), columns_(columns), whole_(source.column == 1 && columns % Simd<T>::width == 0) {
    if (!whole_) copy_ = allocate<T>(std::min(rows, kKept) * padded<T>(columns));
  }

  int64_t stride() const { return whole_ ? source_.row : padded<T>(columns_); }

  // Row k of matrix b, followed by as many as one pass takes; no row from `end` on is needed.
  const T* from(int64_t b, int64_t k, int64_t end) {
    if (whole_) return source_.from(b, k, 0).data;
    const T* matrix = source_.from(b, 0, 0).data;
    if (matrix != matrix_ || k < first_ || k >= last_) copy(matrix, k, std::min(k + kKept, end));
    return copy_.get() + (k - first_) * stride();
  }

 private:
  void copy(const T* matrix, int64_t first, int64_t last) {
    matrix_ = matrix;
    first_ = first;
    last_ = last;
    for (int64_t k = first; k < last; ++k) {
      const T* from = matrix + k * source_.row;
      T* to = copy_.get() + (k - first) * stride();
      for (int64_t j = 0; j < columns_; ++j) to[j] = from[j * source_.column];
      std::fill(to + columns_, to + stride(), T(0));
    }
  }

  Matrices<T> source_;
  int64_t columns_;
  bool whole_;
  Buffer<T> copy_;
  const T* matrix_ = nullptr;
  int64_t first_ = 0, last_ = 0;
};

// Blocks of rows of A times rows of B, for one thread.
template <typename T>
class RowProduct {
 public:
  RowProduct(const Matrices<T>& a, const Matrices<T>& b, int64_t inner, int64_t columns)
      : a_(a), right_(b, inner, columns), columns_(columns), width_(padded<T>(columns)) {
    if (width_ != columns_) wide_ = allocate<T>(kRows * width_);
  }

  // c = A[first..first + rows, begin..end] B[begin..end] of matrix b.
  void operator()(int64_t b, int64_t first, int64_t rows, int64_t begin, int64_t end, T* c) {
    T* out = wide_ ? wide_.get() : c;
    for (int64_t k = begin; k < end; k += kDepth) {
      const int64_t depth = std::min(kDepth, end - k);
      const T* right = right_.from(b, k, end);
      if (k == begin)
        gemm<T>(false, rows, width_, depth, a_.from(b, first, k), right, right_.stride(), out, width_);
      else
        gemm<T>(true, rows, width_, depth, a_.from(b, first, k), right, right_.stride(), out, width_);
    }
    if (!wide_) return;
    for (int64_t i = 0; i < rows; ++i) std::copy(out + i * width_, out + i * width_ + columns_, c + i * columns_);
  }

 private:
  Matrices<T> a_;
  RightRows<T> right_;
  int64_t columns_, width_;
  Buffer<T> wide_;
};

}  // namespace

template <typename T>
void multiply(const Sizes& s, const Matrices<T>& a, const Matrices<T>& b, int64_t parts, T* c) {
  const int64_t blocks = (s.M + kRows - 1) / kRows;
  const int64_t work = std::max<int64_t>(1, std::min(kRows, s.M) * s.N * (s.K / parts));
  in_parts(parts * s.batch * blocks, kFewest / work, [&](int64_t begin, int64_t end) {
    RowProduct<T> product(a, b, s.K, s.N);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t block = task % blocks, matrix = task / blocks % s.batch, part = task / blocks / s.batch;
      const int64_t first = block * kRows, rows = std::min(kRows, s.M - first);
      T* out = c + ((part * s.batch + matrix) * s.M + first) * s.N;
      product(matrix, first, rows, s.K * part / parts, s.K * (part + 1) / parts, out);
    }
  });
}

int64_t parts_of(const Sizes& s) {
  const int64_t tasks = s.batch * ((s.M + kRows - 1) / kRows), threads = available_threads();
  return tasks >= 2 * threads ? 1 : std::max<int64_t>(1, std::min(threads, s.K / (4 * kDepth)));
}

template void multiply(const Sizes&, const Matrices<float>&, const Matrices<float>&, int64_t, float*);
template void multiply(const Sizes&, const Matrices<double>&, const Matrices<double>&, int64_t, double*);

}  // namespace dpa4
