// The geometry of edges and its derivatives on arrays.
#pragma once

#include <array>

#include "plan.h"

namespace dpa4 {

// Outputs, in order: distance, weight, environment, zonal, compact.
constexpr int kGeometryOutputs = 5;

// Rows of memory of each output or cotangent; null where there is none.
template <typename T>
using GeometryRows = std::array<T*, kGeometryOutputs>;

// Outputs for vectors (edges, 3).
template <typename T>
void edge_geometry(const GeometryPlan<T>& plan, int64_t edges, const T* vector, const GeometryRows<T>& outputs);

// Product of the cotangents with the Jacobian.
template <typename T>
void edge_geometry_backward(const GeometryPlan<T>& plan, int64_t edges, const T* vector,
                            const GeometryRows<const T>& cotangents, T* by_vector);

// Derivatives of both along a direction of the vectors.
template <typename T>
void edge_geometry_along(const GeometryPlan<T>& plan, int64_t edges, const T* vector, const T* direction,
                         const GeometryRows<const T>& cotangents, const GeometryRows<T>& outputs, T* by_vector);

}  // namespace dpa4
