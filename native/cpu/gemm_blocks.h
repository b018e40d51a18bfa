// A matrix product by packed panels and a register tile (Goto & van de Geijn 2008).
//
// A task owns a block of out. For each block of k it packs its rows of a (they stay in L2) and, panel by panel, its
// columns of b (a panel stays in L1 while all rows pass it), unless b is a weight that was packed before. The
// result does not depend on how out is split: the blocks of k depend on k alone, and an element is the sum of its
// blocks, in order.
#pragma once

#include "native/cpu/level.h"
// level.h comes first in every kernel source.
#include "native/cpu/gemm_tile.h"
#include "native/cpu/tasks.h"

namespace heed::cpu::HEED_LEVEL {

constexpr int64_t kCacheLine = kTileCols < 16 ? kTileCols : 16;  // floats, at most one row of a panel of b
constexpr int64_t kMaxDepth = 256;                               // steps; a panel of b takes 32 KiB with AVX-512
constexpr int64_t kMaxRows = 224;                                // of a block of a: 224 KiB of L2
constexpr int64_t kMaxCols = 1024;      // keeps a block of out in L2 until the next block of k is added to it
constexpr int64_t kTasksPerThread = 4;  // so that the others can take over work of a delayed thread

template <class T>
struct Matrix {
  const T* data;
  int64_t stride;
  bool transposed;
};

// Steps: steps of k in which a and b are packed (gemm_tile.h). T: type of out, bias and residual. B: how b is kept.
template <class Steps, class T, class B = Matrix<typename Steps::Type>>
struct Product {
  int64_t m, n, k;
  int64_t steps, depth;  // k in steps, and steps per block of k
  Matrix<typename Steps::Type> a;
  B b;
  const float* packed_b;  // or null
  T* out;
  const T *add, *bias;
};

static inline int64_t panels_of(int64_t n) {
  return ceil_div(n, kTileCols);
}

// The smallest number of blocks of equal depth.
static inline int64_t depth_of(int64_t steps) {
  return steps == 0 ? 0 : ceil_div(steps, ceil_div(steps, kMaxDepth));
}

// A block of a, as panels of `height` rows; the panels are tile_size(height, depth) floats apart.
static inline int64_t tile_size(int64_t height, int64_t depth) {
  return height * depth + kLanes;
}

// `k` counts steps, as in everything below.
template <class Steps, class T, class B>
static void pack_a(const Product<Steps, T, B>& p, float* panels, int64_t height, int64_t row, int64_t rows, int64_t k,
                   int64_t depth) {
  const int64_t size = tile_size(height, depth), term = k * Steps::kTerms, terms = p.k - term;
  if (p.a.transposed) {
    pack_straight(Steps{}, panels, height, height, size, p.a.data + term * p.a.stride + row, p.a.stride, rows,
                  p.m - row, depth, terms);
    return;
  }
  for (int64_t i = 0; i < rows; i += height, panels += size)
    pack_transposed(Steps{}, panels, height, p.a.data + (row + i) * p.a.stride + term, p.a.stride,
                    smaller(height, rows - i), depth, smaller(terms, depth * Steps::kTerms));
}

// Columns [col, col + kTileCols) of b, zeros from n on. A matrix of elements needs no working memory.
template <class Steps, class T>
static void pack_b(const Product<Steps, T>& p, float* panel, int64_t col, int64_t k, int64_t depth, float* = nullptr) {
  const int64_t term = k * Steps::kTerms, terms = p.k - term;
  if (!p.b.transposed) {
    pack_straight(Steps{}, panel, kTileCols, kLanes, kLanes, p.b.data + term * p.b.stride + col, p.b.stride, kTileCols,
                  p.n - col, depth, terms);
    return;
  }
  for (int64_t i = 0; i < kTileCols; i += kLanes) {
    const int64_t cols = p.n - col - i;
    pack_transposed(Steps{}, panel + i, kTileCols, p.b.data + (col + i) * p.b.stride + term, p.b.stride,
                    cols < 0 ? 0 : smaller(cols, kLanes), depth, smaller(terms, depth * Steps::kTerms));
  }
}

struct Block {
  int64_t row, end_row;      // of out
  int64_t panel, end_panel;  // columns, in panels
};

// Elements of 8 bits, each times the scale of its column in memory.
struct Int8Matrix {
  const int8_t* data;
  int64_t stride;
  bool transposed;
  const float* scale;
};

// Elements of a panel of b before they are packed, for a matrix that is not read as it is.
template <class Steps>
constexpr int64_t unpacked_floats(int64_t depth) {
  return (depth * Steps::kTerms + kLanes) * kTileCols * int64_t(sizeof(typename Steps::Type)) / int64_t(sizeof(float));
}

template <class Steps, class B>
constexpr int64_t unpacked_of(int64_t depth) {
  return std::is_same_v<B, Int8Matrix> ? unpacked_floats<Steps>(depth) : 0;
}

template <class T>
static inline void scale_row(T* out, const int8_t* row, const float* scale, int64_t count, int64_t padded) {
  for (int64_t i = 0; i < padded; i += kLanes)
    store(out + i, load_part(row + i, count - i) * load_part(scale + i, count - i));
}

// An element is rounded to the type of a before it is packed, so that the product is the same as with a matrix of
// those.
template <class Steps, class T>
static void pack_b(const Product<Steps, T, Int8Matrix>& p, float* panel, int64_t col, int64_t k, int64_t depth,
                   float* unpacked) {
  using Element = typename Steps::Type;
  const int64_t term = k * Steps::kTerms, terms = smaller(p.k - term, depth * Steps::kTerms);
  const int64_t cols = smaller(kTileCols, p.n - col);
  Element* const rows = reinterpret_cast<Element*>(unpacked);
  const int8_t* const from = p.b.data;
  if (!p.b.transposed) {
    constexpr bool kIsPanel = std::is_same_v<Steps, Single<float>>;  // without packing
    Element* const to = kIsPanel ? reinterpret_cast<Element*>(panel) : rows;
    for (int64_t t = 0; t < terms; ++t)
      scale_row(to + t * kTileCols, from + (term + t) * p.b.stride + col, p.b.scale + col, cols, kTileCols);
    if constexpr (!kIsPanel)
      pack_straight(Steps{}, panel, kTileCols, kLanes, kLanes, rows, kTileCols, kTileCols, kTileCols, depth, terms);
    return;
  }
  const int64_t width = (terms + kLanes - 1) / kLanes * kLanes;
  for (int64_t i = 0; i < cols; ++i)
    scale_row(rows + i * width, from + (col + i) * p.b.stride + term, p.b.scale + term, terms, width);
  for (int64_t i = 0; i < kTileCols; i += kLanes)
    pack_transposed(Steps{}, panel + i, kTileCols, rows + i * width, width, smaller(larger(cols - i, 0), kLanes), depth,
                    terms);
}

// Working memory of a task: its block of a, a panel of b, its elements before they are packed if `unpacked`, and, if
// out is rounded, a tile and the sums over the previous blocks of k.
struct TaskMemory {
  float *b, *a, *unpacked, *tile, *sums;
  int64_t floats;

  TaskMemory(int64_t m, int64_t n, int64_t steps, bool rounded, int64_t unpacked_floats, float* memory) {
    const int64_t rows = smaller(m, kMaxRows), tiles = ceil_div(rows, kTileRows), depth = depth_of(steps);
    const int64_t cols = smaller(panels_of(n) * kTileCols, kMaxCols + 2 * kTileCols);
    Pieces pieces{memory};
    b = pieces.take(kTileCols * depth);
    a = pieces.take(tiles * tile_size(kTileRows, depth));
    unpacked = pieces.take(unpacked_floats);
    tile = pieces.take(rounded ? kTileRows * kTileCols : 0);
    sums = pieces.take(rounded && steps > depth ? rows * cols : 0);
    floats = pieces.used;
  }
};

// out = sums [+ bias] [+ add], rounded.
static inline void round_tile(const float* sums, int64_t rows, int64_t cols, const bf16* bias, const bf16* add,
                              bf16* out, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i)
    for_vectors(cols, [&](int64_t c, int64_t n) {
      vec v = load(sums + i * kTileCols + c);
      if (bias != nullptr) v += get(bias + c, n);
      if (add != nullptr) v += get(add + i * stride + c, n);
      put(out + i * stride + c, v, n);
    });
}

template <class Steps, class T, class B>
static void multiply_block(const Product<Steps, T, B>& p, const Block& block, float* own) {
  constexpr bool kRounded = !std::is_same_v<T, float>;
  const TaskMemory memory(p.m, p.n, p.steps, kRounded, unpacked_of<Steps, B>(depth_of(p.steps)), own);
  const int64_t rows = block.end_row - block.row, tiles = ceil_div(rows, kTileRows), height = ceil_div(rows, tiles);
  const int64_t block_cols = (block.end_panel - block.panel) * kTileCols;
  const MultiplyTile full = tile_of<Steps>(height), last = tile_of<Steps>(rows - (tiles - 1) * height);
  int64_t k = 0;
  do {
    const int64_t depth = smaller(p.depth, p.steps - k);
    const bool first_k = k == 0, last_k = k + depth == p.steps;
    pack_a(p, memory.a, height, block.row, rows, k, depth);
    for (int64_t j = block.panel; j < block.end_panel; ++j) {
      const int64_t col = j * kTileCols;
      const float* b = p.packed_b != nullptr ? p.packed_b + j * p.steps * kTileCols + k * kTileCols : memory.b;
      if (p.packed_b == nullptr) pack_b(p, memory.b, col, k, depth, memory.unpacked);
      Tile to{.cols = smaller(kTileCols, p.n - col)};
      if constexpr (kRounded) {
        float* const sums = memory.sums + (j - block.panel) * kTileCols;
        to.add_stride = block_cols;
        if (!first_k) to.add = sums;
        to.out = last_k ? memory.tile : sums;
        to.stride = last_k ? kTileCols : block_cols;
        to.cols = kTileCols;
      } else {
        to.out = p.out + block.row * p.n + col;
        to.stride = to.add_stride = p.n;
        // The first block of k starts from residual, so residual may be out itself.
        if (first_k && p.bias != nullptr) to.bias = p.bias + col;
        if (first_k && p.add != nullptr) to.add = p.add + block.row * p.n + col;
        if (!first_k) to.add = to.out;
      }
      // The first tiles prefetch the source of the next panel of b, a cache line per step. A single tile has no time
      // for that: it prefetches the next lines of its own panel.
      constexpr int64_t kLine = kCacheLine * int64_t(sizeof(float));
      const bool fetch_next = tiles > 1 && j + 1 < block.end_panel && (p.packed_b != nullptr || !p.b.transposed);
      const char* const here = reinterpret_cast<const char*>(b);
      to.ahead = tiles == 1 ? here + 16 * kTileCols * sizeof(float) : here;
      to.ahead_step = kTileCols * int64_t(sizeof(float));
      int64_t next_line = 0;
      if (fetch_next && p.packed_b != nullptr) {
        to.ahead = reinterpret_cast<const char*>(b + p.steps * kTileCols);
        to.ahead_step = kLine;
        next_line = kLine * depth;
      } else if (fetch_next) {
        const int64_t row = p.b.stride * int64_t(sizeof(*p.b.data));
        to.ahead = reinterpret_cast<const char*>(p.b.data + k * Steps::kTerms * p.b.stride + col + kTileCols);
        to.ahead_step = row * Steps::kTerms;
        next_line = Steps::kTerms == 1 ? kLine : row;
      }
      for (int64_t tile = 0; tile < tiles; ++tile) {
        (tile + 1 < tiles ? full : last)(memory.a + tile * tile_size(height, depth), height, b, depth, to);
        if constexpr (kRounded) {
          const int64_t at = (block.row + tile * height) * p.n + col;
          if (last_k)
            round_tile(memory.tile, smaller(height, rows - tile * height), smaller(kTileCols, p.n - col),
                       p.bias == nullptr ? nullptr : p.bias + col, p.add == nullptr ? nullptr : p.add + at, p.out + at,
                       p.n);
          else
            to.out += height * block_cols;
        } else {
          to.out += height * p.n;
        }
        if (to.add != nullptr) to.add += height * to.add_stride;
        to.ahead = tile + 1 < kTileCols / kCacheLine ? to.ahead + next_line : here;
      }
    }
    k += depth;
  } while (k < p.steps);
}

// How out is split into blocks.
struct Cut {
  int64_t rows, cols;  // numbers of blocks
};

// Approximate number of cycles of the product when split so. A step of k costs a tile one cycle per row, but at least
// the latency of its sums; each task packs its part of a, and its part of b unless b is already packed.
template <class P>
static double cycles(const P& p, Cut cut, int threads) {
  const int64_t rows = ceil_div(p.m, cut.rows), panels = ceil_div(panels_of(p.n), cut.cols);
  const int64_t latency = 4 * ceil_div(rows, kTileRows);
  const double read_b = p.packed_b != nullptr ? 1 : p.b.transposed ? 14 : 10;
  const double step = double(panels) * (double(rows > latency ? rows : latency) + read_b) + 0.35 * double(rows);
  const double task = double(p.steps) * step + 500;
  const double rounds = double(ceil_div(cut.rows * cut.cols, threads));
  // The eighth allows for a delayed thread: the others can take over only complete tasks.
  return cut.rows * cut.cols == 1 ? task : (rounds + 0.125) * task + 6000;
}

// The cheapest split among those with up to four tasks per thread and blocks that fit the caches.
template <class P>
static Cut best_cut(const P& p, int threads) {
  const int64_t min_rows = ceil_div(p.m, kMaxRows), min_cols = ceil_div(p.n, kMaxCols), panels = panels_of(p.n);
  Cut best{min_rows, min_cols};
  if (threads == 1) return best;
  double least = cycles(p, best, threads);
  for (int64_t per_thread = 1; per_thread <= kTasksPerThread; ++per_thread)
    for (int64_t rows = min_rows; rows <= smaller(p.m, per_thread * threads); ++rows) {
      const int64_t cols = ceil_div(per_thread * threads, rows);
      const Cut cut{rows, cols < min_cols ? min_cols : smaller(cols, panels)};
      const double cost = cycles(p, cut, threads);
      if (cost >= least) continue;
      least = cost;
      best = cut;
    }
  return best;
}

// out, in blocks; the product's working memory is `own` of each task.
template <class P>
static void multiply_blocks(Context& context, const P& p, const Workspace& workspace) {
  const Cut blocks = best_cut(p, context.threads);
  const int64_t panels = panels_of(p.n);
  parallel_for(context.threads, blocks.rows * blocks.cols, [&](int64_t task) {
    const int64_t i = task % blocks.rows, j = task / blocks.rows;
    multiply_block(p,
                   {.row = p.m * i / blocks.rows,
                    .end_row = p.m * (i + 1) / blocks.rows,
                    .panel = panels * j / blocks.cols,
                    .end_panel = panels * (j + 1) / blocks.cols},
                   workspace.own());
  });
}

}  // namespace heed::cpu::HEED_LEVEL
