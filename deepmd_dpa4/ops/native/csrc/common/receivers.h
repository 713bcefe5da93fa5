// Work over the edges of each receiver, edges being sorted by receiver.
#pragma once

#include <ATen/ATen.h>

#include "parallel.h"

namespace dpa4 {

inline void check_receivers(const at::Tensor& receiver, int64_t n) {
  TORCH_CHECK(receiver.is_contiguous(), "receivers must be contiguous");
  const int64_t *first = receiver.const_data_ptr<int64_t>(), *last = first + receiver.size(0);
  TORCH_CHECK(std::is_sorted(first, last), "edges must be sorted by receiver");
  TORCH_CHECK(first == last || (*first >= 0 && last[-1] < n), "receivers must lie in [0, ", n, ")");
}

inline void check_nodes(const at::Tensor& index, int64_t n, const char* what) {
  const int64_t* at = index.const_data_ptr<int64_t>();
  bool inside = true;
  for (int64_t e = 0; e < index.numel(); ++e) inside &= at[e] >= 0 && at[e] < n;
  TORCH_CHECK(inside, what, " must lie in [0, ", n, ")");
}

// Run f(i, begin, end) over the edges begin..end of each receiver i that has any; whole receivers to each thread.
// `make` gives each thread its f.
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

}  // namespace dpa4
