#include "native/model/params.h"

#include <map>
#include <numeric>

namespace heed {
namespace {

using Visitor = std::function<void(Tensor&, const ParamSpec&)>;

std::string in_layer(std::string name, int64_t layer) {
  const size_t at = name.find("{}");
  return at == std::string::npos ? name : name.replace(at, 2, std::to_string(layer));
}

// Splits `out` outputs into named parts: rows of `in` elements of a weight, or elements of a bias.
std::vector<NamedPart> parts_of(const std::vector<std::string>& names, const std::vector<int64_t>& sizes,
                                const char* suffix, int64_t in) {
  std::vector<NamedPart> parts;
  int64_t begin = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    const int64_t n = names.size() == 1 ? std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) : sizes[i];
    parts.push_back({names[i] + suffix, begin, in == 0 ? std::vector<int64_t>{n} : std::vector<int64_t>{n, in}});
    begin += n * std::max<int64_t>(in, 1);
  }
  return parts;
}

using Targets = std::map<std::string, const AdapterTarget*>;

// Visits the parameters of each layer with their names; with targets, the adapters of its linear layers instead.
class Layers {
 public:
  Layers(const ModelConfig& config, const Visitor& f, Targets* targets = nullptr)
      : c_(config), f_(f), targets_(targets) {}

  void block(BlockParams& p, int64_t layer) {
    layer_ = layer;
    const ParameterNames& n = c_.names;
    const int64_t C = c_.channels, F = c_.mlp_channels, A = c_.attention_cols(), K = c_.num_kv_heads * c_.head_dim;
    norm(p.attention_norm, n.attention_norm);
    linear(p.attention.qkv, n.qkv, C, {A, K, K}, c_.qkv_bias, Init::kNormal);
    linear(p.attention.out, {n.attention_out}, A, {C}, c_.attention_out_bias, Init::kResidual);
    norm(p.mlp_norm, n.mlp_norm);
    linear(p.mlp.up, n.up, C, c_.gated_mlp ? std::vector<int64_t>{F, F} : std::vector<int64_t>{F}, c_.mlp_bias,
           Init::kNormal);
    linear(p.mlp.down, {n.down}, F, {C}, c_.mlp_bias, Init::kResidual);
  }

  void norm(NormParams& p, const std::string& name) {
    if (targets_ != nullptr) return;
    const std::string prefix = in_layer(name, layer_);
    vector(p.weight, {{prefix + ".weight", 0, {c_.channels}}}, c_.channels, Init::kOnes);
    if (c_.norm == Norm::kLayer) vector(p.bias, {{prefix + ".bias", 0, {c_.channels}}}, c_.channels, Init::kZeros);
  }

  // rows of a vocabulary (V, C) are padded
  void vocabulary(Tensor& t, const std::string& name) {
    f_(t, ParamSpec{
              {{name + ".weight", 0, {c_.vocab, c_.channels}}}, c_.padded_vocab(), c_.channels, Init::kNormal, true});
  }

  void matrix(Tensor& t, const std::string& name, int64_t rows, int64_t cols, Init init) {
    f_(t, ParamSpec{{{name + ".weight", 0, {rows, cols}}}, rows, cols, init, true});
  }

 private:
  void vector(Tensor& t, std::vector<NamedPart> parts, int64_t n, Init init) {
    f_(t, ParamSpec{std::move(parts), 1, n, init, false});
  }

  void linear(LinearParams& p, std::vector<std::string> names, int64_t in, const std::vector<int64_t>& sizes, bool bias,
              Init init) {
    p.layout = c_.layout;
    for (std::string& name : names) name = in_layer(name, layer_);
    if (targets_ != nullptr) return adapters(p, names, in, sizes);
    const int64_t out = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
    if (c_.layout == Layout::kInOut) {
      matrix(p.weight, names[0], in, out, init);
    } else {
      f_(p.weight, ParamSpec{parts_of(names, sizes, ".weight", in), out, in, init, true});
    }
    if (bias) vector(p.bias, parts_of(names, sizes, ".bias", 0), out, Init::kZeros);
  }

  void adapters(LinearParams& p, const std::vector<std::string>& names, int64_t in, const std::vector<int64_t>& sizes) {
    p.adapters.resize(names.size());
    size_t count = 0;
    for (const NamedPart& part : parts_of(names, sizes, "", 0)) {
      const auto found = targets_->find(part.name);
      const uint32_t site = kFirstSite + sites_++;
      if (found == targets_->end()) continue;
      const AdapterTarget& target = *found->second;
      LowRank& adapter = p.adapters[count++];
      adapter.first = part.begin;
      adapter.scale = target.scale;
      adapter.site = site;
      const int64_t r = target.rank, out = part.shape[0];
      f_(adapter.a, ParamSpec{{{part.name + ".lora_A.weight", 0, {r, in}}}, r, in, Init::kAdapter, true});
      f_(adapter.b, ParamSpec{{{part.name + ".lora_B.weight", 0, {out, r}}}, out, r, Init::kZeros, true});
      targets_->erase(found);
    }
    p.adapters.resize(count);
  }

  static constexpr uint32_t kFirstSite = 1u << 20;  // above those of residual dropout

  const ModelConfig& c_;
  const Visitor& f_;
  Targets* targets_;
  int64_t layer_ = 0;
  uint32_t sites_ = 0;
};

}  // namespace

int64_t NamedPart::size() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

Tensor NamedPart::of(const Tensor& t) const {
  return Tensor{t.data, t.dtype, t.size(), 1}.slice(begin, size());
}

void Params::visit(const ModelConfig& c, const Visitor& f) {
  Layers layers(c, f);
  blocks.resize(size_t(c.num_layers));
  layers.vocabulary(wte, c.names.embedding);
  if (!c.rotary()) layers.matrix(wpe, c.names.positions, c.max_positions, c.channels, Init::kNormal);
  for (int64_t l = 0; l < c.num_layers; ++l) layers.block(blocks[size_t(l)], l);
  layers.norm(norm, c.names.final_norm);
  if (c.head == Head::kScalar) {
    layers.matrix(head, c.names.scalar_head, 1, c.channels, Init::kScalarHead);
  } else if (!c.tied_head) {
    layers.vocabulary(head, c.names.language_head);
  }
}

ParamList::ParamList(ModelConfig config, std::vector<AdapterTarget> targets)
    : config_(std::move(config)), targets_(std::move(targets)) {
  require(is_adapter(), "an adapter has no target, expected at least one linear layer");
  Params params;
  visit(params, [](Tensor&, const ParamSpec&) {});
}

void ParamList::visit(Params& params, const Visitor& f) const {
  if (!is_adapter()) return params.visit(config_, f);
  Targets left;
  for (const AdapterTarget& target : targets_) {
    require(target.rank > 0, "the rank of ", target.module, " is ", target.rank, ", expected 1 or more");
    require(left.emplace(target.module, &target).second, "the adapter has the target ", target.module, " twice");
  }
  Layers layers(config_, f, &left);
  params.blocks.resize(size_t(config_.num_layers));
  for (int64_t l = 0; l < config_.num_layers; ++l) layers.block(params.blocks[size_t(l)], l);
  require(left.empty(), "the adapter's target ", left.empty() ? "" : left.begin()->first,
          " is not a linear layer of the model's blocks");
  if (config_.head == Head::kScalar)
    layers.matrix(params.head, config_.names.scalar_head, 1, config_.channels, Init::kScalarHead);
}

ParamStore::ParamStore(Engine& engine, const ParamList& list, Engine::Purpose purpose, DType dtype) : dtype(dtype) {
  constexpr int64_t kAlign = 64;  // elements
  int64_t elements = 0;
  list.visit(params, [&](Tensor& t, const ParamSpec& spec) {
    t = {nullptr, dtype, spec.rows, spec.cols};
    elements += (t.size() + kAlign - 1) / kAlign * kAlign;
  });
  buffer = engine.allocate(elements * size_of(dtype), purpose);
  char* next = static_cast<char*>(buffer.data());
  list.visit(params, [&](Tensor& t, const ParamSpec& spec) {
    t = {next, dtype, spec.rows, spec.cols};
    next += (t.size() + kAlign - 1) / kAlign * kAlign * size_of(dtype);
  });
}

}  // namespace heed
