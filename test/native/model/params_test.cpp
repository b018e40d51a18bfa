// The list of parameters: names, shapes and offsets.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "test/native/model/toy.h"

namespace {

using namespace toy;

std::string list(const ModelConfig& c) {
  std::string all;
  Params params;
  params.visit(c, [&](Tensor&, const ParamSpec& spec) {
    for (const NamedPart& part : spec.parts) {
      all += part.name + "@" + std::to_string(part.pieces[0].begin) + "(";
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

TEST(Params, NormsOfTheFamiliesThatHaveThem) {
  ModelConfig c = config(9);
  c.num_layers = 1;
  c.qk_norm = QkNormOf::kHead;
  EXPECT_EQ(list(c), R"(embedding.weight@0(37,16) 
0.q.weight@0(16,16) 0.k.weight@256(8,16) 0.v.weight@384(8,16) 
0.q_norm.weight@0(4) - no decay
0.k_norm.weight@0(4) - no decay
0.attention_out.weight@0(16,16) 
0.attention_post_norm.weight@0(16) - no decay
0.gate.weight@0(40,16) 0.up.weight@640(40,16) 
0.down.weight@0(16,40) 
0.mlp_post_norm.weight@0(16) - no decay
norm.weight@0(16) - no decay
)");
}

// Row r of the matrix in a file is row of_file[r] of the tensor: of 2 heads of 2 channels, query, key and value of
// each.
TEST(Params, AMatrixByHeadIsReadAndWrittenInItsOrder) {
  ModelConfig c = config(8);
  c.num_heads = c.num_kv_heads = c.num_layers = 2;
  c.head_dim = 2;
  const auto e = engine();
  Model m(e, c);
  m.initialize(1);
  const Tensor weight = m.params().blocks[1].attention.qkv.weight, bias = m.params().blocks[1].attention.qkv.bias;
  std::vector<float> rows, numbers;
  for (int r = 0; r < 12; ++r) {
    rows.insert(rows.end(), 16, float(r));
    numbers.push_back(float(r));
  }
  e->backend().upload(weight, rows.data());
  e->backend().upload(bias, numbers.data());
  const std::vector<float> of_file{0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11};
  EXPECT_EQ(m.parameter("1.qkv.bias"), of_file);
  const std::string path = testing::TempDir() + "heed_by_head";
  const std::vector<FileTensor> places{{"1.qkv.weight", FileDType::kF32, 0}, {"1.qkv.bias", FileDType::kF32, 12 * 64}};
  m.write(path, {}, places);
  std::vector<float> file(12 * 17);
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(file.data()), 12 * 17 * 4);
  for (size_t r = 0; r < 12; ++r) {
    EXPECT_EQ(file[16 * r], of_file[r]);
    EXPECT_EQ(file[16 * r + 15], of_file[r]);
    EXPECT_EQ(file[12 * 16 + r], of_file[r]);
  }
  m.initialize(2);
  m.read(path, places);
  std::vector<float> back(rows.size());
  e->backend().download(back.data(), weight);
  EXPECT_EQ(back, rows);
  std::remove(path.c_str());
}

TEST(Params, AnAdapterOfAMatrixByHeadHasItsOrder) {
  ModelConfig c = config(8);
  c.num_heads = c.num_kv_heads = 2;
  c.num_layers = 1;
  c.head_dim = 2;
  Params params;
  std::ostringstream pieces;
  ParamList(c, {{"0.qkv", 3, 1}}).visit(params, [&](Tensor&, const ParamSpec& spec) {
    for (const NamedPart& part : spec.parts) {
      pieces << part.name;
      for (const NamedPart::Piece& piece : part.pieces) pieces << " " << piece.begin << "+" << piece.size;
      pieces << "\n";
    }
  });
  EXPECT_EQ(pieces.str(), "0.qkv.lora_A.weight 0+48\n0.qkv.lora_B.weight 0+6 12+6 24+6 6+6 18+6 30+6\n");
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
