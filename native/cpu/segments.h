// Shared by attention's forward and backward pass: the places of heads and segments in the batch, the memory of a task,
// and gathering the rows of a path.
#pragma once

#include "native/cpu/attention.h"
#include "native/cpu/pool.h"

namespace heed::cpu::HEED_LEVEL {

// The places of the heads in qkv.
struct Layout {
  int64_t dim, padded_dim;      // D, and rounded up to complete vectors
  int64_t group, num_kv_heads;  // query heads per key/value head
  int64_t row, keys, values;    // columns of qkv, and the first ones of keys and values
  float scale, softcap;
  bool widened;  // queries are bf16 in memory
};

constexpr int64_t kMostQueries = 256;  // of a block in the forward pass

template <class Op>
static inline Layout layout_of(const Op& op) {
  const int64_t D = op.out.cols / op.num_heads;
  return {.dim = D,
          .padded_dim = pad(D),
          .group = op.num_heads / op.num_kv_heads,
          .num_kv_heads = op.num_kv_heads,
          .row = op.qkv.cols,
          .keys = op.num_heads * D,
          .values = (op.num_heads + op.num_kv_heads) * D,
          .scale = op.scale == 0 ? 1.0f / __builtin_sqrtf(float(D)) : op.scale,
          .softcap = op.softcap,
          .widened = op.qkv.dtype == DType::bf16};
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

  // tokens[p] = the token at absolute position p of the path to segment s, for from <= p < to.
  void path(int64_t s, int64_t from, int64_t to, int32_t* tokens) const {
    for (; s >= 0 && to > from; to = first[s], s = parent[s])
      for (int64_t p = larger(first[s], from); p < to; ++p) tokens[p] = int32_t(begin[s] + p - first[s]);
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
  if (x.longest_path > op.max_path) throw Error(ErrorCode::InvalidArgument, "max_path is less than the longest path");
  return x;
}

// Start of an op's memory: the arrays of plan(), and one more.
template <class Op>
static inline int64_t plan_floats(const Op& op) {
  return pad_piece((Segments::kArrays + 1) * op.parent.rows);
}

// Rows of queries as floats: those of a float matrix in place, others widened into `room`.
struct Floats {
  const float* data;
  int64_t row;
};
static inline Floats widened(const float* q, int64_t row, int64_t, const Layout&, float*) {
  return {q, row};
}
static inline Floats widened(const bf16* q, int64_t row, int64_t rows, const Layout& x, float* room) {
  for (int64_t r = 0; r < rows; ++r) copy_padded(room + r * x.padded_dim, q + r * row, x.dim);
  return {room, x.padded_dim};
}

// Calls body(i, memory of the running thread) for i in [0, count).
template <class F>
static inline void for_tasks(int threads, int64_t count, float* memory, int64_t floats_per_thread, F&& body) {
  int64_t next = 0;
  parallel_for(threads, smaller(threads, count), [&](int64_t w) {
    for (int64_t i; (i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < count;)
      body(i, memory + w * floats_per_thread);
  });
}

// Software prefetch: the hardware does not predict the next head's columns in the next token's row.
template <class T>
static inline void prefetch(const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / int64_t(sizeof(T))) __builtin_prefetch(from + i);
}
constexpr int64_t kAhead = 16;  // rows

// Gathers the rows of the tokens at the positions [begin, end), each to the place of its position. begin is a multiple
// of the vector width.
template <class T>
static inline void gather_transposed(const T* from, int64_t row, const int32_t* tokens, int64_t begin, int64_t end,
                                     int64_t dim, float* panels) {
  for (int64_t p = begin; p < end; p += kLanes) {
    for (int64_t i = p + kAhead; i < smaller(end, p + kAhead + kLanes); ++i) prefetch(from + tokens[i] * row, dim);
    transpose_panel(panels + p * dim, dim, end - p, [&](int64_t i) { return from + tokens[p + i] * row; });
  }
}

template <class T>
static inline void gather_rows(const T* from, int64_t row, const int32_t* tokens, int64_t begin, int64_t end,
                               int64_t dim, float* rows) {
  for (int64_t p = begin; p < end; ++p) {
    if (p + kAhead < end) prefetch(from + tokens[p + kAhead] * row, dim);
    copy_padded(rows + p * pad(dim), from + tokens[p] * row, dim);
  }
}

}  // namespace heed::cpu::HEED_LEVEL
