// Operators by their names. Derivatives call each other through the dispatcher, so that tracing sees each of them.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

namespace dpa4 {

template <typename Signature>
c10::TypedOperatorHandle<Signature> find_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

}  // namespace dpa4
