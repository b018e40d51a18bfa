#include "native/model/together.h"

#include <algorithm>
#include <map>

#include "native/model/mix.h"
#include "native/model/transformer.h"

namespace heed {
namespace {

bool has_logits(const TogetherRequest& request) {
  return request.model->config().head == Head::kLanguage;
}

void check(const std::vector<TogetherRequest>& requests) {
  require(!requests.empty(), "requests is empty, expected at least one");
  const Model& base = requests[0].model->base();
  for (size_t i = 0; i < requests.size(); ++i) {
    const TogetherRequest& request = requests[i];
    require(&request.model->base() == &base, "request ", i,
            ": its model is neither the base of request 0's model nor an adapter to it, expected models that share one "
            "base");
    try {
      request.batch.split(base.config(), base.engine()->max_tokens(), has_logits(request));
    } catch (const Error& error) {
      throw Error(error.code, "request " + std::to_string(i) + ": " + error.what());
    }
  }
}

// A request's place in the batch of all.
struct Place {
  size_t request;
  int64_t token_begin, token_end, row_begin, row_end;
};

struct Together {
  HostBatch batch;  // those with logits first, and the requests of a model next to each other
  std::vector<Place> places;

  explicit Together(const std::vector<TogetherRequest>& requests) {
    std::map<const Model*, size_t> first;
    std::vector<size_t> order;
    for (size_t i = 0; i < requests.size(); ++i) {
      first.emplace(requests[i].model.get(), i);
      order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      const auto key = [&](size_t i) { return std::pair(!has_logits(requests[i]), first.at(requests[i].model.get())); };
      return key(a) < key(b);
    });
    batch.cu_seqlens = {0};
    for (const size_t i : order) append(i, requests[i].batch, has_logits(requests[i]));
  }

 private:
  void append(size_t request, const HostBatch& more, bool logits) {
    const auto token = int32_t(batch.tokens.size()), segment = int32_t(batch.parent.size());
    const auto row = int64_t(batch.rows.size());
    batch.tokens.insert(batch.tokens.end(), more.tokens.begin(), more.tokens.end());
    for (size_t s = 0; s < more.parent.size(); ++s) {
      batch.cu_seqlens.push_back(token + more.cu_seqlens[s + 1]);
      batch.parent.push_back(more.parent[s] < 0 ? -1 : segment + more.parent[s]);
    }
    for (const int32_t r : more.rows) batch.rows.push_back(token + r);
    if (logits)
      batch.targets.insert(batch.targets.end(), more.targets.begin(), more.targets.end());
    else
      batch.targets.resize(batch.rows.size());  // not read
    places.push_back({request, token, int64_t(batch.tokens.size()), row, int64_t(batch.rows.size())});
  }
};

// What a request and a pass have in common, of [begin, end): counted from the pass's first.
struct Shared {
  int64_t begin, count;
};
Shared shared(int64_t begin, int64_t end, int64_t pass_begin, int64_t pass_end) {
  const int64_t from = std::max(begin, pass_begin), to = std::min(end, pass_end);
  return {from - pass_begin, std::max<int64_t>(0, to - from)};
}

std::vector<MixPart> parts_of(const std::vector<TogetherRequest>& requests, const std::vector<Place>& places,
                              const HostBatch::Pass& part) {
  std::vector<MixPart> parts;
  for (const Place& place : places) {
    const int64_t tokens = shared(place.token_begin, place.token_end, part.token_begin, part.token_end).count;
    if (tokens > 0) add_rows(parts, *requests[place.request].model, tokens);
  }
  return parts;
}

// The rows of a pass that belong to a request.
struct RequestRows {
  const TogetherRequest& request;
  TogetherResult& result;
  int64_t begin, count;  // rows of the pass
  int64_t first;         // of them, in the request

  Tensor of(const Tensor& rows) const { return rows.slice(begin, count); }
};

// Logits are those of the base's head for every adapter, and are computed in chunks over the requests' ends.
void compute_logprobs(const PassContext& pass, const std::vector<RequestRows>& list, Tensor trunk_out) {
  if (list.empty()) return;
  const int64_t all = list.back().begin + list.back().count,
                chunk = pass.backend.logits_rows(pass.config().padded_vocab());
  const Tensor logprobs = pass.statistic(all), entropy = pass.statistic(all);
  for (int64_t r = 0; r < all; r += chunk) {
    const Arena::Scope scope(pass.arena);
    const int64_t n = std::min(chunk, all - r);
    const Tensor logits = language_head_forward(pass, trunk_out, pass.batch.rows.slice(r, n)).out;
    for (const RequestRows& rows : list) {
      const Shared here = shared(rows.begin, rows.begin + rows.count, r, r + n);
      if (here.count == 0) continue;
      const auto of = [&](const Tensor& t) { return t.slice(r + here.begin, here.count); };
      pass.backend.run(op::TokenLogprobs{.logprobs = of(logprobs),
                                         .entropy = of(entropy),
                                         .logits = logits.slice(here.begin, here.count),
                                         .targets = of(pass.batch.targets),
                                         .vocab = pass.config().vocab,
                                         .temperature = rows.request.temperature});
    }
  }
  for (const RequestRows& rows : list) {
    pass.backend.download(rows.result.values.data() + rows.first, rows.of(logprobs));
    pass.backend.download(rows.result.entropy.data() + rows.first, rows.of(entropy));
  }
}

void compute_scores(const PassContext& pass, const RequestRows& rows, Tensor trunk_out) {
  const PassContext own{pass.backend, pass.arena, *rows.request.model, pass.batch};
  pass.backend.download(rows.result.values.data() + rows.first,
                        scalar_head_forward(own, trunk_out, rows.of(pass.batch.rows)).out);
}

}  // namespace

std::vector<TogetherResult> compute_together(const std::vector<TogetherRequest>& requests) {
  check(requests);
  const Together all(requests);
  std::vector<TogetherResult> results;
  for (const TogetherRequest& request : requests) {
    const size_t R = request.batch.rows.size();
    results.push_back({std::vector<float>(R), std::vector<float>(has_logits(request) ? R : 0)});
  }
  const Model& base = requests[0].model->base();
  Engine& engine = *base.engine();
  for (const HostBatch::Pass& part : all.batch.split(base.config(), engine.max_tokens(), false)) {
    const Mix mix(parts_of(requests, all.places, part));
    std::vector<RequestRows> logprobs, scores;
    for (const Place& place : all.places) {
      const TogetherRequest& request = requests[place.request];
      const Shared here = shared(place.row_begin, place.row_end, part.row_begin, part.row_end);
      if (here.count > 0)
        (has_logits(request) ? logprobs : scores)
            .push_back({request, results[place.request], here.begin, here.count,
                        part.row_begin + here.begin - place.row_begin});
    }
    engine.run([&](Backend& b, Arena& arena) {
      const Batch batch = upload(b, arena, all.batch, part);
      const PassContext pass = mix.pass(b, arena, batch);
      const Tensor trunk_out = trunk_forward(pass, false).out();
      compute_logprobs(pass, logprobs, trunk_out);
      for (const RequestRows& rows : scores) compute_scores(pass, rows, trunk_out);
    });
  }
  return results;
}

}  // namespace heed
