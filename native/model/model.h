// A model: its parameters, and everything that needs only a forward pass.
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

class Model {
 public:
  // Parameters start at zero; call initialize or read.
  Model(std::shared_ptr<Engine> engine, const ModelConfig& config);

  const std::shared_ptr<Engine>& engine() const { return engine_; }
  const ModelConfig& config() const { return config_; }
  Params& params() { return store_.params; }
  Tensor values() const { return store_.all(); }  // of all parameters, contiguous
  const Params& params() const { return store_.params; }
  const Tensor& rope_cos() const { return rope_cos_; }
  const Tensor& rope_sin() const { return rope_sin_; }
  const Tensor& score_bias() const { return score_bias_; }

  std::vector<ParameterInfo> parameters() const;
  void initialize(uint64_t seed);
  void read(const std::string& path, const std::vector<FileTensor>& tensors);
  void write(const std::string& path, const std::vector<uint8_t>& prefix, const std::vector<FileTensor>& tensors);
  void copy_from(const Model& other);           // every parameter with the same name and shape in both
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
  std::shared_ptr<Engine> engine_;
  ModelConfig config_;
  ParamStore store_;
  Buffer constants_;  // rotary tables and the score offset
  Tensor rope_cos_, rope_sin_, score_bias_;
};

}  // namespace heed
