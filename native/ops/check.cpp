// Shape and range checks of all ops, for all backends.
#include <cmath>

#include "native/core/error.h"
#include "native/ops/backend.h"

namespace heed::op {
namespace {

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::i8:
      return "i8";
    case DType::i32:
      return "i32";
    case DType::f64:
      return "f64";
  }
  return "of an unknown type";
}

void require_dtype(const char* name, const Tensor& t, DType dtype) {
  require(t.dtype == dtype, name, " is ", to_string(t.dtype), ", expected ", to_string(dtype));
}

// Checks a parameter, activation or logits tensor. Returns its type, which the op's other such tensors must have too.
DType require_float(const char* name, const Tensor& t) {
  require(t.dtype == DType::f32 || t.dtype == DType::bf16, name, " is ", to_string(t.dtype), ", expected f32 or bf16");
  return t.dtype;
}

// A field that was not set has no rows, so it fails here too; null data is allowed, for measuring runs.
void require_shape(const char* name, const Tensor& t, int64_t rows, int64_t cols = 1, DType dtype = DType::f32) {
  require_dtype(name, t, dtype);
  require(t.rows == rows && t.cols == cols, name, " is (", t.rows, ", ", t.cols, "), expected (", rows, ", ", cols,
          ")");
}

void require_ints(const char* name, const Tensor& t, int64_t rows, int64_t cols = 1) {
  require_shape(name, t, rows, cols, DType::i32);
}

void require_matrix(const char* name, const Tensor& t, DType dtype) {
  require_dtype(name, t, dtype);
  require(t.rows >= 0 && t.cols > 0, name, " is (", t.rows, ", ", t.cols, "), expected a matrix with columns");
}
DType require_matrix(const char* name, const Tensor& t) {
  require_matrix(name, t, require_float(name, t));
  return t.dtype;
}

bool given(const Tensor& t) {
  return t.rows != 0;
}

void require_optional(const char* name, const Tensor& t, int64_t rows, int64_t cols = 1, DType dtype = DType::f32) {
  if (given(t)) require_shape(name, t, rows, cols, dtype);
}

void require_apart(const char* name, const Tensor& t, const char* other_name, const Tensor& other) {
  require(t.data == nullptr || t.size() == 0 || t.data != other.data, name, " must not be ", other_name);
}

// The part's columns are those of the whole from `first` on.
void require_part(const char* name, const Tensor& part, int64_t first, const char* whole_name, const Tensor& whole) {
  require(first >= 0 && part.cols > 0 && first + part.cols <= whole.cols, name, " has ", part.cols,
          " columns from column ", first, ", expected a part of the ", whole.cols, " columns of ", whole_name);
}

void require_positive(const char* name, double value) {
  require(value > 0 && std::isfinite(value), name, " must be positive, got ", value);
}

// Below this, divided logits are so large that their rounding alone changes probabilities.
void require_temperature(double value) {
  require_positive("temperature", value);
  require(value >= kMinTemperature, "temperature must be at least ", kMinTemperature, ", got ", value);
}
void require_at_least_zero(const char* name, double value) {
  require(value >= 0 && std::isfinite(value), name, " must be at least 0, got ", value);
}

void require_finite(const char* name, double value) {
  require(std::isfinite(value), name, " must be finite, got ", value);
}

void require_heads(int64_t num_heads, int64_t num_kv_heads) {
  require(num_heads > 0, "num_heads must be positive, got ", num_heads);
  require(num_kv_heads > 0 && num_heads % num_kv_heads == 0, "num_kv_heads must divide num_heads (", num_heads,
          "), got ", num_kv_heads);
}

void require_window(int64_t window) {
  require(window >= 0, "window must be at least 0, got ", window);
}

void require_scores(float scale, float softcap) {
  require_at_least_zero("scale", scale);
  require_at_least_zero("softcap", softcap);
}

// Channels per head of a matrix with `heads` heads.
int64_t head_dim(const char* name, const Tensor& t, int64_t heads) {
  require(t.cols > 0 && t.cols % heads == 0, name, " has ", t.cols, " columns, expected a multiple of ", heads,
          " heads");
  return t.cols / heads;
}

void require_vocab(int64_t vocab, const Tensor& logits) {
  require_matrix("logits", logits);
  require(vocab > 0 && vocab <= logits.cols, "vocab is ", vocab, ", expected at most the ", logits.cols,
          " columns of logits");
}

// The backend determines the layout.
DType require_cache(const Tensor& keys, const Tensor& values, int64_t num_kv_heads, int64_t dim) {
  const DType dtype = require_matrix("keys", keys);
  const auto require_heads_of = [&](const char* name, const Tensor& t) {
    require_dtype(name, t, dtype);
    require(t.size() % (num_kv_heads * dim) == 0, name, " is (", t.rows, ", ", t.cols, "), expected a multiple of ",
            num_kv_heads, " key/value heads of ", dim, " channels");
  };
  require_heads_of("keys", keys);
  require_heads_of("values", values);
  return dtype;
}

void require_segments(const Tensor& cu_seqlens, const Tensor& parent, int64_t tokens, int64_t max_path) {
  require_ints("parent", parent, parent.rows);
  require_ints("cu_seqlens", cu_seqlens, parent.rows + 1);
  require(max_path >= 0 && max_path <= tokens, "max_path must be in [0, ", tokens, "], got ", max_path);
}

}  // namespace

// embedding.h

void Embedding::check() const {
  const DType dtype = require_matrix("wte", wte);
  require_ints("tokens", tokens, tokens.rows);
  require_ints("positions", positions, tokens.rows);
  require_shape("out", out, tokens.rows, wte.cols, dtype);
  require_optional("wpe", wpe, wpe.rows, wte.cols, dtype);
}

void EmbeddingBackward::check() const {
  require_matrix("dwte", dwte, DType::f32);
  require_ints("tokens", tokens, tokens.rows);
  require_ints("positions", positions, tokens.rows);
  require_shape("dout", dout, tokens.rows, dwte.cols, require_float("dout", dout));
  require_optional("dwpe", dwpe, dwpe.rows, dwte.cols);
}

void Rope::check() const {
  require_heads(num_heads, num_kv_heads);
  require_matrix("qkv", qkv);
  const int64_t dim = head_dim("qkv", qkv, num_heads + 2 * num_kv_heads);
  require(cos.cols > 0 && 2 * cos.cols <= dim, "cos has ", cos.cols, " columns, expected 1 to half of a head's ", dim,
          " channels");
  require_ints("positions", positions, qkv.rows);
  require_shape("cos", cos, cos.rows, cos.cols);
  require_shape("sin", sin, cos.rows, cos.cols);
}

// norm.h

void LayerNorm::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
  require_shape("mean", mean, x.rows);
  require_shape("rstd", rstd, x.rows);
  require_shape("weight", weight, 1, x.cols, dtype);
  require_shape("bias", bias, 1, x.cols, dtype);
  require_positive("eps", eps);
}

void LayerNormBackward::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("dx", dx, x.rows, x.cols, dtype);
  require_optional("dweight", dweight, 1, x.cols);
  if (given(dweight) || given(dbias)) require_shape("dbias", dbias, given(dweight) ? 1 : 0, x.cols);
  require_shape("dout", dout, x.rows, x.cols, dtype);
  require_shape("mean", mean, x.rows);
  require_shape("rstd", rstd, x.rows);
  require_shape("weight", weight, 1, x.cols, dtype);
}

void RmsNorm::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
  require_shape("rstd", rstd, x.rows);
  require_shape("weight", weight, 1, x.cols, dtype);
  require_positive("eps", eps);
  require_finite("offset", offset);
}

void RmsNormBackward::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("dx", dx, x.rows, x.cols, dtype);
  require_optional("dweight", dweight, 1, x.cols);
  require_shape("dout", dout, x.rows, x.cols, dtype);
  require_shape("rstd", rstd, x.rows);
  require_shape("weight", weight, 1, x.cols, dtype);
}

namespace {

void require_qk_norm(const Tensor& qkv, const Tensor& rstd, const Tensor& q_weight, const Tensor& k_weight,
                     int64_t num_heads, int64_t num_kv_heads, float offset) {
  require_heads(num_heads, num_kv_heads);
  const DType dtype = require_matrix("qkv", qkv);
  const int64_t dim = head_dim("qkv", qkv, num_heads + 2 * num_kv_heads);
  const bool together = q_weight.cols == num_heads * dim && q_weight.cols != dim;
  require_shape("q_weight", q_weight, 1, together ? num_heads * dim : dim, dtype);
  // One head alone is both each head and all heads.
  require_shape("k_weight", k_weight, 1, together ? num_kv_heads * dim : dim, dtype);
  require_shape("rstd", rstd, qkv.rows, together ? 2 : num_heads + num_kv_heads);
  require_finite("offset", offset);
}

}  // namespace

void QkNorm::check() const {
  require_qk_norm(qkv, rstd, q_weight, k_weight, num_heads, num_kv_heads, offset);
  require_shape("out", out, qkv.rows, qkv.cols, qkv.dtype);
  require_apart("out", out, "qkv", qkv);
  require_positive("eps", eps);
}

void QkNormBackward::check() const {
  require_qk_norm(qkv, rstd, q_weight, k_weight, num_heads, num_kv_heads, offset);
  require_shape("dqkv", dqkv, qkv.rows, qkv.cols, qkv.dtype);
  require_apart("dqkv", dqkv, "qkv", qkv);
  require_optional("dq_weight", dq_weight, 1, q_weight.cols);
  require_optional("dk_weight", dk_weight, 1, k_weight.cols);
  require(given(dq_weight) == given(dk_weight), "of dq_weight and dk_weight one is given, expected both or none");
}

// gemm.h

void Gemm::check() const {
  require_matrix("out", out);
  const int64_t m = out.rows, n = out.cols, k = transpose_a ? a.rows : a.cols;
  const DType dtype = require_float("a", a);
  require_shape("a", a, transpose_a ? k : m, transpose_a ? m : k, dtype);
  require_shape("b", b, transpose_b ? n : k, transpose_b ? k : n, dtype);
  require(out.dtype == dtype || out.dtype == DType::f32, "out is bf16, expected f32, as a and b are");
  require_optional("bias", bias, 1, n, out.dtype);
  require_optional("residual", residual, m, n, out.dtype);
  require(!accumulate || (!given(bias) && !given(residual)), "accumulate excludes bias and residual");
  require_apart("out", out, "a", a);
  require_apart("out", out, "b", b);
}

void BiasBackward::check() const {
  require_matrix("dout", dout);
  require_shape("dbias", dbias, 1, dout.cols);
}

// int8.h

void Int8Gemm::check() const {
  const DType dtype = require_matrix("out", out);
  const int64_t m = out.rows, n = out.cols, k = a.cols;
  require_shape("a", a, m, k, dtype);
  require_shape("b", b, transpose_b ? n : k, transpose_b ? k : n, DType::i8);
  require_shape("scale", scale, 1, b.cols);
  require_optional("bias", bias, 1, n, dtype);
  require_optional("residual", residual, m, n, dtype);
  require_apart("out", out, "a", a);
}

// activation.h

void Gelu::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
}

void GeluBackward::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("dx", dx, x.rows, x.cols, dtype);
  require_shape("dout", dout, x.rows, x.cols, dtype);
}

void Relu::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
}

void ReluBackward::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("dx", dx, x.rows, x.cols, dtype);
  require_shape("dout", dout, x.rows, x.cols, dtype);
}

namespace {

void require_gate(const Tensor& out, const Tensor& gate_up) {
  const DType dtype = require_matrix("out", out);
  require_shape("gate_up", gate_up, out.rows, 2 * out.cols, dtype);
  require_apart("out", out, "gate_up", gate_up);
}

void require_gate_backward(const Tensor& dgate_up, const Tensor& dout, const Tensor& gate_up) {
  const DType dtype = require_matrix("dout", dout);
  require_shape("dgate_up", dgate_up, dout.rows, 2 * dout.cols, dtype);
  require_shape("gate_up", gate_up, dout.rows, 2 * dout.cols, dtype);
  require_apart("dgate_up", dgate_up, "dout", dout);
}

}  // namespace

void SwiGlu::check() const {
  require_gate(out, gate_up);
}
void SwiGluBackward::check() const {
  require_gate_backward(dgate_up, dout, gate_up);
}
void GeGlu::check() const {
  require_gate(out, gate_up);
}
void GeGluBackward::check() const {
  require_gate_backward(dgate_up, dout, gate_up);
}

void Scale::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
  require_finite("factor", factor);
}

void SoftCap::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
  require_positive("cap", cap);
}

void SoftCapBackward::check() const {
  const DType dtype = require_matrix("out", out);
  require_shape("dx", dx, out.rows, out.cols, dtype);
  require_shape("dout", dout, out.rows, out.cols, dtype);
  require_positive("cap", cap);
}

void Add::check() const {
  const DType dtype = require_matrix("out", out);
  require_shape("a", a, out.rows, out.cols, dtype);
  require_shape("b", b, out.rows, out.cols, dtype);
}

void Dropout::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, x.cols, dtype);
  require(rate >= 0 && rate < 1, "rate must be in [0, 1), got ", rate);
  require(first_row >= 0, "first_row must be at least 0, got ", first_row);
}

// attention.h

void Attention::check() const {
  require_heads(num_heads, num_kv_heads);
  const DType dtype = require_matrix("out", out);
  const int64_t dim = head_dim("out", out, num_heads);
  require_shape("lse", lse, out.rows, num_heads);
  require_shape("qkv", qkv, out.rows, (num_heads + 2 * num_kv_heads) * dim, dtype);
  require_segments(cu_seqlens, parent, out.rows, max_path);
  require_window(window);
  require_scores(scale, softcap);
}

void AttentionBackward::check() const {
  require_heads(num_heads, num_kv_heads);
  const DType dtype = require_matrix("out", out);
  const int64_t dim = head_dim("out", out, num_heads);
  require_shape("dout", dout, out.rows, out.cols, dtype);
  require_shape("lse", lse, out.rows, num_heads);
  require_shape("qkv", qkv, out.rows, (num_heads + 2 * num_kv_heads) * dim, dtype);
  require_shape("dqkv", dqkv, out.rows, qkv.cols, dtype);
  require_apart("dqkv", dqkv, "qkv", qkv);
  require_segments(cu_seqlens, parent, out.rows, max_path);
  require_window(window);
  require_scores(scale, softcap);
}

void CacheWrite::check() const {
  require_heads(num_heads, num_kv_heads);
  const DType dtype = require_matrix("qkv", qkv);
  require_dtype("keys", keys, dtype);
  require_cache(keys, values, num_kv_heads, head_dim("qkv", qkv, num_heads + 2 * num_kv_heads));
  require_ints("slots", slots, qkv.rows);
  require_ints("positions", positions, qkv.rows);
}

void CacheCopy::check() const {
  require(num_kv_heads > 0, "num_kv_heads must be positive, got ", num_kv_heads);
  require(head_dim > 0, "head_dim must be positive, got ", head_dim);
  require_cache(keys, values, num_kv_heads, head_dim);
  require_ints("from", from, from.rows);
  require_ints("to", to, from.rows);
  require_ints("lengths", lengths, from.rows);
}

void AttentionDecode::check() const {
  require_heads(num_heads, num_kv_heads);
  const DType dtype = require_matrix("out", out);
  const int64_t dim = head_dim("out", out, num_heads);
  require_shape("qkv", qkv, out.rows, (num_heads + 2 * num_kv_heads) * dim, dtype);
  require_dtype("keys", keys, dtype);
  require_cache(keys, values, num_kv_heads, dim);
  require_ints("slots", slots, out.rows);
  require_ints("positions", positions, out.rows);
  require_window(window);
  require_scores(scale, softcap);
}

// rows.h

void GatherRows::check() const {
  const DType dtype = require_matrix("x", x);
  require_ints("rows", rows, rows.rows);
  require_shape("out", out, rows.rows, x.cols, dtype);
  require_apart("out", out, "x", x);
}

void ScatterRowsAdd::check() const {
  const DType dtype = require_matrix("dx", dx);
  require_ints("rows", rows, rows.rows);
  require_shape("dout", dout, rows.rows, dx.cols, dtype);
  require_apart("dx", dx, "dout", dout);
}

void Convert::check() const {
  require_float("out", out);
  require_shape("x", x, out.rows, out.cols, require_float("x", x));
  require(out.dtype == x.dtype || out.data == nullptr || out.data != x.data, "out must not be x");
}

// lowrank.h

void AddColumns::check() const {
  const DType dtype = require_matrix("out", out);
  require_shape("x", x, out.rows, x.cols, dtype);
  require_part("x", x, first, "out", out);
  require_apart("out", out, "x", x);
  require_finite("scale", scale);
}

void TakeColumns::check() const {
  const DType dtype = require_matrix("x", x);
  require_shape("out", out, x.rows, out.cols, dtype);
  require_part("out", out, first, "x", x);
  require_apart("out", out, "x", x);
  require_finite("scale", scale);
}

// logits.h

void CrossEntropyLoss::check() const {
  require_vocab(vocab, logits);
  require_shape("row_loss", row_loss, logits.rows);
  require_ints("targets", targets, logits.rows);
  require_finite("scale", scale);
}

void TokenLogprobs::check() const {
  require_vocab(vocab, logits);
  require_shape("logprobs", logprobs, logits.rows);
  require_optional("entropy", entropy, logits.rows);
  require_ints("targets", targets, logits.rows);
  require_temperature(temperature);
}

// preference.h

void PairwiseLoss::check() const {
  require_shape("scores", scores, scores.rows);
  require_shape("dscores", dscores, scores.rows);
  require_ints("ranks", ranks, scores.rows);
  require_ints("cu_groups", cu_groups, group_stats.rows + 1);
  require_shape("group_stats", group_stats, group_stats.rows, kNumPairwiseStats);
  require_finite("scale", scale);
}

// ppo.h

void PpoPolicyLoss::check() const {
  require_vocab(vocab, logits);
  require_shape("row_stats", row_stats, logits.rows, kNumPolicyStats);
  require_ints("targets", targets, logits.rows);
  require_shape("old_logprobs", old_logprobs, logits.rows);
  require_shape("advantages", advantages, logits.rows);
  require(clip_range > 0, "clip_range must be positive, got ", clip_range);
  require(dual_clip == 0 || dual_clip > 1, "dual_clip must be above 1, or 0 for none, got ", dual_clip);
  require_finite("entropy_coef", entropy_coef);
  require_temperature(temperature);
  require_finite("scale", scale);
}

void PpoValueLoss::check() const {
  require_shape("values", values, values.rows);
  require_shape("dvalues", dvalues, values.rows);
  require_shape("row_stats", row_stats, values.rows, kNumValueStats);
  require_shape("old_values", old_values, values.rows);
  require_shape("returns", returns, values.rows);
  require(clip_range > 0, "clip_range must be positive, got ", clip_range);
  require_finite("scale", scale);
}

// optimizer.h

void SquaredNorm::check() const {
  require_dtype("x", x, DType::f32);
  require_shape("sum", sum, 1, 1, DType::f64);
}

void AdamW::check() const {
  require_matrix("weight", weight, DType::f32);
  require_shape("m", m, weight.rows, weight.cols);
  require_shape("v", v, weight.rows, weight.cols);
  require_shape("grad", grad, weight.rows, weight.cols);
  require_optional("param", param, weight.rows, weight.cols, DType::bf16);
  require_at_least_zero("learning_rate", learning_rate);
  require(beta1 >= 0 && beta1 < 1, "beta1 must be in [0, 1), got ", beta1);
  require(beta2 >= 0 && beta2 < 1, "beta2 must be in [0, 1), got ", beta2);
  require_positive("eps", eps);
  require_at_least_zero("weight_decay", weight_decay);
  require(correction1 > 0 && correction1 <= 1, "correction1 must be in (0, 1], got ", correction1);
  require(correction2 > 0 && correction2 <= 1, "correction2 must be in (0, 1], got ", correction2);
  require_at_least_zero("grad_scale", grad_scale);
}

void Lerp::check() const {
  const DType dtype = require_matrix("out", out);
  require_shape("x", x, out.rows, out.cols, dtype);
  require_optional("param", param, out.rows, out.cols, DType::bf16);
  require(param.rows == 0 || dtype == DType::f32, "out is bf16, expected f32 beside a param");
  require(weight >= 0 && weight <= 1, "weight must be in [0, 1], got ", weight);
}

// sample.h

void Sample::check() const {
  require_vocab(vocab, logits);
  require_ints("tokens", tokens, logits.rows);
  require_shape("logprobs", logprobs, logits.rows);
  require_ints("seeds", seeds, logits.rows, 2);
  require_ints("counters", counters, logits.rows, 2);
  require_shape("temperatures", temperatures, logits.rows);
  require_ints("top_k", top_k, logits.rows);
  require_shape("top_p", top_p, logits.rows);
}

}  // namespace heed::op
