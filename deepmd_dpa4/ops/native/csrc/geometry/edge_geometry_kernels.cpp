#include "edge_geometry.h"

#include "worker.h"

namespace dpa4 {

template <typename T>
void edge_geometry(const GeometryPlan<T>& plan, int64_t edges, const T* vector, const GeometryRows<T>& outputs) {
  over_packs<T, false>(edges, plan, vector, nullptr, [&](auto& worker) { worker.write(outputs); });
}

template <typename T>
void edge_geometry_backward(const GeometryPlan<T>& plan, int64_t edges, const T* vector,
                            const GeometryRows<const T>& cotangents, T* by_vector) {
  over_packs<T, false>(edges, plan, vector, nullptr, [&](auto& worker) { worker.pull_back(cotangents, by_vector); });
}

template <typename T>
void edge_geometry_along(const GeometryPlan<T>& plan, int64_t edges, const T* vector, const T* direction,
                         const GeometryRows<const T>& cotangents, const GeometryRows<T>& outputs, T* by_vector) {
  over_packs<T, true>(edges, plan, vector, direction, [&](auto& worker) {
    worker.write(outputs);
    worker.pull_back(cotangents, by_vector);
  });
}

template void edge_geometry(const GeometryPlan<float>&, int64_t, const float*, const GeometryRows<float>&);
template void edge_geometry_backward(const GeometryPlan<float>&, int64_t, const float*,
                                     const GeometryRows<const float>&, float*);
template void edge_geometry_along(const GeometryPlan<float>&, int64_t, const float*, const float*,
                                  const GeometryRows<const float>&, const GeometryRows<float>&, float*);
template void edge_geometry(const GeometryPlan<double>&, int64_t, const double*, const GeometryRows<double>&);
template void edge_geometry_backward(const GeometryPlan<double>&, int64_t, const double*,
                                     const GeometryRows<const double>&, double*);
template void edge_geometry_along(const GeometryPlan<double>&, int64_t, const double*, const double*,
                                  const GeometryRows<const double>&, const GeometryRows<double>&, double*);

}  // namespace dpa4
