// What attention's two passes share: where heads and segments lie in the batch, the memory of a task, and how a path's
// rows are gathered.
#pragma once

#include "native/cpu/attention.h"
#include "native/cpu/pool.h"

namespace heed::cpu::HEED_LEVEL {

// Where the heads are in qkv.
struct Layout {
  int64_t dim, padded_dim;      // D, and in whole vectors
  int64_t group, num_kv_heads;  // query heads per key/value head
  int64_t row, keys, values;    // columns of qkv, and where its keys and values begin
  float scale;
};

template <class Op>
static inline Layout layout_of(const Op& op) {
  const int64_t D = op.out.cols / op.num_heads;
  return {D,           pad(D),           op.num_heads / op.num_kv_heads,       op.num_kv_heads,
          op.qkv.cols, op.num_heads * D, (op.num_heads + op.num_kv_heads) * D, 1.0f / __builtin_sqrtf(float(D))};
}

// The segments and the trees they form.
struct Segments {
  static constexpr int64_t kArrays = 6;  // int32 arrays of `count`, written by plan()

  int64_t count;
  const int32_t *begin, *parent;
  int32_t* first;    // absolute position of the segment's first token
  int32_t* root;     // of its tree
  int32_t* next;     // in the same tree, or -1
  int32_t* last;     // of a root: the tree's last segment so far
  int32_t* in_tree;  // tokens of the tree before this segment
  int32_t* size;     // of a root: tokens of the tree
  int64_t longest_path, largest_tree;

  int64_t length(int64_t s) const { return begin[s + 1] - begin[s]; }
  int64_t end(int64_t s) const { return first[s] + length(s); }

  // tokens[p] = the token at absolute position p of the path to segment s, for p < end.
  void path(int64_t s, int64_t end, int32_t* tokens) const {
    for (; s >= 0; end = first[s], s = parent[s])
      for (int64_t p = first[s]; p < end; ++p) tokens[p] = int32_t(begin[s] + p - first[s]);
  }
};

template <class Op>
static inline Segments plan(const Op& op, void* memory) {
  Segments x{};
  x.count = op.parent.rows;
  x.begin = ints(op.cu_seqlens);
  x.parent = ints(op.parent);
  int32_t* at = static_cast<int32_t*>(memory);
  int32_t** const arrays[Segments::kArrays] = {&x.first, &x.root, &x.next, &x.last, &x.in_tree, &x.size};
  for (int32_t** array : arrays) {
    *array = at;
    at += x.count;
  }
  for (int32_t s = 0; s < x.count; ++s) {
    const int32_t parent = x.parent[s], r = parent < 0 ? s : x.root[parent];
    x.first[s] = parent < 0 ? 0 : int32_t(x.end(parent));
    x.root[s] = r;
    x.next[s] = -1;
    if (r == s)
      x.size[s] = 0;
    else
      x.next[x.last[r]] = s;
    x.last[r] = s;
    x.in_tree[s] = x.size[r];
    x.size[r] += int32_t(x.length(s));
    if (x.longest_path < x.end(s)) x.longest_path = x.end(s);
    if (x.largest_tree < x.size[r]) x.largest_tree = x.size[r];
  }
  return x;
}

static inline int64_t pad_piece(int64_t floats) {
  return ceil_div(floats, 16) * 16;
}

// Hands out pieces of memory, each on cache lines of its own. With no memory it only measures.
struct Pieces {
  float* memory;
  int64_t used = 0;

  float* take(int64_t floats) {
    float* const piece = memory == nullptr ? nullptr : memory + used;
    used += pad_piece(floats);
    return piece;
  }
  int32_t* take_ints(int64_t count) { return reinterpret_cast<int32_t*>(take(count)); }
};

// body(i, memory of the thread that runs it) for i in [0, count).
template <class F>
static inline void for_tasks(int threads, int64_t count, float* memory, int64_t floats_per_thread, F&& body) {
  int64_t next = 0;
  parallel_for(threads, smaller(threads, count), [&](int64_t w) {
    for (int64_t i; (i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < count;)
      body(i, memory + w * floats_per_thread);
  });
}

// The hardware does not foresee the next head's columns in the next token's row.
static inline void prefetch(const float* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(from + i);
}
constexpr int64_t kAhead = 16;  // rows

static inline void gather_transposed(const float* from, int64_t row, const int32_t* tokens, int64_t count, int64_t dim,
                                     float* panels) {
  for (int64_t p = 0; p < count; p += kLanes) {
    for (int64_t i = p + kAhead; i < smaller(count, p + kAhead + kLanes); ++i) prefetch(from + tokens[i] * row, dim);
    transpose_panel(panels + p * dim, dim, count - p, [&](int64_t i) { return from + tokens[p + i] * row; });
  }
}

static inline void gather_rows(const float* from, int64_t row, const int32_t* tokens, int64_t count, int64_t dim,
                               float* rows) {
  for (int64_t p = 0; p < count; ++p) {
    if (p + kAhead < count) prefetch(from + tokens[p + kAhead] * row, dim);
    copy_padded(rows + p * pad(dim), from + tokens[p] * row, dim);
  }
}

}  // namespace heed::cpu::HEED_LEVEL
