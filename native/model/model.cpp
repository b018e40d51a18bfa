#include "native/model/model.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>

#include "native/core/rng.h"
#include "native/model/int8.h"
#include "native/model/transformer.h"

namespace heed {
namespace {

constexpr double kTwoPi = 6.283185307179586;
constexpr int64_t kBiasFloats = 16;         // of the score offset, with padding
constexpr int64_t kCancelStride = 1 << 16;  // values computed between two checks of the cancel flag: a few milliseconds

// Element i of parameter `index`, standard normal (Box-Muller).
double normal(uint64_t seed, uint64_t index, uint64_t i) {
  const rng::Bits bits = rng::philox(seed, i, index);
  const double u = (double(bits.x[0]) + 0.5) * 0x1p-32, v = double(bits.x[1]) * 0x1p-32;
  return std::sqrt(-2 * std::log(u)) * std::cos(kTwoPi * v);
}

// Element i of parameter `index`, uniform in ± 1 / √fan_in.
float uniform(uint64_t seed, uint64_t index, uint64_t i, int64_t fan_in) {
  return float((2 * double(rng::uniform(rng::philox(seed, i, index).x[0])) - 1) / std::sqrt(double(fan_in)));
}

// Calls f(tensor, part of it, listed part) for each listed part; throws if a listed name does not exist.
template <class F>
void for_named(const ParamList& list, Params& params, const std::vector<FileTensor>& tensors, F f) {
  std::map<std::string, const FileTensor*> wanted;
  for (const FileTensor& t : tensors) wanted[t.name] = &t;
  list.visit(params, [&](Tensor& t, const ParamSpec& spec) {
    for (const NamedPart& part : spec.parts) {
      const auto it = wanted.find(part.name);
      if (it == wanted.end()) continue;
      f(t, part, *it->second);
      wanted.erase(it);
    }
  });
  require(wanted.empty(), "the model has no parameter ", wanted.empty() ? "" : wanted.begin()->first);
}

uint64_t new_id() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

Model::Model(std::shared_ptr<Engine> engine, const ModelConfig& config)
    : id_(new_id()),
      engine_(std::move(engine)),
      own_((config.check(), config)),
      store_(*engine_, own_, Engine::Purpose::kParameters, engine_->dtype()),
      params_(store_.params) {
  const ModelConfig& c = own_.config();
  const auto floats_of = [&](const std::vector<double>& frequencies) {
    return 2 * c.max_positions * int64_t(frequencies.size());
  };
  const int64_t rope = floats_of(c.rope_frequencies), window_rope = floats_of(c.window_rope_frequencies);
  constants_ = engine_->allocate((kBiasFloats + rope + window_rope) * 4, Engine::Purpose::kParameters);
  float* base = static_cast<float*>(constants_.data());
  score_bias_ = {base, DType::f32, 1, 1};
  rope_ = make_rotations(base + kBiasFloats, c.rope_frequencies, c.rope_factor);
  window_rope_ = make_rotations(base + kBiasFloats + rope, c.window_rope_frequencies, c.window_rope_factor);
}

Rotations Model::make_rotations(float* memory, const std::vector<double>& frequencies, double factor) const {
  const int64_t half = int64_t(frequencies.size()), T = half == 0 ? 0 : config().max_positions;
  const Rotations table{{memory, DType::f32, T, half}, {memory + T * half, DType::f32, T, half}};
  if (half == 0 || engine_->backend().measuring()) return table;
  std::vector<float> cos(size_t(T * half)), sin(size_t(T * half));
  for (int64_t t = 0; t < T; ++t) {
    engine_->backend().check_cancelled();
    for (int64_t j = 0; j < half; ++j) {
      const double angle = double(t) * frequencies[size_t(j)];
      cos[size_t(t * half + j)] = float(factor * std::cos(angle));
      sin[size_t(t * half + j)] = float(factor * std::sin(angle));
    }
  }
  engine_->backend().upload(table.cos, cos.data());
  engine_->backend().upload(table.sin, sin.data());
  return table;
}

const Rotations* Model::rotations(int64_t layer) const {
  const std::vector<double>& frequencies = config().rope(layer);
  if (frequencies.empty()) return nullptr;
  return &frequencies == &config().window_rope_frequencies ? &window_rope_ : &rope_;
}

namespace {

ModelConfig with_head(ModelConfig config, Head head) {
  require(head == Head::kScalar || config.head == Head::kLanguage,
          "an adapter to a model with a scalar head has a scalar head, not a language head");
  config.head = head;
  return config;
}

}  // namespace

Model::Model(std::shared_ptr<const Model> base, Head head, std::vector<AdapterTarget> targets)
    : id_(new_id()),
      engine_(base->engine_),
      base_(std::move(base)),
      own_(with_head(base_->config(), head), std::move(targets)),
      store_(*engine_, own_, Engine::Purpose::kParameters, engine_->dtype()),
      params_(base_->params_),
      constants_(engine_->allocate(kBiasFloats * 4, Engine::Purpose::kParameters)),
      rope_(base_->rope_),
      window_rope_(base_->window_rope_),
      score_bias_{constants_.data(), DType::f32, 1, 1} {
  require(base_->base_ == nullptr, "the model is an adapter itself, expected a base: merge it first");
  std::vector<Tensor> tensors;
  own_.visit(store_.params, [&](Tensor& t, const ParamSpec&) { tensors.push_back(t); });
  size_t next = 0;
  own_.visit(params_, [&](Tensor& t, const ParamSpec&) { t = tensors[next++]; });
}

std::vector<ParameterInfo> Model::parameters() const {
  std::vector<ParameterInfo> list;
  Params params = store_.params;
  own_.visit(params, [&](Tensor&, const ParamSpec& spec) {
    for (const NamedPart& part : spec.parts) list.push_back({part.name, part.shape});
  });
  return list;
}

void Model::initialize(uint64_t seed) {
  count_change();
  if (engine_->backend().measuring()) return;
  require(!is_int8(), "weights of 8 bits are read from files, not initialized");
  uint64_t index = 0;
  visit_own([&](Tensor& t, const ParamSpec& spec) {
    int64_t count = 0;
    for (const NamedPart& part : spec.parts) count += part.size();  // padding rows stay zero
    const double sigma = spec.init == Init::kScalarHead ? 1 / std::sqrt(double(config().channels) + 1)
                         : spec.init == Init::kResidual ? 0.02 / std::sqrt(2.0 * double(config().num_layers))
                                                        : 0.02;
    const int64_t step =
        std::max<int64_t>(1, kCancelStride / t.cols);  // in rows, since a copy of all of t could be large
    std::vector<float> values;
    for (int64_t row = 0; row < t.rows; row += step) {
      engine_->backend().check_cancelled();
      const Tensor rows = t.slice(row, std::min(step, t.rows - row));
      values.assign(size_t(rows.size()), 0.0f);
      const int64_t first = row * t.cols, end = std::min(count, first + rows.size());
      for (int64_t i = first; i < end; ++i)
        values[size_t(i - first)] = spec.init == Init::kZeros     ? 0.0f
                                    : spec.init == Init::kOnes    ? 1.0f
                                    : spec.init == Init::kAdapter ? uniform(seed, index, uint64_t(i), t.cols)
                                                                  : float(sigma * normal(seed, index, uint64_t(i)));
      engine_->backend().upload_floats(rows, values.data());
    }
    ++index;
  });
  set_score_offset(0);
}

void Model::read(const std::string& path, const std::vector<FileTensor>& tensors) {
  count_change();
  TensorReader file(path);
  Backend& b = engine_->backend();
  for_named(own_, params_, tensors, [&](const Tensor& t, const NamedPart& part, const FileTensor& place) {
    if (t.dtype == DType::i8)
      quantize(b, layer_of(params_, t), part, file.floats(b, place, part.size()));
    else
      file.read(b, part.of(t), place);
  });
}

void Model::write(const std::string& path, const std::vector<uint8_t>& prefix, const std::vector<FileTensor>& tensors) {
  require(!is_int8(), "weights of 8 bits are not saved: save an adapter to them, or load the model without int8");
  TensorWriter file(path, prefix);
  for_named(own_, params_, tensors, [&](const Tensor& t, const NamedPart& part, const FileTensor& place) {
    file.write(engine_->backend(), part.of(t), place);
  });
  file.finish();
}

void Model::copy_from(const Model& other) {
  require(engine_ == other.engine_, "the other model belongs to another engine");
  const bool whole = base_ == nullptr && other.base_ == nullptr;  // an adapter takes its base's head
  require(!whole || is_int8() == other.is_int8(),
          "the weights of one of the models are of 8 bits, expected two of a kind: load it without int8");
  count_change();
  std::map<std::string, Tensor> sources;
  std::string last;
  const auto name_of = [&](const ParamSpec& spec) {  // scales have none in files, and follow their weight
    return last = spec.parts.empty() ? last + " scale" : spec.parts[0].name;
  };
  Params theirs = other.store_.params;
  other.own_.visit(theirs, [&](Tensor& t, const ParamSpec& spec) { sources[name_of(spec)] = t; });
  visit_own([&](Tensor& t, const ParamSpec& spec) {
    const auto it = sources.find(name_of(spec));
    if (it != sources.end() && it->second.rows == t.rows && it->second.cols == t.cols)
      engine_->backend().copy(t, it->second);
  });
  if (config().head == Head::kScalar && other.config().head == Head::kScalar)
    engine_->backend().copy(score_bias_, other.score_bias_);
}

void Model::merge(const Model& adapter) {
  require(base_ == nullptr, "an adapter cannot be merged into an adapter");
  require(adapter.base_ != nullptr, "the other model is not an adapter");
  require(!adapter.config().int8, "the base's weights are of 8 bits: load it without int8 to merge the adapter");
  copy_from(*adapter.base_);
  copy_from(adapter);  // the scalar head
  const auto add = [&](const LinearParams& to, const LinearParams& from) {
    const bool out_in = to.layout == Layout::kOutIn;
    for (const LowRank& l : from.adapters) {
      engine_->run([&](Backend& b, Arena& arena) {
        const int64_t in = l.a.cols, out = l.b.rows;
        const Tensor term = arena.take(to.weight.dtype, out_in ? out : in, out_in ? in : out);
        b.run(op::Gemm{.out = term,
                       .a = out_in ? l.b : l.a,
                       .b = out_in ? l.a : l.b,
                       .transpose_a = !out_in,
                       .transpose_b = !out_in});
        b.run(op::AddColumns{.out = out_in ? to.weight.slice(l.first, out) : to.weight,
                             .x = term,
                             .first = out_in ? 0 : l.first,
                             .scale = l.scale});
      });
    }
  };
  for (size_t i = 0; i < params_.blocks.size(); ++i) {
    const BlockParams &to = params_.blocks[i], &from = adapter.params_.blocks[i];
    add(to.attention.qkv, from.attention.qkv);
    add(to.attention.out, from.attention.out);
    add(to.mlp.up, from.mlp.up);
    add(to.mlp.down, from.mlp.down);
  }
}

void Model::require_mixable(const Model& other) const {
  require(engine_ == other.engine_, "the other model belongs to another engine");
  require(base_ == other.base_, "the other model is not an adapter to the same base");
  const std::vector<ParameterInfo> mine = parameters(), theirs = other.parameters();
  const auto equal = [](const ParameterInfo& a, const ParameterInfo& b) {
    return a.name == b.name && a.shape == b.shape;
  };
  require(std::equal(mine.begin(), mine.end(), theirs.begin(), theirs.end(), equal),
          "the other model has other parameters, expected the same configuration");
}

void Model::lerp(const Model& other, float weight) {
  require_mixable(other);
  require(!is_int8(), "weights of 8 bits cannot be interpolated: load the model without int8");
  count_change();
  engine_->backend().run(op::Lerp{.out = store_.all(), .x = other.store_.all(), .weight = weight});
}

std::vector<float> Model::parameter(const std::string& name) {
  std::vector<float> values;
  Backend& b = engine_->backend();
  for_named(own_, params_, {{name, FileDType::kF32, 0}},
            [&](const Tensor& t, const NamedPart& part, const FileTensor&) {
              values = t.dtype == DType::i8 ? widened(b, layer_of(params_, t), part) : download_pieces(b, part.of(t));
            });
  return values;
}

namespace {

// Calls f(pass, logits of a chunk of rows, index of its first row in the batch, and in the pass) for all rows of a
// batch; begin(pass, number of rows) and end(backend, the pass) are called before and after the chunks of a pass.
template <class Begin, class F, class End>
void for_logits(const Model& model, const HostBatch& host, bool needs_targets, Begin begin, F f, End end) {
  Engine& engine = *model.engine();
  const int64_t chunk = engine.backend().logits_rows(model.config().padded_vocab());
  for (const HostBatch::Pass& part : host.split(model.config(), engine.max_tokens(), needs_targets)) {
    engine.run([&](Backend& b, Arena& arena) {
      const Batch batch = upload(b, arena, host, part);
      const PassContext pass{b, arena, model, batch};
      const TrunkActs acts = trunk_forward(pass, false);
      begin(pass, part.num_rows());
      for (int64_t r = 0; r < part.num_rows(); r += chunk) {
        const Arena::Scope scope(arena);
        const Tensor rows = batch.rows.slice(r, std::min(chunk, part.num_rows() - r));
        f(pass, language_head_forward(pass, acts.out(), rows).out, part.row_begin + r, r);
      }
      end(b, part);
    });
  }
}

void require_head(const ModelConfig& config, Head head, const char* what) {
  require(config.head == head, what,
          head == Head::kLanguage ? " needs a language model, but this model has a scalar head"
                                  : " needs a model with a scalar head, but this is a language model");
}

}  // namespace

std::vector<float> Model::logits(const HostBatch& host) {
  require_head(config(), Head::kLanguage, "logits");
  const int64_t V = config().vocab, Vp = config().padded_vocab();
  std::vector<float> out(host.rows.size() * size_t(V));
  const auto copy = [&](const PassContext& pass, const Tensor& logits, int64_t first, int64_t) {
    if (pass.backend.measuring()) return;
    std::vector<float> chunk(size_t(logits.size()));
    pass.backend.download_floats(chunk.data(), logits);
    for (int64_t r = 0; r < logits.rows; ++r) std::copy_n(chunk.begin() + r * Vp, V, out.begin() + (first + r) * V);
  };
  for_logits(
      *this, host, false, [](const PassContext&, int64_t) {}, copy, [](Backend&, const HostBatch::Pass&) {});
  return out;
}

TokenLogprobs Model::logprobs(const HostBatch& host, float temperature) {
  require_head(config(), Head::kLanguage, "logprobs");
  TokenLogprobs out{std::vector<float>(host.rows.size()), std::vector<float>(host.rows.size())};
  Tensor logprobs, entropy;  // of a pass
  const auto take = [&](const PassContext& pass, int64_t rows) {
    logprobs = pass.statistic(rows);
    entropy = pass.statistic(rows);
  };
  const auto compute = [&](const PassContext& pass, const Tensor& logits, int64_t, int64_t r) {
    pass.backend.run(op::TokenLogprobs{.logprobs = logprobs.slice(r, logits.rows),
                                       .entropy = entropy.slice(r, logits.rows),
                                       .logits = logits,
                                       .targets = pass.batch.targets.slice(r, logits.rows),
                                       .vocab = config().vocab,
                                       .temperature = temperature});
  };
  for_logits(*this, host, true, take, compute, [&](Backend& b, const HostBatch::Pass& part) {
    b.download(out.logprobs.data() + part.row_begin, logprobs);
    b.download(out.entropy.data() + part.row_begin, entropy);
  });
  return out;
}

std::vector<float> Model::scores(const HostBatch& host) {
  require_head(config(), Head::kScalar, "scores");
  std::vector<float> out(host.rows.size());
  for (const HostBatch::Pass& part : host.split(config(), engine_->max_tokens(), false)) {
    engine_->run([&](Backend& b, Arena& arena) {
      const Batch batch = upload(b, arena, host, part);
      const PassContext pass{b, arena, *this, batch};
      const TrunkActs acts = trunk_forward(pass, false);
      b.download(out.data() + part.row_begin, scalar_head_forward(pass, acts.out(), batch.rows).out);
    });
  }
  return out;
}

void Model::shift_scores(float delta) {
  require_head(config(), Head::kScalar, "shiftScores");
  if (base_ != nullptr || config().norm != Norm::kLayer) {
    set_score_offset(score_offset() + delta);
    return;
  }
  // w·(x + bias + delta w / |w|²) = w·(x + bias) + delta
  Backend& b = engine_->backend();
  std::vector<float> w(size_t(config().channels)), bias(w.size());
  b.download_floats(w.data(), params_.head);
  b.download_floats(bias.data(), params_.norm.bias);
  double norm = 0;
  for (const float x : w) norm += double(x) * x;
  require(norm > 0, "the scalar head's weights are all zero, so its score cannot be shifted");
  for (size_t i = 0; i < w.size(); ++i) bias[i] = float(double(bias[i]) + double(delta) * w[i] / norm);
  b.upload_floats(params_.norm.bias, bias.data());
}

void Model::scale_scores(float factor) {
  require_head(config(), Head::kScalar, "scaleScores");
  Backend& b = engine_->backend();
  std::vector<float> w(size_t(config().channels));
  b.download_floats(w.data(), params_.head);
  for (float& x : w) x *= factor;
  b.upload_floats(params_.head, w.data());
  set_score_offset(factor * score_offset());
}

float Model::score_offset() {
  float offset = 0;
  engine_->backend().download(&offset, score_bias_);
  return offset;
}

void Model::set_score_offset(float offset) {
  engine_->backend().upload(score_bias_, &offset);
}

}  // namespace heed
