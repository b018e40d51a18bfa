// A model: its parameters, and everything that needs only a forward pass. A model may be an adapter to another, its
// base, whose parameters it shares and does not change.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "native/model/batch.h"
#include "native/model/params.h"
#include "native/model/tensor_file.h"

namespace heed {

struct ParameterInfo {
  std::string name;
  std::vector<int64_t> shape;
};

struct TokenLogprobs {
  std::vector<float> logprobs, entropy;  // (R) nats
};

// Rotary positions: (T, R / 2) each, for R rotary channels of a head.
struct Rotations {
  Tensor cos, sin;
};

class Model {
 public:
  // Parameters start at zero; call initialize or read.
  Model(std::shared_ptr<Engine> engine, const ModelConfig& config);
  // An adapter to `base`, which may be a language model where this has a scalar head.
  Model(std::shared_ptr<const Model> base, Head head, std::vector<AdapterTarget> targets);

  const std::shared_ptr<Engine>& engine() const { return engine_; }
  const ModelConfig& config() const { return own_.config(); }
  const Params& params() const { return params_; }  // of the forward pass: of an adapter, with the base's
  const ParamList& own() const { return own_; }     // what is trained and saved: of an adapter, without the base's
  // What it is an adapter to; itself, if it is none.
  const Model& base() const { return base_ == nullptr ? *this : *base_; }
  static std::shared_ptr<const Model> base_of(std::shared_ptr<const Model> model) {
    return model->base_ == nullptr ? model : model->base_;
  }
  uint64_t id() const { return id_; }  // of no other model of the process, before or after
  void visit_own(const std::function<void(Tensor&, const ParamSpec&)>& f) { own_.visit(params_, f); }
  // Changes with every change of the parameters, the base's included.
  int64_t version() const { return version_ + (base_ == nullptr ? 0 : base_->version()); }
  void count_change() { ++version_; }
  Tensor values() const { return store_.all(); }  // of its own parameters, contiguous
  // By which a layer turns its queries and keys; null: it does not.
  const Rotations* rotations(int64_t layer) const;
  const Tensor& score_bias() const { return score_bias_; }

  bool is_int8() const { return base_ == nullptr && config().int8; }  // its own weights are frozen, of 8 bits

  std::vector<ParameterInfo> parameters() const;  // its own
  void initialize(uint64_t seed);
  void read(const std::string& path, const std::vector<FileTensor>& tensors);
  void write(const std::string& path, const std::vector<uint8_t>& prefix, const std::vector<FileTensor>& tensors);
  void copy_from(const Model& other);  // every parameter with the same name and shape in both
  // The base's parameters with an adapter's terms added. This has no base itself.
  void merge(const Model& adapter);
  void lerp(const Model& other, float weight);  // parameters += weight · (other - parameters); the same config
  void require_mixable(const Model& other) const;
  std::vector<float> parameter(const std::string& name);

  std::vector<float> logits(const HostBatch& batch);  // (R, V)
  TokenLogprobs logprobs(const HostBatch& batch, float temperature);
  std::vector<float> scores(const HostBatch& batch);  // (R) the scalar head at each row

  // Adds delta to every score: in the final norm's bias (so that files need no new field), or in score_offset if there
  // is no bias.
  void shift_scores(float delta);
  void scale_scores(float factor);
  float score_offset();
  void set_score_offset(float offset);

 private:
  Rotations make_rotations(float* memory, const std::vector<double>& frequencies, double factor) const;

  const uint64_t id_;
  std::shared_ptr<Engine> engine_;
  std::shared_ptr<const Model> base_;  // null unless this is an adapter
  ParamList own_;
  ParamStore store_;
  Params params_;
  Buffer constants_;  // rotary tables, unless they are the base's, and the score offset
  Rotations rope_, window_rope_;
  Tensor score_bias_;
  int64_t version_ = 0;
};

}  // namespace heed
