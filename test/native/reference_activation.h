// Activations in double precision.
#pragma once

#include "test/native/reference.h"

namespace reference {

// GELU in the tanh form (Hendrycks & Gimpel 2016, eq. 2).
inline double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

// The same by the error function.
inline double exact_gelu(double x) {
  return 0.5 * x * std::erfc(-x / std::sqrt(2));
}

inline double silu(double x) {
  return x / (1 + std::exp(-x));
}

}  // namespace reference
