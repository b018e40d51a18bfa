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
    const int64_t size = n * std::max<int64_t>(in, 1);
    parts.push_back(
        {names[i] + suffix, {{begin, size}}, in == 0 ? std::vector<int64_t>{n} : std::vector<int64_t>{n, in}});
    begin += size;
  }
  return parts;
}

// Cuts queries, keys and values of all heads, each side by side, into those of each head.
void cut_by_head(NamedPart& part, int64_t num_heads) {
  const int64_t kind = part.size() / 3, head = kind / num_heads;
  part.pieces.clear();
  for (int64_t h = 0; h < num_heads; ++h)
    for (int64_t i = 0; i < 3; ++i) part.pieces.push_back({i * kind + h * head, head});
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
    if (c_.pre_norm) norm(p.attention_norm, n.attention_norm);
    linear(p.attention.qkv, n.qkv, C, {A, K, K}, c_.qkv_bias, Init::kNormal, n.qkv_by_head);
    if (c_.qk_norm != QkNormOf::kNothing) {
      const bool each = c_.qk_norm == QkNormOf::kHead;
      norm_weight(p.attention.q_norm, n.q_norm, each ? c_.head_dim : A);
      norm_weight(p.attention.k_norm, n.k_norm, each ? c_.head_dim : K);
    }
    linear(p.attention.out, {n.attention_out}, A, {C}, c_.attention_out_bias, Init::kResidual);
    if (c_.post_norm) norm(p.attention.post_norm, n.attention_post_norm);
    if (c_.pre_norm) norm(p.mlp_norm, n.mlp_norm);
    linear(p.mlp.up, n.up, C, c_.gated_mlp ? std::vector<int64_t>{F, F} : std::vector<int64_t>{F}, c_.mlp_bias,
           Init::kNormal);
    linear(p.mlp.down, {n.down}, F, {C}, c_.mlp_bias, Init::kResidual);
    if (c_.post_norm) norm(p.mlp.post_norm, n.mlp_post_norm);
  }

  void norm(NormParams& p, const std::string& name) {
    if (targets_ != nullptr) return;
    norm_weight(p.weight, name, c_.channels);
    if (c_.norm == Norm::kLayer)
      vector(p.bias, parts_of({in_layer(name, layer_)}, {c_.channels}, ".bias", 0), c_.channels, Init::kZeros);
  }

  // rows of a vocabulary (V, C) are padded
  void vocabulary(Tensor& t, const std::string& name) {
    f_(t, ParamSpec{parts_of({name}, {c_.vocab}, ".weight", c_.channels), c_.padded_vocab(), c_.channels, Init::kNormal,
                    true});
  }

  void matrix(Tensor& t, const std::string& name, int64_t rows, int64_t cols, Init init) {
    f_(t, ParamSpec{parts_of({name}, {rows}, ".weight", cols), rows, cols, init, true});
  }

 private:
  // A new one multiplies by 1.
  void norm_weight(Tensor& t, const std::string& name, int64_t n) {
    if (targets_ != nullptr) return;
    vector(t, parts_of({in_layer(name, layer_)}, {n}, ".weight", 0), n,
           c_.norm_offset == 1 ? Init::kZeros : Init::kOnes);
  }

  void vector(Tensor& t, std::vector<NamedPart> parts, int64_t n, Init init) {
    f_(t, ParamSpec{std::move(parts), 1, n, init, false});
  }

  void linear(LinearParams& p, std::vector<std::string> names, int64_t in, const std::vector<int64_t>& sizes, bool bias,
              Init init, bool by_head = false) {
    p.layout = c_.layout;
    for (std::string& name : names) name = in_layer(name, layer_);
    if (targets_ != nullptr) return adapters(p, names, in, sizes, by_head);
    const int64_t out = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
    const auto parts = [&](const char* suffix, int64_t columns) {
      std::vector<NamedPart> list = parts_of(names, sizes, suffix, columns);
      if (by_head) cut_by_head(list[0], c_.num_heads);
      return list;
    };
    if (c_.int8) {
      const bool in_out = c_.layout == Layout::kInOut;
      f_(p.weight, ParamSpec{in_out ? parts_of({names[0]}, {in}, ".weight", out) : parts(".weight", in), in, out, init,
                             true, DType::i8});
      f_(p.scale, ParamSpec{{}, 1, out, Init::kZeros, false, DType::f32});
    } else if (c_.layout == Layout::kInOut) {
      matrix(p.weight, names[0], in, out, init);
    } else {
      f_(p.weight, ParamSpec{parts(".weight", in), out, in, init, true});
    }
    if (bias) vector(p.bias, parts(".bias", 0), out, Init::kZeros);
  }

  void adapters(LinearParams& p, const std::vector<std::string>& names, int64_t in, const std::vector<int64_t>& sizes,
                bool by_head) {
    p.adapters.resize(names.size());
    size_t count = 0;
    for (const NamedPart& part : parts_of(names, sizes, "", 0)) {
      const auto found = targets_->find(part.name);
      const uint32_t site = kFirstSite + sites_++;
      if (found == targets_->end()) continue;
      const AdapterTarget& target = *found->second;
      LowRank& adapter = p.adapters[count++];
      adapter.first = part.pieces[0].begin;
      adapter.scale = target.scale;
      adapter.site = site;
      const int64_t r = target.rank, out = part.shape[0];
      f_(adapter.a, ParamSpec{parts_of({part.name}, {r}, ".lora_A.weight", in), r, in, Init::kAdapter, true});
      std::vector<NamedPart> b = parts_of({part.name}, {out}, ".lora_B.weight", r);
      if (by_head) cut_by_head(b[0], c_.num_heads);
      f_(adapter.b, ParamSpec{std::move(b), out, r, Init::kZeros, true});
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

std::vector<Tensor> NamedPart::of(const Tensor& t) const {
  std::vector<Tensor> tensors;
  for (const Piece& piece : pieces)
    tensors.push_back(Tensor{t.data, t.dtype, t.size(), 1}.slice(piece.begin, piece.size));
  return tensors;
}

std::vector<float> download_pieces(Backend& backend, const std::vector<Tensor>& pieces) {
  std::vector<float> values;
  for (const Tensor& piece : pieces) {
    const size_t first = values.size();
    values.resize(first + size_t(piece.size()));
    backend.download_floats(values.data() + first, piece);
  }
  return values;
}

void Params::visit(const ModelConfig& c, const Visitor& f) {
  Layers layers(c, f);
  blocks.resize(size_t(c.num_layers));
  layers.vocabulary(wte, c.names.embedding);
  if (!c.rotary())
    layers.matrix(wpe, c.names.positions, c.position_offset + c.max_positions, c.channels, Init::kNormal);
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
  const auto padded_bytes = [](const Tensor& t) {
    return (t.size() + kAlign - 1) / kAlign * kAlign * size_of(t.dtype);
  };
  int64_t bytes = 0;
  list.visit(params, [&](Tensor& t, const ParamSpec& spec) {
    t = {nullptr, spec.dtype.value_or(dtype), spec.rows, spec.cols};
    bytes += padded_bytes(t);
  });
  buffer = engine.allocate(bytes, purpose);
  char* next = static_cast<char*>(buffer.data());
  list.visit(params, [&](Tensor& t, const ParamSpec& spec) {
    t = {next, spec.dtype.value_or(dtype), spec.rows, spec.cols};
    next += padded_bytes(t);
  });
}

}  // namespace heed
