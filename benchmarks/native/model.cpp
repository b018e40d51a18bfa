// Whole models on a device: a step of supervised fine-tuning, decoding, reward scoring with shared prompts.
//
//   bench_model DEVICE DTYPE CASE...     cpu | cuda, f32 | bf16
//
// Cases: step-MODEL, decode-MODEL-BATCH, score-MODEL, with MODEL 10m, 124m (GPT-2), 0.5b or 1.5b (Qwen2.5's sizes).
// Prints an object per case: tokens_per_s, the multiply-adds (tflops) and for decoding the weights read (gb_per_s). A
// loss that does not begin near ln V and fall, or a log-probability above 0, ends the program with status 1.
#include "benchmarks/native/bench.h"
#include "native/model/generate.h"
#include "native/train/trainer.h"

namespace {

using namespace heed;

ModelConfig gpt2(int64_t layers, int64_t heads, int64_t vocab) {
  ModelConfig c;
  c.num_layers = layers;
  c.num_heads = c.num_kv_heads = heads;
  c.head_dim = 64;
  c.channels = 64 * heads;
  c.mlp_channels = 4 * c.channels;
  c.vocab = vocab;
  c.max_positions = 1024;
  c.qkv_bias = c.attention_out_bias = c.mlp_bias = true;
  c.layout = Layout::kInOut;
  return c;
}

ModelConfig qwen2(int64_t layers, int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t mlp) {
  ModelConfig c;
  c.num_layers = layers;
  c.num_heads = heads;
  c.num_kv_heads = kv_heads;
  c.head_dim = head_dim;
  c.channels = heads * head_dim;
  c.mlp_channels = mlp;
  c.vocab = 151936;
  c.max_positions = 4096;
  c.norm = Norm::kRms;
  c.norm_eps = 1e-6f;
  for (int64_t i = 0; i < head_dim / 2; ++i)
    c.rope_frequencies.push_back(std::pow(1e6, -2.0 * double(i) / double(head_dim)));
  c.activation = Activation::kSilu;
  c.gated_mlp = c.qkv_bias = true;
  return c;
}

ModelConfig config(const std::string& name, Head head) {
  ModelConfig c;
  if (name == "10m")
    c = gpt2(4, 4, 8192);
  else if (name == "124m")
    c = gpt2(12, 12, 50257);
  else if (name == "0.5b")
    c = qwen2(24, 14, 2, 64, 4864);
  else if (name == "1.5b")
    c = qwen2(28, 12, 2, 128, 8960);
  require(c.num_layers > 0, "model is ", name, ", expected 10m, 124m, 0.5b or 1.5b");
  c.head = head;
  c.names = {.embedding = "embedding",
             .positions = "positions",
             .attention_norm = "{}.attention_norm",
             .qkv = {"{}.qkv"},
             .attention_out = "{}.attention_out",
             .mlp_norm = "{}.mlp_norm",
             .up = c.gated_mlp ? std::vector<std::string>{"{}.gate", "{}.up"} : std::vector<std::string>{"{}.up"},
             .down = "{}.down",
             .final_norm = "norm",
             .language_head = "head",
             .scalar_head = "score"};
  if (c.gated_mlp) c.names.qkv = {"{}.q", "{}.k", "{}.v"};
  return c;
}

// Multiply-adds times two of a token's forward pass: the matrices, and attention to `context` keys.
double forward_flops(const ModelConfig& c, double context) {
  const double layer = double(c.channels) * double(c.qkv_cols() + c.attention_cols()) +
                       double(c.channels) * double(c.up_cols() + c.mlp_channels);
  const double head = c.head == Head::kLanguage ? double(c.channels) * double(c.vocab) : 0;
  return 2 * (double(c.num_layers) * (layer + 2 * context * double(c.attention_cols())) + head);
}

// Weights like a fresh model's, the same numbers over and over: drawing a billion takes a minute.
std::shared_ptr<Model> fresh(const std::shared_ptr<Engine>& engine, const ModelConfig& c) {
  auto m = std::make_shared<Model>(engine, c);
  std::vector<float> normal = bench::random_normal(1 << 20, 1);
  for (float& x : normal) x *= 0.02f;
  m->visit_own([&](Tensor& t, const ParamSpec& spec) {
    int64_t used = 0;  // rows beyond are padding
    for (const NamedPart& part : spec.parts) used += part.size() / t.cols;
    const int64_t step = std::max<int64_t>(1, int64_t(normal.size()) / t.cols);
    std::vector<float> same(size_t(step * t.cols), spec.init == Init::kOnes ? 1.0f : 0.0f);
    const bool draw = spec.init != Init::kOnes && spec.init != Init::kZeros;
    for (int64_t row = 0; row < used; row += step)
      engine->backend().upload_floats(t.slice(row, std::min(step, used - row)), draw ? normal.data() : same.data());
  });
  return m;
}

std::vector<int32_t> random_ids(size_t count, int64_t vocab, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = int32_t(rng() % uint32_t(vocab));
  return ids;
}

struct Bench {
  std::string device;
  DType dtype;
  int64_t tokens;  // of a pass

  std::shared_ptr<Engine> engine() const {
    return std::make_shared<Engine>(EngineOptions{.device = device, .dtype = dtype, .max_tokens = tokens});
  }
  void print(const std::string& name, double tokens_per_s, double flops, double bytes_per_s, const Engine& e) const {
    const Usage u = e.usage();
    const int64_t held = u.parameter_bytes + u.optimizer_bytes + u.cache_bytes + u.arena_bytes + u.packed_bytes;
    std::printf("{\"case\": \"%s\", \"device\": \"%s\", \"dtype\": \"%s\", \"tokens_per_s\": %.1f, \"tflops\": %.3f, ",
                name.c_str(), device.c_str(), dtype == DType::f32 ? "f32" : "bf16", tokens_per_s,
                tokens_per_s * flops / 1e12);
    std::printf("\"gb_per_s\": %.1f, \"memory_bytes\": %lld}\n", bytes_per_s / 1e9, static_cast<long long>(held));
    std::fflush(stdout);
  }

  // Of `tokens` tokens in sequences of at most 1024: forward, backward, AdamW.
  void step(const std::string& name, const std::string& model) const {
    const auto e = engine();
    const ModelConfig c = config(model, Head::kLanguage);
    const auto m = fresh(e, c);
    Trainer trainer(m, {});
    const int64_t length = std::min<int64_t>(1024, tokens);
    HostBatch batch;
    batch.tokens = random_ids(size_t(tokens), c.vocab, 2);
    for (int64_t t = 0; t <= tokens; t += length) batch.cu_seqlens.push_back(int32_t(t));
    batch.parent.assign(batch.cu_seqlens.size() - 1, -1);
    for (int64_t t = 0; t < tokens; ++t) {
      if ((t + 1) % length == 0) continue;
      batch.rows.push_back(int32_t(t));
      batch.targets.push_back(batch.tokens[size_t(t + 1)]);
    }
    const double rows = double(batch.rows.size());
    const auto once = [&] {
      const double loss = trainer.sft(batch, float(1 / rows), 0).loss / rows;
      trainer.step({.learning_rate = 1e-3f, .max_grad_norm = 1});
      return loss;
    };
    const double first = once(), chance = std::log(double(c.vocab));
    require(std::fabs(first / chance - 1) < 0.1, name, ": the first loss is ", first, ", expected about ", chance);
    const bench::Seconds s = bench::seconds_per_call(once, 5, 0.2);
    const double last = once();
    require(last < first, name, ": the loss went from ", first, " to ", last);
    print(name, double(tokens) / s.median, 3 * forward_flops(c, double(length) / 2), 0, *e);
  }

  // `batch` responses to prompts of 128 tokens.
  void decode(const std::string& name, const std::string& model, int64_t batch) const {
    const auto e = engine();
    const ModelConfig c = config(model, Head::kLanguage);
    const auto m = fresh(e, c);
    const int64_t prompt = 128, steps = 256;
    Generator generator(m, {.slots = batch, .max_length = prompt + steps + 1});
    StartRequest q;
    for (int64_t i = 0; i < batch; ++i) {
      const std::vector<int32_t> ids = random_ids(size_t(prompt), c.vocab, unsigned(i));
      q.cu_seqlens.push_back(int32_t(q.tokens.size()));
      q.tokens.insert(q.tokens.end(), ids.begin(), ids.end());
      q.prompt_of.push_back(int32_t(i));
      q.slots.push_back(int32_t(i));
      q.seeds.insert(q.seeds.end(), {int32_t(i), 1});
      q.sample_index.push_back(0);
      q.max_new_tokens.push_back(int32_t(steps + 1));
      q.cached.push_back(0);
      q.cached_in.push_back(0);
      q.sampling_of.push_back(0);
    }
    q.sampling = {{}};
    q.cu_seqlens.push_back(int32_t(q.tokens.size()));
    generator.start(q);
    generator.run(16, q.slots);
    const int64_t timed = device == "cpu" ? 32 : steps - 32;
    const double begin = bench::now();
    const Decoded d = generator.run(timed, q.slots);
    const double seconds = bench::now() - begin;
    for (const float logprob : d.logprobs)
      require(logprob <= 0 && std::isfinite(logprob), name, ": a log-probability is ", logprob);
    require(int64_t(d.tokens.size()) == timed * batch, name, ": ", d.tokens.size(), " tokens were drawn");
    const double weights = double(e->usage().parameter_bytes);
    print(name, double(timed * batch) / seconds, forward_flops(c, double(prompt + steps / 2)),
          weights * double(timed) / seconds, *e);
  }

  // Prompts of 384 tokens with nine responses of 128: tokens computed once.
  void score(const std::string& name, const std::string& model) const {
    const auto e = engine();
    const ModelConfig c = config(model, Head::kScalar);
    const auto m = fresh(e, c);
    const int64_t prompt = 384, response = 128, responses = 9, tree = prompt + responses * response;
    HostBatch batch;
    batch.cu_seqlens = {0};
    const int64_t count = std::max<int64_t>(1, tokens / tree);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t root = int32_t(batch.parent.size());
      for (int64_t k = 0; k <= responses; ++k) {
        const std::vector<int32_t> ids = random_ids(size_t(k == 0 ? prompt : response), c.vocab, unsigned(i * 10 + k));
        batch.tokens.insert(batch.tokens.end(), ids.begin(), ids.end());
        batch.cu_seqlens.push_back(int32_t(batch.tokens.size()));
        batch.parent.push_back(k == 0 ? -1 : root);
        if (k > 0) batch.rows.push_back(int32_t(batch.tokens.size()) - 1);
      }
    }
    std::vector<float> scores;
    const bench::Seconds s = bench::seconds_per_call([&] { scores = m->scores(batch); }, 5, 0.2);
    for (const float x : scores) require(std::isfinite(x), name, ": a score is ", x);
    print(name, double(batch.tokens.size()) / s.median, forward_flops(c, double(prompt + response) / 2), 0, *e);
  }

  void run(const std::string& name) const {
    const size_t a = name.find('-'), b = name.find('-', a + 1);
    const std::string kind = name.substr(0, a), model = a == std::string::npos ? "" : name.substr(a + 1, b - a - 1);
    if (kind == "step") return step(name, model);
    if (kind == "decode") return decode(name, model, b == std::string::npos ? 1 : std::stoll(name.substr(b + 1)));
    if (kind == "score") return score(name, model);
    throw Error(ErrorCode::InvalidArgument, name + " is no case: step-MODEL, decode-MODEL-BATCH or score-MODEL");
  }
};

}  // namespace

int main(int argc, char** argv) {
  int status = argc > 3 ? 0 : 2;
  if (status != 0) std::fprintf(stderr, "usage: bench_model cpu|cuda f32|bf16 CASE...\n");
  for (int i = 3; i < argc; ++i) try {
      const std::string device = argv[1];
      Bench{device, std::string(argv[2]) == "bf16" ? DType::bf16 : DType::f32, device == "cpu" ? 2048 : 16384}.run(
          argv[i]);
    } catch (const std::exception& error) {
      std::printf("{\"case\": \"%s\", \"error\": \"%s\"}\n", argv[i], error.what());
      status = 1;
    }
  return status;
}
