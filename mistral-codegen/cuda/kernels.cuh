// Formats, index functions and packers, for host and device alike.
//
// Weights are row-major. bfloat16: rows * cols values of 16 bits. Four bits ("w4"): element c of a row is
// q in 0..15 in byte c / 2 (low half first), and each group of `model::group` elements has one 32-bit word
// with two float16, scale (low half) and minimum: w = scale * q + minimum. Experts follow each other.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(MISTRAL_EMULATED)
#include "emulate.h"
#else
#include <cuda_runtime.h>
#define MISTRAL_LAUNCH(kernel, grid, threads, shared, stream, ...) \
    kernel<<<grid, threads, shared, stream>>>(__VA_ARGS__)
#define MISTRAL_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

#include "shape.h"

namespace mistral {

constexpr int warp_lanes = 32;

#define MISTRAL_BOTH __host__ __device__ inline

MISTRAL_BOTH constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
MISTRAL_BOTH constexpr size_t round_up(size_t bytes) { return (bytes + 15) / 16 * 16; }

// Bits of a float and back.
MISTRAL_BOTH uint32_t bits_of(float value) {
#if defined(__CUDA_ARCH__)
    return __float_as_uint(value);
#else
    union { float f; uint32_t u; } both = {value};
    return both.u;
#endif
}
MISTRAL_BOTH float float_of(uint32_t bits) {
#if defined(__CUDA_ARCH__)
    return __uint_as_float(bits);
#else
    union { uint32_t u; float f; } both = {bits};
    return both.f;
#endif
}
MISTRAL_BOTH float minus_infinity() { return float_of(0xFF800000u); }

// bfloat16 is the upper half of a float; rounding is to nearest, ties to even, NaN stays NaN.
MISTRAL_BOTH float from_bf16(uint16_t value) { return float_of(uint32_t(value) << 16); }
MISTRAL_BOTH uint16_t to_bf16(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return uint16_t(bits >> 16 | 0x40u);
    return uint16_t((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

// float16 to float: one instruction on the device, the same by integers on the host.
MISTRAL_BOTH float from_f16(uint16_t value) {
#if defined(__CUDA_ARCH__)
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value));
    return wide;
#else
    const uint32_t sign = uint32_t(value & 0x8000u) << 16;
    const uint32_t exponent = value >> 10 & 31u, mantissa = value & 1023u;
    if (exponent == 0) {
        const float small = float(mantissa) * float_of(0x33800000u);  // 2^-24
        return sign ? -small : small;
    }
    if (exponent == 31) return float_of(sign | 0x7F800000u | mantissa << 13);
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
#endif
}

// The float16 nearest to a finite value, for packing; beyond its range the largest one.
inline uint16_t to_f16(float value) {
    const uint32_t bits = bits_of(value);
    const uint16_t sign = uint16_t(bits >> 16 & 0x8000u);
    const float size = float_of(bits & 0x7FFFFFFFu);
    if (!(size < 65504.0f)) return sign | 0x7BFFu;
    if (size < float_of(0x38800000u)) {  // below 2^-14: multiples of 2^-24
        const float scaled = size * 16777216.0f + 8388608.0f;
        return sign | uint16_t(bits_of(scaled) & 0x7FFFu);
    }
    const uint32_t rounded = (bits & 0x7FFFFFFFu) + 0xFFFu + (bits >> 13 & 1u);
    return sign | uint16_t((rounded >> 13) - (112u << 10));
}

// Where the activation of column `col` lies in shared memory: chunks of 8 are exchanged so that lanes that
// read 1, 2 or 4 chunks in a row meet all banks. Its own inverse.
MISTRAL_BOTH constexpr int swizzle(int col) { return (col / 8 ^ (col >> 6 & 3)) * 8 + col % 8; }

// Bytes of shared memory that `cols` staged activations take: swizzled chunks stay in their 32.
MISTRAL_BOTH constexpr size_t staged_bytes(int cols) { return size_t(ceil_div(cols, 32)) * 64; }

// Bytes of one row's codes, and its number of scales.
MISTRAL_BOTH constexpr size_t row_bytes(int bits, int cols) { return size_t(cols) * bits / 8; }
MISTRAL_BOTH constexpr int row_groups(int cols) { return cols / model::group; }

// Caches are [sequence][head of keys][position][head_dim].
MISTRAL_BOTH size_t cache_index(int sequence, int head, int position, int capacity) {
    return ((size_t(sequence) * model::n_kv_heads + head) * capacity + position) * model::head_dim;
}

// One position of a token's projections: queries of all heads, then keys, then values.
constexpr int query_width = model::n_heads * model::head_dim;
constexpr int key_width = model::n_kv_heads * model::head_dim;
constexpr int qkv_width = query_width + 2 * key_width;

// Elements of a head that pair `i` turns.
MISTRAL_BOTH constexpr int rope_first(int i) { return model::rope_interleaved ? 2 * i : i; }
MISTRAL_BOTH constexpr int rope_second(int i) {
    return model::rope_interleaved ? 2 * i + 1 : i + model::head_dim / 2;
}

// Positions [begin, end) of a cache that one split reads. Splits are whole tiles of `tile` positions, so that
// their borders don't depend on rounding; the last ones may be empty.
struct Range { int begin, end; };
MISTRAL_BOTH Range split_range(int length, int window, int split, int splits, int tile) {
    const int start = window > 0 && length > window ? length - window : 0;
    const int chunk = ceil_div(ceil_div(length - start, splits), tile) * tile;
    const long long from = (long long)start + (long long)split * chunk;
    const int begin = from < length ? int(from) : length;
    return {begin, length - begin < chunk ? length : begin + chunk};
}

// Packs one row of weights into codes and scales: the step covers the group's range, rounded to nearest.
inline void pack_w4_row(const float* row, int cols, uint8_t* codes, uint32_t* scales) {
    for (int group = 0; group < row_groups(cols); ++group) {
        const float* values = row + size_t(group) * model::group;
        float low = values[0], high = values[0];
        for (int i = 1; i < model::group; ++i) {
            low = values[i] < low ? values[i] : low;
            high = values[i] > high ? values[i] : high;
        }
        const uint16_t scale = to_f16((high - low) / 15.0f), minimum = to_f16(low);
        const float step = from_f16(scale), base = from_f16(minimum);
        scales[group] = uint32_t(minimum) << 16 | scale;
        for (int i = 0; i < model::group; i += 2) {
            uint8_t both = 0;
            for (int half = 0; half < 2; ++half) {
                const float at = step > 0 ? (values[i + half] - base) / step + 0.5f : 0.0f;
                const int code = at < 0 ? 0 : at > 15 ? 15 : int(at);
                both |= uint8_t(code << 4 * half);
            }
            codes[(size_t(group) * model::group + i) / 2] = both;
        }
    }
}

}  // namespace mistral
