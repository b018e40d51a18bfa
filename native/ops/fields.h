// Iterates over the fields of an op struct. Only their types say which tensors the op writes.
#pragma once

#include <cstddef>

#include "native/ops/types.h"

namespace heed::op {
namespace fields {

struct Anything {
  template <class T>
  operator T() const;
};
template <class Op, class... Some>
constexpr size_t count() {
  if constexpr (requires { Op{Some{}..., Anything{}}; })
    return count<Op, Some..., Anything>();
  else
    return sizeof...(Some);
}

}  // namespace fields

// Calls f(field) for every field of an op, in the order of declaration.
template <class Op, class F>
void for_each_field(const Op& op, F f) {
  constexpr size_t n = fields::count<Op>();
  static_assert(n >= 2 && n <= 14, "extend the list below");
  const auto each = [&](const auto&... field) { (f(field), ...); };
  // clang-format off
  if constexpr (n == 2) { const auto& [a, b] = op; each(a, b); }
  if constexpr (n == 3) { const auto& [a, b, c] = op; each(a, b, c); }
  if constexpr (n == 4) { const auto& [a, b, c, d] = op; each(a, b, c, d); }
  if constexpr (n == 5) { const auto& [a, b, c, d, e] = op; each(a, b, c, d, e); }
  if constexpr (n == 6) { const auto& [a, b, c, d, e, g] = op; each(a, b, c, d, e, g); }
  if constexpr (n == 7) { const auto& [a, b, c, d, e, g, h] = op; each(a, b, c, d, e, g, h); }
  if constexpr (n == 8) { const auto& [a, b, c, d, e, g, h, i] = op; each(a, b, c, d, e, g, h, i); }
  if constexpr (n == 9) { const auto& [a, b, c, d, e, g, h, i, j] = op; each(a, b, c, d, e, g, h, i, j); }
  if constexpr (n == 10) { const auto& [a, b, c, d, e, g, h, i, j, k] = op; each(a, b, c, d, e, g, h, i, j, k); }
  if constexpr (n == 11) { const auto& [a, b, c, d, e, g, h, i, j, k, l] = op; each(a, b, c, d, e, g, h, i, j, k, l); }
  if constexpr (n == 12) { const auto& [a, b, c, d, e, g, h, i, j, k, l, m] = op; each(a, b, c, d, e, g, h, i, j, k, l, m); }
  if constexpr (n == 13) { const auto& [a, b, c, d, e, g, h, i, j, k, l, m, o] = op; each(a, b, c, d, e, g, h, i, j, k, l, m, o); }
  if constexpr (n == 14) { const auto& [a, b, c, d, e, g, h, i, j, k, l, m, o, p] = op; each(a, b, c, d, e, g, h, i, j, k, l, m, o, p); }
  // clang-format on
}

// Calls f(tensor) for every tensor that the op writes: its Out and InOut fields that were given.
template <class Op, class F>
void for_each_written(const Op& op, F f) {
  for_each_field(op, [&](const auto& field) {
    using Field = std::remove_cvref_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, Out> || std::is_same_v<Field, InOut>)
      if (field.rows != 0) f(static_cast<const Tensor&>(field));
  });
}

}  // namespace heed::op
