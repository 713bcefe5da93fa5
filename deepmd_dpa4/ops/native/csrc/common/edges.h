// Edges sorted by receiver, and how they are divided among threads: whole receivers to each.
#pragma once

#include <cstring>
#include <vector>

#include "parallel.h"

namespace dpa4 {

struct EdgeIndex {
  const int64_t *sender, *receiver;  // receivers ascend
  int64_t edges, nodes, receivers;
};

// First edge of each thread.
inline std::vector<int64_t> divide_edges(const EdgeIndex& index, int64_t parts) {
  std::vector<int64_t> start{0};
  for (int64_t t = 1; t < parts; ++t) {
    int64_t e = std::max(start.back(), index.edges * t / parts);
    while (e > start.back() && e < index.edges && index.receiver[e] == index.receiver[e - 1]) ++e;
    start.push_back(e);
  }
  start.push_back(index.edges);
  return start;
}

inline int64_t edge_threads(int64_t edges) {
  return std::max<int64_t>(1, std::min<int64_t>(available_threads(), edges / 64));
}

// Run f(i, begin, end) over the edges begin..end of each receiver i that has any. `make` gives each thread its f.
template <typename Make>
void over_receivers(const int64_t* receiver, int64_t count, Make make) {
  constexpr int64_t grain = 512;
  in_parts(count, grain, [&](int64_t begin, int64_t end) {
    const auto next_receiver = [&](int64_t e) {
      while (e > 0 && e < count && receiver[e] == receiver[e - 1]) ++e;
      return e;
    };
    begin = next_receiver(begin);
    end = next_receiver(end);
    auto f = make();
    while (begin < end) {
      const int64_t stop = next_receiver(begin + 1);
      f(receiver[begin], begin, stop);
      begin = stop;
    }
  });
}

// Sums of threads in a shared array: the first thread uses the array itself, the others copies of their own.
template <typename T>
class PerThread {
 public:
  PerThread(T* target, int64_t size, int64_t threads) : target_(target), size_(target ? size : 0), copies_(threads) {}
  T* begin(int t) {
    if (!target_ || t == 0) return target_;
    copies_[t] = allocate<T>(size_);
    std::memset(copies_[t].get(), 0, size_ * sizeof(T));
    return copies_[t].get();
  }
  void reduce() {
    in_parts(size_, 4096, [&](int64_t begin, int64_t end) {
      for (const Buffer<T>& copy : copies_)
        if (copy)
          for (int64_t i = begin; i < end; ++i) target_[i] += copy[i];
    });
  }

 private:
  T* target_;
  int64_t size_;
  std::vector<Buffer<T>> copies_;
};

}  // namespace dpa4
