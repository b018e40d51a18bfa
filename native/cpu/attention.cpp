// Causal attention over packed segments with parents. A task gathers the keys and values of a path for one key/value
// head, so that the products read contiguous memory in the order of absolute positions, wherever the tokens are in the
// batch.
#include "native/cpu/attention.h"

#include "native/cpu/segments.h"

namespace heed::cpu::HEED_LEVEL {
namespace {

// Working memory of a task of the forward pass.
struct ForwardMemory {
  int32_t* tokens;
  float *keys, *values, *scores;
  float* queries;  // widened
  int64_t scores_row, floats;

  ForwardMemory(const Layout& x, int64_t longest_path, float* memory) {
    const int64_t n = pad(longest_path);
    Pieces pieces{memory};
    scores_row = n + 16;
    tokens = pieces.take_ints(n);
    keys = pieces.take(n * x.dim);
    values = pieces.take(n * x.padded_dim);
    scores = pieces.take(kRows * scores_row);
    queries = pieces.take(x.widened ? kMostQueries * x.padded_dim : 0);
    floats = pieces.used;
  }
};

// A task of the backward pass: keys and values of a path, sums for a whole tree, and a block of queries.
struct BackwardMemory {
  static constexpr int64_t kBlock = 32;

  int32_t* tokens;
  float *keys, *keys_transposed, *values_transposed;
  float *dkeys, *dvalues;
  float *q, *dout, *delta;
  float *probs, *dscores;
  int64_t scores_row, floats;

  BackwardMemory(const Layout& x, int64_t longest_path, int64_t largest_tree, float* memory) {
    const int64_t n = pad(longest_path);
    Pieces pieces{memory};
    scores_row = n + 16;
    tokens = pieces.take_ints(n);
    keys = pieces.take(n * x.padded_dim);
    keys_transposed = pieces.take(n * x.dim);
    values_transposed = pieces.take(n * x.dim);
    dkeys = pieces.take(largest_tree * x.padded_dim);
    dvalues = pieces.take(largest_tree * x.padded_dim);
    q = pieces.take(kBlock * x.padded_dim);
    dout = pieces.take(kBlock * x.padded_dim);
    delta = pieces.take(kBlock);
    probs = pieces.take(kBlock * scores_row);
    dscores = pieces.take(kBlock * scores_row);
    floats = pieces.used;
  }
};

// Turns scores into probabilities and dprobs into dscores in [begin, end), for one row; masked positions become 0.
void differentiate_row(float* scores, float* dprobs, Range seen, int64_t begin, int64_t end, const Layout& x, float lse,
                       float delta) {
  for (int64_t j = begin; j < end; j += kLanes) {
    const vec score = load(scores + j);
    vec p, slope = splat(x.scale);  // of the score by q k
    if (x.softcap > 0) {
      const vec t = tanh(score * x.scale / x.softcap);
      p = exp(x.softcap * t - lse);
      slope *= 1.0f - t * t;
    } else {
      p = exp(fma(score, splat(x.scale), splat(-lse)));
    }
    vec ds = p * (load(dprobs + j) - delta) * slope;
    if (j < seen.begin || j + kLanes > seen.end) {
      p = in_range_or(p, seen, j, 0);
      ds = in_range_or(ds, seen, j, 0);
    }
    store(scores + j, p);
    store(dprobs + j, ds);
  }
}

// Computes probabilities and dscores of `rows` queries at the positions [begin, end), and their dQ.
template <int R, class T>
void differentiate(const Layout& x, const BackwardMemory& m, int64_t r, int64_t rows, const Visible& visible,
                   int64_t begin, int64_t end, const float* lse, int64_t lse_row, T* dq) {
  for (; r + R <= rows; r += R) {
    float* const probs = m.probs + r * m.scores_row;
    float* const dscores = m.dscores + r * m.scores_row;
    const int64_t first = vector_of(visible.row(r).begin), most = visible.row(r + R - 1).end, last = pad(most);
    dots<R>(m.q + r * x.padded_dim, x.padded_dim, x.dim, Transposed<float>{m.keys_transposed, x.dim * kLanes, kLanes},
            first / kLanes, last / kLanes, probs, m.scores_row);
    dots<R>(m.dout + r * x.padded_dim, x.padded_dim, x.dim,
            Transposed<float>{m.values_transposed, x.dim * kLanes, kLanes}, first / kLanes, last / kLanes, dscores,
            m.scores_row);
    float ones[R];
    for (int i = 0; i < R; ++i) {
      ones[i] = 1;
      float *const p = probs + i * m.scores_row, *const ds = dscores + i * m.scores_row;
      differentiate_row(p, ds, visible.row(r + i), first, last, x, lse[(r + i) * lse_row], m.delta[r + i]);
      for (const Range none : {Range{begin, first}, Range{last, end}})
        for (int64_t j = none.begin; j < none.end; j += kLanes) {
          store(p + j, vec{});
          store(ds + j, vec{});
        }
    }
    weighted_sums<R>(Matrix<float>{dscores + first, m.scores_row, 1},
                     Matrix<float>{m.keys + first * x.padded_dim, 0, x.padded_dim}, most - first, ones, x.dim,
                     dq + r * x.row, x.row);
  }
  if constexpr (R > 1) differentiate<R / 2>(x, m, r, rows, visible, begin, end, lse, lse_row, dq);
}

// Adds the dK and dV of the positions [begin, end) to the sums at dkeys and dvalues, from the queries at positions `at`
// and later.
template <int R>
void add_to_keys(const Layout& x, const BackwardMemory& m, int64_t begin, int64_t end, int64_t at, int64_t rows,
                 int64_t window, float* dkeys, float* dvalues) {
  for (; begin + R <= end; begin += R) {
    const int64_t skip = begin > at ? begin - at : 0;  // queries before these keys
    if (skip >= rows) return;
    // Later queries whose window does not include these keys are left out.
    const int64_t count = (window > 0 ? smaller(rows, begin + R - 1 + window - at) : rows) - skip;
    const int64_t offset = skip * m.scores_row + begin;
    add_weighted<R>({m.probs + offset, 1, m.scores_row}, {m.dout + skip * x.padded_dim, 0, x.padded_dim}, count, x.dim,
                    dvalues, x.padded_dim);
    add_weighted<R>({m.dscores + offset, 1, m.scores_row}, {m.q + skip * x.padded_dim, 0, x.padded_dim}, count, x.dim,
                    dkeys, x.padded_dim);
    dkeys += R * x.padded_dim;
    dvalues += R * x.padded_dim;
  }
  if constexpr (R > 1) add_to_keys<R / 2>(x, m, begin, end, at, rows, window, dkeys, dvalues);
}

}  // namespace

Need need(const Context& context, const op::Attention& op) {
  const int64_t own = ForwardMemory(layout_of(op), op.max_path, nullptr).floats;
  return {.shared = plan_floats(op) + context.threads * pad_piece(own)};
}
Need need(const Context& context, const op::AttentionBackward& op) {
  const int64_t own = BackwardMemory(layout_of(op), op.max_path, op.qkv.rows, nullptr).floats;
  return {.shared = plan_floats(op) + context.threads * pad_piece(own)};
}

void run(Context& context, const op::Attention& op) {
  const Layout x = layout_of(op);
  const int64_t S = op.parent.rows, H = op.num_heads, Hk = op.num_kv_heads;
  // Blocks of queries: large, since each gathers its path again, but enough for all threads. Results do not depend on
  // it.
  int64_t block = kMostQueries;
  while (block > 32 && op.qkv.rows * Hk < block * 4 * context.threads) block /= 2;

  float* const memory = context.workspace(need(context, op)).shared;
  const Segments segments = plan(op, memory);
  int32_t* const blocks = segments.size + S;  // up to and including segment s
  int32_t num_blocks = 0;
  for (int64_t s = 0; s < S; ++s) blocks[s] = num_blocks += int32_t(ceil_div(segments.length(s), block));
  const int64_t own_floats = pad_piece(ForwardMemory(x, segments.longest_path, nullptr).floats);

  const int64_t tasks = num_blocks * Hk;
  with_type(op.qkv, [&](const auto* qkv) {
    for_tasks(context.threads, tasks, memory + plan_floats(op), own_floats, [&](int64_t i, float* own) {
      i = tasks - 1 - i;  // start with a long segment's last blocks, which have the most keys
      const int64_t h = i % Hk, b = i / Hk;
      int64_t s = 0;
      for (int64_t high = S - 1; s < high;) {  // the first segment that ends after block b
        const int64_t middle = (s + high) / 2;
        if (blocks[middle] > b)
          high = middle;
        else
          s = middle + 1;
      }
      const int64_t skip = (b - (s == 0 ? 0 : blocks[s - 1])) * block, token = segments.begin[s] + skip;
      const int64_t rows = smaller(block, segments.length(s) - skip), end = segments.first[s] + skip + rows;

      const Visible visible{.end = end - rows + 1, .more = 1, .window = op.window};
      const int64_t from = vector_of(visible.row(0).begin);
      const ForwardMemory m(x, segments.longest_path, own);
      segments.path(s, from, end, m.tokens);
      gather_transposed(qkv + x.keys + h * x.dim, x.row, m.tokens, from, end, x.dim, m.keys);
      gather_rows(qkv + x.values + h * x.dim, x.row, m.tokens, from, end, x.dim, m.values);
      for (int64_t head = h * x.group; head < (h + 1) * x.group; ++head) {
        const Floats q = widened(qkv + token * x.row + head * x.dim, x.row, rows, x, m.queries);
        auto* const out = as(qkv, op.out) + (token * H + head) * x.dim;
        Queries<float, float, std::remove_reference_t<decltype(*out)>> queries{};
        queries.q = q.data;
        queries.q_row = q.row;
        queries.dim = x.dim;
        queries.keys = {m.keys, x.dim * kLanes, kLanes};
        queries.values = {m.values, 0, x.padded_dim};
        queries.visible = visible;
        queries.scale = x.scale;
        queries.softcap = x.softcap;
        queries.scores = m.scores;
        queries.scores_row = m.scores_row;
        queries.out = out;
        queries.out_row = H * x.dim;
        queries.lse = floats(op.lse) + token * H + head;
        queries.lse_row = H;
        attend<kRows>(queries, rows);
      }
    });
  });
}

// With P = exp(scale · q k - lse) and δ = Σ_d dout out:
//   dV = Pᵀ dout     dS = scale · P (dout Vᵀ - δ)     dQ = dS K     dK = dSᵀ Q
// A task handles a complete tree and one key/value head: a parent's keys accumulate gradients from its descendants in
// the order of segments.
void run(Context& context, const op::AttentionBackward& op) {
  const Layout x = layout_of(op);
  const int64_t S = op.parent.rows, H = op.num_heads, Hk = op.num_kv_heads, padded = x.padded_dim;
  float* const memory = context.workspace(need(context, op)).shared;
  const Segments segments = plan(op, memory);
  int32_t* const roots = segments.size + S;
  int64_t trees = 0;
  for (int32_t s = 0; s < S; ++s)
    if (segments.root[s] == s) roots[trees++] = s;
  const int64_t own_floats = pad_piece(BackwardMemory(x, segments.longest_path, segments.largest_tree, nullptr).floats);

  with_type(op.qkv, [&](const auto* qkv) {
    const auto *const all_dout = as(qkv, op.dout), *const all_out = as(qkv, op.out);
    auto* const dqkv = as(qkv, op.dqkv);
    for_tasks(context.threads, trees * Hk, memory + plan_floats(op), own_floats, [&](int64_t i, float* own) {
      const int64_t h = i % Hk, root = roots[i / Hk];
      const auto* const keys = qkv + x.keys + h * x.dim;
      const auto* const values = qkv + x.values + h * x.dim;
      const BackwardMemory m(x, segments.longest_path, segments.largest_tree, own);
      memset(m.dkeys, 0, size_t(segments.size[root] * padded) * sizeof(float));
      memset(m.dvalues, 0, size_t(segments.size[root] * padded) * sizeof(float));

      for (int64_t s = root; s >= 0; s = segments.next[s]) {
        const int64_t end = segments.end(s), first = segments.first[s], length = end - first;
        const int64_t from = vector_of(in_window(first + 1, op.window).begin);
        segments.path(s, from, end, m.tokens);
        gather_rows(keys, x.row, m.tokens, from, end, x.dim, m.keys);
        gather_transposed(keys, x.row, m.tokens, from, end, x.dim, m.keys_transposed);
        gather_transposed(values, x.row, m.tokens, from, end, x.dim, m.values_transposed);
        for (int64_t head = h * x.group; head < (h + 1) * x.group; ++head)
          for (int64_t begin = 0; begin < length; begin += m.kBlock) {
            const int64_t rows = smaller(m.kBlock, length - begin), token = segments.begin[s] + begin,
                          at = first + begin;
            for (int64_t r = rows; r < smaller(rows + m.kBlock, length - begin); ++r) {  // rows of the next block
              prefetch(qkv + (token + r) * x.row + head * x.dim, x.dim);
              prefetch(all_dout + ((token + r) * H + head) * x.dim, x.dim);
              prefetch(all_out + ((token + r) * H + head) * x.dim, x.dim);
            }
            for (int64_t r = 0; r < rows; ++r) {
              const auto* const dout = all_dout + ((token + r) * H + head) * x.dim;
              copy_padded(m.q + r * padded, qkv + (token + r) * x.row + head * x.dim, x.dim);
              copy_padded(m.dout + r * padded, dout, x.dim);
              m.delta[r] = dot(dout, all_out + ((token + r) * H + head) * x.dim, x.dim);
            }
            const Visible visible{.end = at + 1, .more = 1, .window = op.window};
            const int64_t seen = visible.row(0).begin;
            differentiate<kRows>(x, m, 0, rows, visible, vector_of(seen), pad(at + rows),
                                 floats(op.lse) + token * H + head, H, dqkv + token * x.row + head * x.dim);
            for (int64_t a = s, stop = at + rows; a >= 0 && stop > seen;
                 stop = segments.first[a], a = segments.parent[a]) {
              const int64_t start = larger(segments.first[a], seen),
                            sums = (segments.in_tree[a] + start - segments.first[a]) * padded;
              add_to_keys<kRows>(x, m, start, stop, at, rows, op.window, m.dkeys + sums, m.dvalues + sums);
            }
          }
      }
      for (int64_t s = root; s >= 0; s = segments.next[s])
        for (int64_t t = 0; t < segments.length(s); ++t) {
          auto* const row = dqkv + (segments.begin[s] + t) * x.row + h * x.dim;
          copy(row + x.keys, m.dkeys + (segments.in_tree[s] + t) * padded, x.dim);
          copy(row + x.values, m.dvalues + (segments.in_tree[s] + t) * padded, x.dim);
        }
    });
  });
}

}  // namespace heed::cpu::HEED_LEVEL
