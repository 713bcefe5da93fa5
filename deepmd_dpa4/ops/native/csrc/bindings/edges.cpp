// Operators on edges: from their vectors to messages.
#include "../geometry/bessel_basis_binding.h"
#include "../geometry/edge_geometry_binding.h"
#include "../message/edge_message_binding.h"
