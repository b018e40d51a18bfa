// Elementwise ops.
#include "native/cpu/level.h"
#include "native/cpu/tasks.h"
#include "native/cpu/vmath.h"
#include "native/ops/math.h"

namespace heed::cpu::HEED_LEVEL {

void run(Context& context, const op::Gelu& op) {
  with_type(op.x, [&](const auto* x) {
    auto* const out = as(x, op.out);
    const auto run_with = [&](auto formula) {
      for_spans(context, op.x.rows * op.x.cols, kTaskElements, [&](int64_t begin, int64_t end) {
        for_vectors(end - begin,
                    [&](int64_t i, int64_t n) { put(out + begin + i, formula(get(x + begin + i, n)), n); });
      });
    };
    if (op.exact)
      run_with([](vec a) { return math::exact_gelu(a, exp(math::normal_argument(a))); });
    else
      run_with([](vec a) { return math::gelu(a, sigmoid(math::gelu_argument(a))); });
  });
}

void run(Context& context, const op::GeluBackward& op) {
  with_type(op.x, [&](const auto* x) {
    const auto* const dout = as(x, op.dout);
    auto* const dx = as(x, op.dx);
    const auto run_with = [&](auto formula) {
      for_spans(context, op.x.rows * op.x.cols, kTaskElements, [&](int64_t begin, int64_t end) {
        for_vectors(end - begin, [&](int64_t i, int64_t n) {
          put(dx + begin + i, get(dout + begin + i, n) * formula(get(x + begin + i, n)), n);
        });
      });
    };
    if (op.exact)
      run_with([](vec a) { return math::exact_gelu_grad(a, exp(math::normal_argument(a))); });
    else
      run_with([](vec a) { return math::gelu_grad(a, sigmoid(math::gelu_argument(a))); });
  });
}

namespace {

// put(i, formula(elements of x at i)) for all elements.
template <class T, class F>
void for_elements(const Context& context, T* out, const T* x, int64_t size, F formula) {
  for_spans(context, size, kTaskElements, [&](int64_t begin, int64_t end) {
    for_vectors(end - begin, [&](int64_t i, int64_t n) { put(out + begin + i, formula(get(x + begin + i, n)), n); });
  });
}
// The same of two matrices.
template <class T, class F>
void for_pairs(const Context& context, T* out, const T* a, const T* b, int64_t size, F formula) {
  for_spans(context, size, kTaskElements, [&](int64_t begin, int64_t end) {
    for_vectors(end - begin, [&](int64_t i, int64_t n) {
      put(out + begin + i, formula(get(a + begin + i, n), get(b + begin + i, n)), n);
    });
  });
}

// The activation of a gate: silu for SwiGlu, GELU for GeGlu.
struct Silu {
  static vec gate(vec x) { return sigmoid(x); }
  static vec value(vec x, vec gate) { return math::silu(x, gate); }
  static vec grad(vec x, vec gate) { return math::silu_grad(x, gate); }
};
struct TanhGelu {
  static vec gate(vec x) { return sigmoid(math::gelu_argument(x)); }
  static vec value(vec x, vec gate) { return math::gelu(x, gate); }
  static vec grad(vec x, vec gate) { return math::gelu_grad(x, gate); }
};

template <class Activation, class Op>
void gate(const Context& context, const Op& op) {
  const int64_t cols = op.out.cols;
  with_type(op.gate_up, [&](const auto* gate_up) {
    for_rows(context, op.out.rows, cols, [&](int64_t r) {
      const auto *gate = gate_up + r * 2 * cols, *up = gate + cols;
      auto* const out = as(gate_up, op.out) + r * cols;
      for_vectors(cols, [&](int64_t i, int64_t n) {
        const vec g = get(gate + i, n);
        put(out + i, Activation::value(g, Activation::gate(g)) * get(up + i, n), n);
      });
    });
  });
}

template <class Activation, class Op>
void gate_backward(const Context& context, const Op& op) {
  const int64_t cols = op.dout.cols;
  with_type(op.gate_up, [&](const auto* gate_up) {
    for_rows(context, op.dout.rows, cols, [&](int64_t r) {
      const auto *gate = gate_up + r * 2 * cols, *up = gate + cols, *dout = as(gate_up, op.dout) + r * cols;
      auto *dgate = as(gate_up, op.dgate_up) + r * 2 * cols, *dup = dgate + cols;
      for_vectors(cols, [&](int64_t i, int64_t n) {
        const vec g = get(gate + i, n), u = get(up + i, n), d = get(dout + i, n),
                  s = Activation::gate(g);  // before dgate_up, which may be gate_up
        put(dgate + i, d * u * Activation::grad(g, s), n);
        put(dup + i, d * Activation::value(g, s), n);
      });
    });
  });
}

}  // namespace

void run(Context& context, const op::Relu& op) {
  with_type(op.x, [&](const auto* x) {
    for_elements(context, as(x, op.out), x, op.x.size(), [](vec a) { return a > 0.0f ? a : vec{}; });
  });
}
void run(Context& context, const op::ReluBackward& op) {
  with_type(op.x, [&](const auto* x) {
    for_pairs(context, as(x, op.dx), as(x, op.dout), x, op.x.size(), [](vec d, vec a) { return a > 0.0f ? d : vec{}; });
  });
}

void run(Context& context, const op::SwiGlu& op) {
  gate<Silu>(context, op);
}
void run(Context& context, const op::SwiGluBackward& op) {
  gate_backward<Silu>(context, op);
}
void run(Context& context, const op::GeGlu& op) {
  gate<TanhGelu>(context, op);
}
void run(Context& context, const op::GeGluBackward& op) {
  gate_backward<TanhGelu>(context, op);
}

void run(Context& context, const op::Scale& op) {
  with_type(op.x, [&](const auto* x) {
    for_elements(context, as(x, op.out), x, op.x.size(), [&](vec a) { return a * op.factor; });
  });
}

void run(Context& context, const op::SoftCap& op) {
  with_type(op.x, [&](const auto* x) {
    for_elements(context, as(x, op.out), x, op.x.size(), [&](vec a) { return op.cap * tanh(a / op.cap); });
  });
}
// d tanh(x) = 1 - tanh² x
void run(Context& context, const op::SoftCapBackward& op) {
  with_type(op.out, [&](const auto* out) {
    for_pairs(context, as(out, op.dx), as(out, op.dout), out, op.out.size(), [&](vec d, vec y) {
      const vec t = y / op.cap;
      return d * (1.0f - t * t);
    });
  });
}

void run(Context& context, const op::Add& op) {
  with_type(op.out, [&](auto* out) {
    const auto *const a = as(out, op.a), *const b = as(out, op.b);
    for_spans(context, op.out.rows * op.out.cols, kTaskElements, [&](int64_t begin, int64_t end) {
      for_vectors(end - begin, [&](int64_t i, int64_t n) {
        put(out + begin + i, get(a + begin + i, n) + get(b + begin + i, n), n);
      });
    });
  });
}

// Several at a time in a loop of their own, so that the compiler vectorizes it.
constexpr int kQuads = 16;
static __attribute__((noinline)) void dropout_bits(uint32_t* bits, uint64_t seed, uint32_t site, int64_t row,
                                                   int64_t quad) {
  for (int q = 0; q < kQuads; ++q) {
    const rng::Bits four = math::dropout_bits(seed, site, row, quad + q);
    for (int j = 0; j < 4; ++j) bits[4 * q + j] = four.x[j];
  }
}

void run(Context& context, const op::Dropout& op) {
  const int64_t cols = op.x.cols;
  const float inverse_keep = 1.0f / (1.0f - op.rate);
  with_type(op.x, [&](const auto* all) {
    for_rows(context, op.x.rows, cols, [&](int64_t r) {
      const auto* x = all + r * cols;
      auto* out = as(all, op.out) + r * cols;
      for (int64_t begin = 0; begin < cols; begin += 4 * kQuads) {
        uint32_t bits[4 * kQuads];
        dropout_bits(bits, op.seed, op.site, op.first_row + r, begin / 4);
        const int64_t n = smaller(4 * kQuads, cols - begin);
        for (int64_t i = 0; i < n; ++i)
          set(out[begin + i], math::dropout(value(x[begin + i]), bits[i], op.rate, inverse_keep));
      }
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
