// The edge part of a convolution in double precision.
#include "driver.h"

namespace dpa4 {

using T = double;

template int64_t padding_of<T>();
template void edge_forward(const EdgeLayout&, int64_t, const EdgeArguments<T>&, const EdgeIndex&, int64_t, T*, T*);
template void edge_backward<T, false>(const EdgeLayout&, int64_t, const EdgeArguments<T>&, const EdgeArguments<T>*,
                                      const EdgeIndex&, int64_t, const T*, const EdgeGradients<T>&, T*, T*);
template void edge_backward<T, true>(const EdgeLayout&, int64_t, const EdgeArguments<T>&, const EdgeArguments<T>*,
                                     const EdgeIndex&, int64_t, const T*, const EdgeGradients<T>&, T*, T*);

}  // namespace dpa4
