// RMS norm (arXiv 1910.07467) of the residual stream after a layer's output has been added to it.
#pragma once

#include "device.cuh"

namespace mistral {

// residual [tokens][dim] float, changed in place; delta [tokens][dim] float or null; weight [dim] and
// out [tokens][dim] bfloat16. Grid: tokens.
template <class S>
__global__ void __launch_bounds__(S::threads)
rms_norm_residual(float* __restrict__ residual, const float* __restrict__ delta,
                  const uint16_t* __restrict__ weight, uint16_t* __restrict__ out) {
    MISTRAL_SHARED(memory);
    auto* parts = reinterpret_cast<typename S::Sum*>(memory);
    constexpr int width = S::vector_bytes / 4;
    constexpr int steps = ceil_div(model::dim, S::threads * width);
    static_assert(model::dim % width == 0, "rows are whole vectors");
    static_assert(sizeof(typename S::Sum) >= sizeof(float), "sums are float or wider");
    const size_t begin = size_t(blockIdx.x) * model::dim;
    float kept[steps][width];
    typename S::Sum sum = 0;
#pragma unroll
    for (int step = 0; step < steps; ++step) {
        const int col = (step * S::threads + threadIdx.x) * width;
        if (col < model::dim) {
#pragma unroll
            for (int i = 0; i < width; ++i) kept[step][i] = residual[begin + col + i];
            if (delta != nullptr) {
#pragma unroll
                for (int i = 0; i < width; ++i) {
                    kept[step][i] += delta[begin + col + i];
                    residual[begin + col + i] = kept[step][i];
                }
            }
#pragma unroll
            for (int i = 0; i < width; ++i) sum += kept[step][i] * kept[step][i];
        }
    }
    sum = lanes_sum<warp_lanes>(sum);
    if (threadIdx.x % warp_lanes == 0) parts[threadIdx.x / warp_lanes] = sum;
    __syncthreads();
    typename S::Sum total = 0;
#pragma unroll
    for (int warp = 0; warp < S::threads / warp_lanes; ++warp) total += parts[warp];
    const float factor = 1.0f / sqrtf(float(total) / model::dim + model::norm_eps);
#pragma unroll
    for (int step = 0; step < steps; ++step) {
        const int col = (step * S::threads + threadIdx.x) * width;
        if (col < model::dim) {
#pragma unroll
            for (int i = 0; i < width; ++i) {
                out[begin + col + i] = to_bf16(kept[step][i] * factor * from_bf16(weight[col + i]));
            }
        }
    }
}

template <class S> constexpr size_t norm_bytes() {
    return S::threads / warp_lanes * sizeof(typename S::Sum);
}

}  // namespace mistral
