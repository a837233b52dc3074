// y = W x for one token a block column: the attention projections, the router and the head.
#pragma once

#include "device.cuh"

namespace mistral {

template <class P> constexpr int rows_a_block = P::threads / warp_lanes / P::split * P::rows_a_warp;

// x [tokens][cols] bfloat16, y [tokens][rows] float. Grid: (rows / rows_a_block, tokens).
template <class P>
__global__ void __launch_bounds__(P::threads)
matvec(const uint16_t* __restrict__ x, const mistral_weights weights, float* __restrict__ y) {
    MISTRAL_SHARED(memory);
    uint16_t* staged = reinterpret_cast<uint16_t*>(memory);
    auto* parts = reinterpret_cast<typename P::Sum*>(memory + round_up(staged_bytes(P::cols)));
    const int team = threadIdx.x / warp_lanes / P::split, part = threadIdx.x / warp_lanes % P::split;
    const int first = blockIdx.x * rows_a_block<P> + team * P::rows_a_warp;
    stage<P::cols, P::threads>(x + size_t(blockIdx.y) * P::cols, staged);
    __syncthreads();
    Row rows[P::rows_a_warp];
    typename P::Sum sum[P::rows_a_warp] = {};
#pragma unroll
    for (int r = 0; r < P::rows_a_warp; ++r) {
        // A row behind the last one is computed as the last one and not written.
        const int row = first + r < P::rows ? first + r : P::rows - 1;
        rows[r] = row_of<P::bits, P::cols>(weights, row);
    }
    add_products<P, P::bits, P::cols>(rows, staged, part, sum);
    team_sum<P>(sum, parts);
    if (threadIdx.x % warp_lanes == 0 && part == 0) {
#pragma unroll
        for (int r = 0; r < P::rows_a_warp; ++r) {
            if (first + r < P::rows) y[size_t(blockIdx.y) * P::rows + first + r] = float(sum[r]);
        }
    }
}

}  // namespace mistral
