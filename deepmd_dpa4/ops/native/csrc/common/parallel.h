// Threads. Work is divided in a fixed way, so results do not change from run to run with the same number of threads.
#pragma once

#include <omp.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <limits>
#include <memory>
#include <new>

namespace dpa4 {

// While this exists, its thread takes numbers below the smallest normal one for zero. Products with them take a hundred
// times as long on many processors, and sharp attention makes such weights for most edges.
class NoSubnormals {
 public:
  NoSubnormals() = default;
  NoSubnormals(const NoSubnormals&) = delete;
  NoSubnormals& operator=(const NoSubnormals&) = delete;
#ifdef __SSE__
  ~NoSubnormals() { _mm_setcsr(before_); }

 private:
  static unsigned set() {
    const unsigned before = _mm_getcsr();
    constexpr unsigned results_to_zero = 0x8000, arguments_are_zero = 0x0040;
    _mm_setcsr(before | results_to_zero | arguments_are_zero);
    return before;
  }
  unsigned before_ = set();
#else
  ~NoSubnormals() {}
#endif
};

inline int available_threads() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }

// Run f(thread) for thread = 0..n-1. An exception must not leave a parallel region: the last one is thrown behind it.
template <typename F>
void on_threads(int n, F f) {
  if (n <= 1) {
    const NoSubnormals here;
    f(0);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel num_threads(n)
  try {
    const NoSubnormals here;
    // The runtime may grant fewer threads than asked for.
    for (int t = omp_get_thread_num(); t < n; t += omp_get_num_threads()) f(t);
  } catch (...) {
#pragma omp critical(dpa4_failure)
    failure = std::current_exception();
  }
  if (failure) std::rethrow_exception(failure);
}

// Run f(begin, end) over fixed, almost equal parts of [0, count), each of at least `grain` unless it is the only one.
template <typename F>
void in_parts(int64_t count, int64_t grain, F f) {
  const int64_t parts =
      std::max<int64_t>(1, std::min<int64_t>(available_threads(), count / std::max<int64_t>(grain, 1)));
  on_threads(int(parts), [&](int t) { f(count * t / parts, count * (t + 1) / parts); });
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// Uninitialised array aligned for vector loads.
template <typename T>
using Buffer = std::unique_ptr<T[], Free>;

template <typename T>
Buffer<T> allocate(size_t count) {
  constexpr size_t most = std::numeric_limits<int64_t>::max() / sizeof(T) - 64;
  const size_t bytes = (std::max<size_t>(count, 1) * sizeof(T) + 63) / 64 * 64;
  void* memory = count < most ? std::aligned_alloc(64, bytes) : nullptr;
  if (memory == nullptr) throw std::bad_alloc();
  return Buffer<T>(static_cast<T*>(memory));
}

}  // namespace dpa4
