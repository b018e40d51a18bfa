// Matrix products by packed panels and a register tile (Goto & van de Geijn 2008), and the gradient of a bias.
//
// A task owns a block of out. For each block of k it packs its rows of a (they stay in L2) and, panel by panel, its
// columns of b (a panel stays in L1 while all rows pass it), unless b is a weight that was packed before. What it
// computes does not depend on how out was cut: the blocks of k follow from k alone, and an element's sum is that of its
// blocks, in order.
#include "native/cpu/level.h"
// level.h comes first in every kernel source.
#include "native/cpu/gemm_tile.h"
#include "native/cpu/tasks.h"

namespace heed::cpu::HEED_LEVEL {
namespace {

constexpr int64_t kCacheLine = kTileCols < 16 ? kTileCols : 16;  // floats, at most one row of a panel of b
constexpr int64_t kMaxDepth = 256;                               // a panel of b takes 32 KiB with AVX-512
constexpr int64_t kMaxRows = 224;                                // of a block of a: 224 KiB of L2
constexpr int64_t kMaxCols = 1024;      // so that a block of out is still in L2 when the next block of k adds to it
constexpr int64_t kTasksPerThread = 4;  // lets a thread that was held up be overtaken

struct Matrix {
  const float* data;
  int64_t stride;
  bool transposed;
};

struct Product {
  int64_t m, n, k;
  int64_t depth;  // of a block of k
  Matrix a, b;
  const float* packed_b;  // or null
  float* out;
  const float *add, *bias;
};

int64_t panels_of(int64_t n) {
  return ceil_div(n, kTileCols);
}

// A block of a, as panels of `height` rows; the panels are tile_size(height, depth) floats apart.
int64_t tile_size(int64_t height, int64_t depth) {
  return height * depth + kLanes;
}

void pack_a(const Product& p, float* panels, int64_t height, int64_t row, int64_t rows, int64_t k, int64_t depth) {
  const int64_t size = tile_size(height, depth);
  if (p.a.transposed) {
    pack_straight(panels, height, height, size, p.a.data + k * p.a.stride + row, p.a.stride, rows, p.m - row, depth);
    return;
  }
  for (int64_t i = 0; i < rows; i += height, panels += size)
    pack_transposed(panels, height, p.a.data + (row + i) * p.a.stride + k, p.a.stride, smaller(height, rows - i),
                    depth);
}

// Columns [col, col + kTileCols) of b, zeros from n on.
void pack_b(const Product& p, float* panel, int64_t col, int64_t k, int64_t depth) {
  if (!p.b.transposed) {
    pack_straight(panel, kTileCols, kLanes, kLanes, p.b.data + k * p.b.stride + col, p.b.stride, kTileCols, p.n - col,
                  depth);
    return;
  }
  for (int64_t i = 0; i < kTileCols; i += kLanes) {
    const int64_t cols = p.n - col - i;
    pack_transposed(panel + i, kTileCols, p.b.data + (col + i) * p.b.stride + k, p.b.stride,
                    cols < 0 ? 0 : smaller(cols, kLanes), depth);
  }
}

struct Block {
  int64_t row, end_row;      // of out
  int64_t panel, end_panel;  // columns, in panels
};

// Floats a task needs to pack its share of a and one panel of b.
int64_t scratch_size(const Product& p, int64_t tiles, int64_t height) {
  return kTileCols * p.depth + tiles * tile_size(height, p.depth);
}

void multiply_block(const Product& p, const Block& block) {
  const int64_t rows = block.end_row - block.row, tiles = ceil_div(rows, kTileRows), height = ceil_div(rows, tiles);
  const MultiplyTile full = tile_of(height), last = tile_of(rows - (tiles - 1) * height);
  float* const local_b = scratch(scratch_size(p, tiles, height));
  float* const local_a = local_b + kTileCols * p.depth;
  int64_t k = 0;
  do {
    const int64_t depth = smaller(p.depth, p.k - k);
    const bool first = k == 0;
    pack_a(p, local_a, height, block.row, rows, k, depth);
    for (int64_t j = block.panel; j < block.end_panel; ++j) {
      const int64_t col = j * kTileCols;
      const float* b = p.packed_b != nullptr ? p.packed_b + j * p.k * kTileCols + k * kTileCols : local_b;
      if (p.packed_b == nullptr) pack_b(p, local_b, col, k, depth);
      Tile to{.out = p.out + block.row * p.n + col, .stride = p.n, .cols = smaller(kTileCols, p.n - col)};
      // The first block of k starts from what is to be added, so residual may be out itself.
      if (first && p.bias != nullptr) to.bias = p.bias + col;
      if (first && p.add != nullptr) to.add = p.add + block.row * p.n + col;
      if (!first) to.add = to.out;
      // The first tiles fetch what the next panel of b is made of, a cache line each step. One tile alone cannot wait
      // for that: it fetches the next lines of its own panel.
      const bool fetch_next = tiles > 1 && j + 1 < block.end_panel && (p.packed_b != nullptr || !p.b.transposed);
      to.ahead = tiles == 1 ? b + 16 * kTileCols : b;
      to.ahead_step = kTileCols;
      int64_t next_line = 0;
      if (fetch_next && p.packed_b != nullptr) {
        to.ahead = b + p.k * kTileCols;
        to.ahead_step = kCacheLine;
        next_line = kCacheLine * depth;
      } else if (fetch_next) {
        to.ahead = p.b.data + k * p.b.stride + col + kTileCols;
        to.ahead_step = p.b.stride;
        next_line = kCacheLine;
      }
      for (int64_t tile = 0; tile < tiles; ++tile) {
        (tile + 1 < tiles ? full : last)(local_a + tile * tile_size(height, depth), height, b, depth, to);
        to.out += height * p.n;
        if (to.add != nullptr) to.add += height * p.n;
        to.ahead = tile + 1 < kTileCols / kCacheLine ? to.ahead + next_line : b;
      }
    }
    k += depth;
  } while (k < p.k);
}

// How out is cut into blocks.
struct Cut {
  int64_t rows, cols;  // numbers of blocks
};

// About how many cycles the product takes when cut so. A step of k costs a tile a cycle per row, but no less than the
// latency of its sums; every task packs its own share of a, and its share of b unless that was packed before.
double cycles(const Product& p, Cut cut, int threads) {
  const int64_t rows = ceil_div(p.m, cut.rows), panels = ceil_div(panels_of(p.n), cut.cols);
  const int64_t latency = 4 * ceil_div(rows, kTileRows);
  const double read_b = p.packed_b != nullptr ? 1 : p.b.transposed ? 14 : 10;
  const double step = double(panels) * (double(rows > latency ? rows : latency) + read_b) + 0.35 * double(rows);
  const double task = double(p.k) * step + 500;
  const double rounds = double(ceil_div(cut.rows * cut.cols, threads));
  // The eighth stands for a thread that was held up: the others can only take over whole tasks.
  return cut.rows * cut.cols == 1 ? task : (rounds + 0.125) * task + 6000;
}

// The cheapest of some: up to four tasks to a thread, and blocks that fit the caches.
Cut best_cut(const Product& p, int threads) {
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

struct PackWeight {
  const Product* product;
  int threads;
};

void pack_weight(void* context, float* out) {
  const PackWeight& w = *static_cast<PackWeight*>(context);
  const Product& p = *w.product;
  parallel_for(w.threads, panels_of(p.n),
               [&](int64_t j) { pack_b(p, out + j * p.k * kTileCols, j * kTileCols, 0, p.k); });
}

}  // namespace

void run(Context& context, const op::Gemm& op) {
  Product p{};
  p.m = op.out.rows;
  p.n = op.out.cols;
  p.k = op.transpose_a ? op.a.rows : op.a.cols;
  if (p.m == 0) return;
  p.depth = p.k == 0 ? 0 : ceil_div(p.k, ceil_div(p.k, kMaxDepth));
  p.a = {floats(op.a), op.a.cols, op.transpose_a};
  p.b = {floats(op.b), op.b.cols, op.transpose_b};
  p.out = floats(op.out);
  p.add = op.accumulate ? p.out : op.residual.rows != 0 ? floats(op.residual) : nullptr;
  p.bias = op.bias.rows != 0 ? floats(op.bias) : nullptr;
  if (op.weight && p.k != 0) {
    PackWeight pack{&p, context.threads};
    p.packed_b = context.packs.get(p.b.data, op.b.rows, op.b.cols, op.transpose_b, panels_of(p.n) * kTileCols * p.k,
                                   pack_weight, &pack);
  }
  const Cut blocks = best_cut(p, context.threads);
  const int64_t panels = panels_of(p.n);
  parallel_for(context.threads, blocks.rows * blocks.cols, [&](int64_t task) {
    const int64_t i = task % blocks.rows, j = task / blocks.rows;
    multiply_block(p, {.row = p.m * i / blocks.rows,
                       .end_row = p.m * (i + 1) / blocks.rows,
                       .panel = panels * j / blocks.cols,
                       .end_panel = panels * (j + 1) / blocks.cols});
  });
}

// Rows are summed in blocks of a fixed size, and the sums of blocks in their order: the same bits however many threads
// there are.
void run(Context& context, const op::BiasBackward& op) {
  constexpr int64_t kRows = 128;
  const int64_t m = op.dout.rows, n = op.dout.cols, blocks = ceil_div(m, kRows), stride = ceil_div(n, kLanes) * kLanes;
  if (m == 0) return;
  float* const sums = scratch(blocks * stride);
  parallel_for(m * n < kTaskElements ? 1 : context.threads, blocks, [&](int64_t block) {
    float* const sum = sums + block * stride;
    const int64_t end = smaller(m, (block + 1) * kRows);
    for (int64_t c = 0; c < stride; c += kLanes) store(sum + c, vec{});
    for (int64_t row = block * kRows; row < end; row += 4) {
      const float* x = floats(op.dout) + row * n;
      const int64_t rows = smaller(4, end - row);
      for (int64_t c = 0; c < n; c += kLanes) {
        vec total = load(sum + c);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
          if (i < rows) total += load_part(x + i * n + c, n - c);
        store(sum + c, total);
      }
    }
  });
  for (int64_t c = 0; c < n; c += kLanes) {
    vec total{};
    for (int64_t block = 0; block < blocks; ++block) total += load(sums + block * stride + c);
    float* const dbias = floats(op.dbias) + c;
    store_part(dbias, load_part(dbias, n - c) + total, n - c);
  }
}

}  // namespace heed::cpu::HEED_LEVEL
