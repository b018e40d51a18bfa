// The products of a warpgroup, by the number of columns: PTX wants every register named.
#pragma once

#include <cstdint>

namespace heed::cuda {

// Along which index an operand's neighbours in memory lie.
enum class Major { k = 0, mn = 1 };

// clang-format off
#define HEED_C8(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), \
                   "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define HEED_C32(i) HEED_C8(i), HEED_C8(i + 8), HEED_C8(i + 16), HEED_C8(i + 24)

// c (64, kCols) += a (64, 16) · b (16, kCols), in the background: c is not to be touched until the products are waited
// for. Warp w of the group has rows 16 w to 16 w + 15; c[4 j + i] is element i of mma's c in columns 8 j to 8 j + 7.
template <int kCols, Major kA, Major kB>
__device__ void wgmma(float (&c)[kCols / 2], uint64_t a, uint64_t b) {
  static_assert(kCols == 64 || kCols == 128 || kCols == 192 || kCols == 256);
  if constexpr (kCols == 64)
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
        "}, %32, %33, 1, 1, 1, %34, %35;"
        : HEED_C32(0)
        : "l"(a), "l"(b), "n"(int(kA)), "n"(int(kB)));
  if constexpr (kCols == 128)
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
        "}, %64, %65, 1, 1, 1, %66, %67;"
        : HEED_C32(0), HEED_C32(32)
        : "l"(a), "l"(b), "n"(int(kA)), "n"(int(kB)));
  if constexpr (kCols == 192)
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
        "}, %96, %97, 1, 1, 1, %98, %99;"
        : HEED_C32(0), HEED_C32(32), HEED_C32(64)
        : "l"(a), "l"(b), "n"(int(kA)), "n"(int(kB)));
  if constexpr (kCols == 256)
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
        "}, %128, %129, 1, 1, 1, %130, %131;"
        : HEED_C32(0), HEED_C32(32), HEED_C32(64), HEED_C32(96)
        : "l"(a), "l"(b), "n"(int(kA)), "n"(int(kB)));
}

// The same, c as mma's pieces of 8 columns. kAdd being false c = a · b, which is the sum from c = 0.
#define HEED_P(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define HEED_P8(j) HEED_P(j), HEED_P(j + 1), HEED_P(j + 2), HEED_P(j + 3), \
                   HEED_P(j + 4), HEED_P(j + 5), HEED_P(j + 6), HEED_P(j + 7)
#define HEED_D(j) "=f"(c[j][0]), "=f"(c[j][1]), "=f"(c[j][2]), "=f"(c[j][3])
#define HEED_D8(j) HEED_D(j), HEED_D(j + 1), HEED_D(j + 2), HEED_D(j + 3), \
                   HEED_D(j + 4), HEED_D(j + 5), HEED_D(j + 6), HEED_D(j + 7)
template <int kPieces, Major kA, Major kB, bool kAdd>
__device__ void wgmma(float (&c)[kPieces][4], uint64_t a, uint64_t b) {
  static_assert(kPieces == 8);
  if constexpr (kAdd)
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
        "}, %32, %33, 1, 1, 1, %34, %35;"
        : HEED_P8(0)
        : "l"(a), "l"(b), "n"(int(kA)), "n"(int(kB)));
  else
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
        "}, %32, %33, 0, 1, 1, %34, %35;"
        : HEED_D8(0)
        : "l"(a), "l"(b), "n"(int(kA)), "n"(int(kB)));
}

// a in registers as mma's; they too are not to be touched.
template <int kPieces, Major kB, bool kAdd = true>
__device__ void wgmma(float (&c)[kPieces][4], const uint32_t (&a)[4], uint64_t b) {
  static_assert(kPieces == 8 || (kPieces == 16 && kAdd));
  if constexpr (kPieces == 8 && kAdd)
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
        "}, {%32, %33, %34, %35}, %36, 1, 1, 1, %37;"
        : HEED_P8(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(int(kB)));
  if constexpr (kPieces == 8 && !kAdd)
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
        "}, {%32, %33, %34, %35}, %36, 0, 1, 1, %37;"
        : HEED_D8(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(int(kB)));
  if constexpr (kPieces == 16)
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
        "}, {%64, %65, %66, %67}, %68, 1, 1, 1, %69;"
        : HEED_P8(0), HEED_P8(8)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(int(kB)));
}
#undef HEED_D8
#undef HEED_D
#undef HEED_P8
#undef HEED_P
#undef HEED_C32
#undef HEED_C8
// clang-format on

}  // namespace heed::cuda
