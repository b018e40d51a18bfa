// a·b for few rows, with b of 8 bits: the sums are those of gemm_mma.h, over weights that are widened on their way.
#include "native/cuda/gemm_mma.h"

namespace heed::cuda {
namespace mma80 {

// The bytes of b arrive in a ring of kStages. A stage of them is widened into one of two tiles of bf16 while the other
// is multiplied, by the threads that copied it: each its own bytes, so that no barrier is needed between.
template <class Base>
struct Narrow : Base {
  static constexpr bool kNarrow = true;
  static constexpr int kStagesOfB = 2, kOfRow = Base::kCols / 16, kPieces = Base::kDepth * kOfRow;  // of 16 bytes
  using Pieces = Pack<int8_t, 16>[kPieces];
  struct Shared {
    typename Base::A a[Base::kStages];
    typename Base::B b[kStagesOfB];
    Pieces narrow[Base::kStages];
  };
  static_assert(Base::kChain && !Base::kTransposeB && Base::kStages > 2);
  static_assert(Base::kCopy % kOfRow == 0 && kPieces % Base::kCopy == 0);
};

// Sixteen columns, the same in every stage, of every kCopy / kOfRow-th row.
template <class Base, Writes kWrites>
struct NarrowColumns<Narrow<Base>, kWrites> {
  using S = Narrow<Base>;
  static constexpr bool kGated = kWrites == Writes::gated;
  int first, col;  // of the thread's pieces in a stage; in b
  bool inside;
  float scale[16];

  // Gated: sixteen columns of the first half, then their partners.
  __device__ NarrowColumns(const Product& p, int n0, bool copies) {
    first = threadIdx.x - (S::kThreads - S::kCopy);
    const int piece = first % S::kOfRow;
    col = kGated ? n0 / 2 + piece / 2 * 16 + piece % 2 * (p.n / 2) : n0 + 16 * piece;
    inside = copies && n0 + 16 * piece < p.n;
#pragma unroll
    for (int i = 0; i < 16; i += 4) {
      const Pack<float, 4> four = inside ? load_pack<4>(p.scale + col + i) : Pack<float, 4>{};
#pragma unroll
      for (int j = 0; j < 4; ++j) scale[i + j] = four.at[j];
    }
  }

  __device__ void copy(typename S::Pieces& to, const Product& p, int k0) const {
#pragma unroll
    for (int i = 0; i < S::kPieces; i += S::kCopy) {
      const int row = k0 + (i + first) / S::kOfRow;
      const bool valid = inside && row < p.k;
      copy_async(&to[i + first], valid ? p.narrow + int64_t(row) * p.n + col : p.narrow, valid);
    }
  }

  // 2^23 + 128 + x has the byte of x + 128 as its last: exact, and cheaper than conversions, of which there are few
  // units.
  __device__ float widened(uint32_t bytes, int column) const {
    return (__uint_as_float(__byte_perm(bytes, 0x4b000000, 0x7440 + column % 4)) - 8388736.0f) * scale[column];
  }
  __device__ void widen(typename S::B& b, const typename S::Pieces& from) const {
#pragma unroll 2  // more would keep every address in a register
    for (int i = 0; i < S::kPieces; i += S::kCopy) {
      const int row = (i + first) / S::kOfRow, piece = (i + first) % S::kOfRow;
      const Pack<uint32_t, 4> bytes = load_pack<4>(reinterpret_cast<const uint32_t*>(&from[i + first]));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Pack<uint32_t, 4> eight;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int column = 8 * half + 2 * j;
          const uint32_t four = bytes.at[column / 4] ^ 0x80808080;  // each x + 128
          eight.at[j] = pack_bf16(widened(four, column), widened(four, column + 1));
        }
        const int number = kGated ? piece / 2 * 4 + piece % 2 + 2 * half : 2 * piece + half;
        store_pack(reinterpret_cast<uint32_t*>(b.piece(row, number)), eight);
      }
    }
  }
};

}  // namespace mma80

void multiply_narrow(const Product& p, MmaTile tile, cudaStream_t stream) {
  using namespace mma80;
  switch (tile) {
    case MmaTile::m16n32:
      return enqueue_few<Narrow<Shape<false, false, 16, 32, 128, 6, 1, 2, 4>>>(p, stream);
    case MmaTile::m16n64:
      return enqueue_few<Narrow<Shape<false, false, 16, 64, 128, 4, 1, 4, 4>>>(p, stream);
    case MmaTile::m32n32:
      return enqueue_few<Narrow<Shape<false, false, 32, 32, 128, 6, 2, 1, 4>>>(p, stream);
    default:
      return enqueue_few<Narrow<Shape<false, false, 64, 32, 128, 4, 4, 1, 4>>>(p, stream);
  }
}

}  // namespace heed::cuda
