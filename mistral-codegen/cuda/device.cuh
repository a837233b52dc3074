// What the kernels share: loads, reductions, products of rows.
#pragma once

#include <type_traits>

#include "kernels.cuh"
#include "launch.h"

namespace mistral {

constexpr unsigned all_lanes = 0xFFFFFFFFu;

// A vector of `Bytes` read at once.
template <int Bytes> struct alignas(Bytes) Vector { uint32_t word[Bytes / 4]; };

template <int Bytes> __device__ __forceinline__ Vector<Bytes> load(const void* from) {
    static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16, "a vector is one load");
    Vector<Bytes> out;
    if constexpr (Bytes == 16) {
        const uint4 v = __ldg(static_cast<const uint4*>(from));
        out.word[0] = v.x, out.word[1] = v.y, out.word[2] = v.z, out.word[3] = v.w;
    } else if constexpr (Bytes == 8) {
        const uint2 v = __ldg(static_cast<const uint2*>(from));
        out.word[0] = v.x, out.word[1] = v.y;
    } else {
        out.word[0] = __ldg(static_cast<const unsigned*>(from));
    }
    return out;
}

// Sum over aligned groups of `Lanes` lanes; every lane of the warp takes part and has its group's sum.
template <int Lanes, class T> __device__ __forceinline__ T lanes_sum(T value) {
#pragma unroll
    for (int step = Lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(all_lanes, value, step);
    return value;
}

// Copies activations into shared memory in swizzled order, eight at a time. The caller synchronises.
template <int Cols, int Threads>
__device__ __forceinline__ void stage(const uint16_t* __restrict__ from, uint16_t* to) {
    static_assert(Cols % 8 == 0, "activations are copied in chunks of 8");
    for (int chunk = threadIdx.x; chunk < Cols / 8; chunk += Threads) {
        *reinterpret_cast<uint4*>(to + swizzle(chunk * 8)) =
            __ldg(reinterpret_cast<const uint4*>(from) + chunk);
    }
}

// One row of weights.
struct Row {
    const uint8_t* codes;
    const uint32_t* scales;
};

template <int Bits, int Cols>
__device__ __forceinline__ Row row_of(const mistral_weights& weights, size_t row) {
    return {static_cast<const uint8_t*>(weights.codes) + row * row_bytes(Bits, Cols),
            static_cast<const uint32_t*>(weights.scales) + (Bits == 4 ? row * row_groups(Cols) : 0)};
}

// One vector of each row times its activations.
template <class S, int Bits, int Rows>
__device__ __forceinline__ void add_vector(const Vector<S::vector_bytes> (&codes)[Rows],
                                           const uint32_t (&scales)[Rows], const uint16_t* staged, int col,
                                           typename S::Sum (&sum)[Rows]) {
    constexpr int width = S::vector_bytes * 8 / Bits;
    float x[width];
    float x_sum = 0;
    constexpr int chunk = width < 8 ? width : 8;  // contiguous in shared memory
#pragma unroll
    for (int i = 0; i < width; i += chunk) {
        const auto read = *reinterpret_cast<const Vector<chunk * 2>*>(staged + swizzle(col + i));
#pragma unroll
        for (int j = 0; j < chunk; j += 2) {
            x[i + j] = float_of(read.word[j / 2] << 16);
            x[i + j + 1] = float_of(read.word[j / 2] & 0xFFFF0000u);
            x_sum += x[i + j] + x[i + j + 1];
        }
    }
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
        if constexpr (Bits == 16) {
#pragma unroll
            for (int i = 0; i < width; i += 2) {
                const uint32_t pair = codes[r].word[i / 2];
                sum[r] += float_of(pair << 16) * x[i];
                sum[r] += float_of(pair & 0xFFFF0000u) * x[i + 1];
            }
        } else {
            // A code in the upper bits of a mantissa is the float 16 + q: no conversion is needed, and the
            // sixteen is taken off the minimum.
            float dot = 0;
#pragma unroll
            for (int i = 0; i < width; ++i) {
                const uint32_t word = codes[r].word[i / 8];
                const int shift = 19 - 4 * (i % 8);
                const uint32_t moved = shift >= 0 ? word << (shift & 31) : word >> (-shift & 31);
                dot += float_of((moved & 0x00780000u) | 0x41800000u) * x[i];
            }
            const float scale = from_f16(uint16_t(scales[r]));
            const float minimum = from_f16(uint16_t(scales[r] >> 16));
            sum[r] += scale * dot + (minimum - 16.0f * scale) * x_sum;
        }
    }
}

// Adds to `sum` the products of `Rows` rows with the staged activations, over the steps `first`,
// `first + S::split`, …; each lane has its part of them. A step is one vector a lane.
template <class S, int Bits, int Cols, int Rows>
__device__ __forceinline__ void add_products(const Row (&rows)[Rows], const uint16_t* staged, int first,
                                             typename S::Sum (&sum)[Rows]) {
    static_assert(std::is_same<typename S::Sum, float>::value || std::is_same<typename S::Sum, double>::value,
                  "sums are float or wider");
    constexpr int width = S::vector_bytes * 8 / Bits;
    constexpr int steps = (Cols + warp_lanes * width - 1) / (warp_lanes * width);
    static_assert(Cols % width == 0 && width % 2 == 0, "rows are whole vectors");
    static_assert(Bits == 16 || model::group % width == 0, "a vector has one scale");
    const int lane = threadIdx.x % warp_lanes;
    for (int step = first; step < steps; step += S::split * S::unroll) {
        Vector<S::vector_bytes> codes[S::unroll][Rows];
        uint32_t scales[S::unroll][Rows];
#pragma unroll
        for (int u = 0; u < S::unroll; ++u) {
            const int col = ((step + u * S::split) * warp_lanes + lane) * width;
            if (col < Cols) {
#pragma unroll
                for (int r = 0; r < Rows; ++r) {
                    codes[u][r] = load<S::vector_bytes>(rows[r].codes + row_bytes(Bits, col));
                    scales[u][r] = Bits == 4 ? __ldg(rows[r].scales + col / model::group) : 0;
                }
            }
        }
#pragma unroll
        for (int u = 0; u < S::unroll; ++u) {
            const int col = ((step + u * S::split) * warp_lanes + lane) * width;
            if (col < Cols) add_vector<S, Bits, Rows>(codes[u], scales[u], staged, col, sum);
        }
    }
}

// Sums of the warps that share rows. Thread `lane 0` of a team's first warp has the result in `sum`.
template <class S, int Rows>
__device__ __forceinline__ void team_sum(typename S::Sum (&sum)[Rows], typename S::Sum* parts) {
    const int lane = threadIdx.x % warp_lanes, warp = threadIdx.x / warp_lanes;
#pragma unroll
    for (int r = 0; r < Rows; ++r) sum[r] = lanes_sum<warp_lanes>(sum[r]);
    if constexpr (S::split > 1) {
        if (lane == 0) {
#pragma unroll
            for (int r = 0; r < Rows; ++r) parts[warp * Rows + r] = sum[r];
        }
        __syncthreads();
        if (lane == 0 && warp % S::split == 0) {
#pragma unroll
            for (int r = 0; r < Rows; ++r) {
                for (int other = 1; other < S::split; ++other) sum[r] += parts[(warp + other) * Rows + r];
            }
        }
    }
}

// Shared memory of a product: staged activations, then the parts of `team_sum`.
template <class S, int Cols, int Rows> constexpr size_t product_bytes() {
    return round_up(staged_bytes(Cols)) +
           (S::split > 1 ? S::threads / warp_lanes * Rows * sizeof(typename S::Sum) : 0);
}

}  // namespace mistral
