// Frozen weights of 8 bits: a model of them is, bit for bit, an ordinary one with the weights that they stand for.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "native/core/error.h"
#include "test/native/model/toy.h"

namespace {

using namespace toy;

// The parameters of a model, in a file.
class File {
 public:
  explicit File(Model& model) {
    int64_t offset = 0;
    for (const ParameterInfo& p : model.parameters()) {
      tensors_.push_back({p.name, FileDType::kF32, offset});
      int64_t size = 4;
      for (const int64_t n : p.shape) size *= n;
      offset += size;
    }
    model.write(path_, {}, tensors_);
  }
  ~File() { std::remove(path_.c_str()); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void read(Model& model) const { model.read(path_, tensors_); }

 private:
  std::string path_ =
      (std::filesystem::temp_directory_path() / ("heed-int8-" + std::to_string(reinterpret_cast<uintptr_t>(this))))
          .string();
  std::vector<FileTensor> tensors_;
};

ModelConfig in_8_bits(ModelConfig c) {
  c.int8 = true;
  return c;
}

std::shared_ptr<Model> of_8_bits(const std::shared_ptr<Model>& whole) {
  auto m = std::make_shared<Model>(whole->engine(), in_8_bits(whole->config()));
  File(*whole).read(*m);
  return m;
}

// An ordinary model with the same values.
std::shared_ptr<Model> widened(const Model& from) {
  ModelConfig c = from.config();
  c.int8 = false;
  auto m = std::make_shared<Model>(from.engine(), c);
  m->visit_own([&](Tensor& t, const ParamSpec& spec) {
    for (const NamedPart& part : spec.parts) {
      const std::vector<float> values = const_cast<Model&>(from).parameter(part.name);
      size_t at = 0;
      for (const Tensor& piece : part.of(t)) {
        from.engine()->backend().upload_floats(piece, values.data() + at);
        at += size_t(piece.size());
      }
    }
  });
  return m;
}

std::vector<AdapterTarget> targets(const ModelConfig& c) {
  std::vector<AdapterTarget> list;
  for (int64_t l = 0; l < c.num_layers; ++l)
    for (const std::string& name : {c.names.qkv[0], c.names.attention_out, c.names.up.back(), c.names.down})
      list.push_back({std::string(name).replace(name.find("{}"), 2, std::to_string(l)), 2, 0.5f});
  return list;
}

std::shared_ptr<Model> adapter(const std::shared_ptr<Model>& base) {
  auto m = std::make_shared<Model>(base, Head::kLanguage, targets(base->config()));
  m->initialize(5);
  std::mt19937_64 rng(5);
  std::normal_distribution<float> normal(0, 0.3f);
  m->visit_own([&](Tensor& t, const ParamSpec&) {
    std::vector<float> x(size_t(t.size()));
    for (float& v : x) v = normal(rng);
    m->engine()->backend().upload_floats(t, x.data());
  });
  return m;
}

class Int8 : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Int8, testing::Range(0, kKinds));

bool is_of_layer(const std::string& name) {
  for (const char* part : {"qkv", ".q.", ".k.", ".v.", "attention_out", "gate", "up", "down"})
    if (name.find(part) != std::string::npos && name.ends_with(".weight")) return true;
  return false;
}

TEST_P(Int8, RoundsEachOutputsWeightsToItsScale) {
  auto whole = model(engine(), config(GetParam()));
  auto m = of_8_bits(whole);
  const bool in_out = whole->config().layout == Layout::kInOut;
  int layers = 0;
  for (const ParameterInfo& p : whole->parameters()) {
    const std::vector<float> before = whole->parameter(p.name), after = m->parameter(p.name);
    if (!is_of_layer(p.name)) {
      EXPECT_EQ(after, before) << p.name;
      continue;
    }
    ++layers;
    const size_t rows = size_t(p.shape[0]), cols = size_t(p.shape[1]), outputs = in_out ? cols : rows,
                 in = before.size() / outputs;
    for (size_t o = 0; o < outputs; ++o) {
      float most = 0, worst = 0, most_after = 0;
      for (size_t i = 0; i < in; ++i) {
        const size_t at = in_out ? i * cols + o : o * cols + i;
        most = std::max(most, std::fabs(before[at]));
        most_after = std::max(most_after, std::fabs(after[at]));
        worst = std::max(worst, std::fabs(before[at] - after[at]));
      }
      EXPECT_LE(worst, 0.5001f * most / 127) << p.name;
      EXPECT_FLOAT_EQ(most_after, most) << p.name;
    }
  }
  EXPECT_GE(layers, int(4 * whole->config().num_layers));
}

TEST_P(Int8, ComputesWhatTheWidenedWeightsCompute) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    auto m = of_8_bits(model(engine(2, 4096, dtype), config(GetParam())));
    auto same = widened(*m);
    const HostBatch batch = pack(trees(3, 2, 37, 1), true, false);
    const std::vector<float> logits = m->logits(batch);
    EXPECT_EQ(logits, same->logits(batch));
    EXPECT_EQ(adapter(m)->logits(batch), adapter(same)->logits(batch));
    EXPECT_NE(adapter(m)->logits(batch), logits);
  }
}

TEST_P(Int8, AdaptersToItHaveTheGradientsOfAdaptersToTheWidenedWeights) {
  auto m = of_8_bits(model(engine(2), config(GetParam())));
  auto same = widened(*m);
  const HostBatch batch = pack(trees(6, 2, 37, 2), true, false);
  auto mine = adapter(m), theirs = adapter(same);
  Trainer trainer(mine, {}), other(theirs, {});
  EXPECT_EQ(trainer.sft(batch, 0.1f, 0).loss, other.sft(batch, 0.1f, 0).loss);
  for (const ParameterInfo& p : mine->parameters())
    EXPECT_EQ(trainer.gradient(p.name), other.gradient(p.name)) << p.name;
}

TEST(Int8Model, TakesAQuarterOfTheWeightsAndNoPackedCopies) {
  auto e = engine();
  auto whole = model(e, config(1));
  const int64_t before = e->usage().parameter_bytes;
  auto m = of_8_bits(whole);
  int64_t of_layers = 0, others = 0;
  for (const ParameterInfo& p : whole->parameters()) {
    int64_t size = 1;
    for (const int64_t n : p.shape) size *= n;
    (is_of_layer(p.name) ? of_layers : others) += size;
  }
  EXPECT_LT(e->usage().parameter_bytes - before, of_layers + 5 * others + 20'000);
  auto same = widened(*m);
  const HostBatch batch = pack(trees(3, 2, 37, 1), true, false);
  const int64_t packed = e->usage().packed_bytes;
  m->logits(batch);
  const int64_t after = e->usage().packed_bytes;
  same->logits(batch);
  EXPECT_LT(4 * (after - packed), e->usage().packed_bytes - after);  // the head alone
}

TEST(Int8Model, AnotherCopyIsTheSame) {
  auto m = of_8_bits(model(engine(), config(3)));
  Model copy(m->engine(), m->config());
  copy.copy_from(*m);
  const HostBatch batch = pack(trees(3, 2, 37, 1), true, false);
  EXPECT_EQ(copy.logits(batch), m->logits(batch));
}

// Calls f and returns its error's message.
template <class F>
std::string refused(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}

TEST(Int8Model, IsNeitherTrainedNorSavedNorMerged) {
  auto whole = model(engine(), config(1));
  auto m = of_8_bits(whole);
  EXPECT_EQ(refused([&] { Trainer(m, {}); }), "the model's weights are of 8 bits and frozen: train an adapter to it");
  EXPECT_EQ(refused([&] { File{*m}; }),
            "weights of 8 bits are not saved: save an adapter to them, or load the model without int8");
  EXPECT_EQ(refused([&] { m->initialize(1); }), "weights of 8 bits are read from files, not initialized");
  EXPECT_EQ(refused([&] { whole->copy_from(*m); }),
            "the weights of one of the models are of 8 bits, expected two of a kind: load it without int8");
  EXPECT_EQ(refused([&] { Model(m->engine(), whole->config()).merge(*adapter(m)); }),
            "the base's weights are of 8 bits: load it without int8 to merge the adapter");
  EXPECT_EQ(refused([&] { m->lerp(*m, 0.5f); }),
            "weights of 8 bits cannot be interpolated: load the model without int8");
}

TEST(Int8Model, RefusesWeightsThatAreNotFinite) {
  auto whole = model(engine(), config(1));
  whole->visit_own([&](Tensor& t, const ParamSpec& spec) {
    if (spec.parts[0].name != "1.down.weight") return;
    const float nan = NAN;
    whole->engine()->backend().upload_floats(Tensor{t.data, t.dtype, t.size(), 1}.slice(7, 1), &nan);
  });
  EXPECT_EQ(refused([&] { of_8_bits(whole); }),
            "tensor 1.down.weight has values that are not finite numbers, which 8 bits cannot hold");
}

TEST(Int8Model, WeightsOfZeroStayZero) {
  auto e = engine();
  auto whole = std::make_shared<Model>(e, config(0));
  e->backend().zero(whole->values());
  auto m = of_8_bits(whole);
  EXPECT_EQ(m->parameter("0.down.weight"), whole->parameter("0.down.weight"));
}

}  // namespace
