// The list of parameters: names, shapes and offsets.
#include <gtest/gtest.h>

#include "test/native/model/toy.h"

namespace {

using namespace toy;

std::string list(const ModelConfig& c) {
  std::string all;
  Params params;
  params.visit(c, [&](Tensor&, const ParamSpec& spec) {
    for (const NamedPart& part : spec.parts) {
      all += part.name + "@" + std::to_string(part.begin) + "(";
      for (const int64_t n : part.shape) all += std::to_string(n) + ",";
      all.back() = ')';
      all += " ";
    }
    all += spec.decay ? "\n" : "- no decay\n";
  });
  return all;
}

TEST(Params, PartsOfATensorFollowEachOther) {
  ModelConfig c = config(3);
  c.num_layers = 1;
  EXPECT_EQ(list(c), R"(embedding.weight@0(37,16) 
0.attention_norm.weight@0(16) - no decay
0.q.weight@0(16,16) 0.k.weight@256(8,16) 0.v.weight@384(8,16) 
0.q.bias@0(16) 0.k.bias@16(8) 0.v.bias@24(8) - no decay
0.attention_out.weight@0(16,16) 
0.attention_out.bias@0(16) - no decay
0.mlp_norm.weight@0(16) - no decay
0.gate.weight@0(40,16) 0.up.weight@640(40,16) 
0.gate.bias@0(40) 0.up.bias@40(40) - no decay
0.down.weight@0(16,40) 
0.down.bias@0(16) - no decay
norm.weight@0(16) - no decay
)");
}

TEST(Params, OneNameIsTheWholeTensor) {
  ModelConfig c = config(1, Head::kScalar);
  c.num_layers = 1;
  c.names = names(true);
  EXPECT_EQ(list(c), R"(embedding.weight@0(37,16) 
0.attention_norm.weight@0(16) - no decay
0.qkv.weight@0(32,16) 
0.attention_out.weight@0(16,16) 
0.mlp_norm.weight@0(16) - no decay
0.up.weight@0(80,16) 
0.down.weight@0(16,40) 
norm.weight@0(16) - no decay
score.weight@0(1,16) 
)");
}

TEST(Params, WeightsStoredInByOutCannotBeCutByName) {
  ModelConfig c = config(4);
  c.names = names(false);
  try {
    c.check();
    FAIL() << "it was accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "names.qkv has 3 entries, expected 1");
  }
  c = config(1);
  c.names.qkv.pop_back();
  EXPECT_THROW(c.check(), Error);
}

}  // namespace
