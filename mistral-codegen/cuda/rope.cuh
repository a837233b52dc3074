// Rotary positions (arXiv 2104.09864) of queries and keys, and the cache's new rows.
#pragma once

#include "device.cuh"

namespace mistral {

// Turns by whole circles are taken off in double: a float's angle at position 100,000 is wrong by 0.004.
__device__ __forceinline__ void rotation(int position, double frequency, float& cosine, float& sine) {
    constexpr double circle = 6.283185307179586;
    const double angle = position * frequency;
    const float rest = float(angle - rint(angle / circle) * circle);
    cosine = cosf(rest);
    sine = sinf(rest);
}

// qkv [tokens][qkv_width] float, positions [tokens], frequencies [head_dim / 2]; queries
// [tokens][query_width] float, caches bfloat16. Token i is the newest one of sequence i. A position outside
// of the cache writes queries only. Grid: tokens.
template <class S>
__global__ void __launch_bounds__(S::threads)
rope_append(const float* __restrict__ qkv, const int* __restrict__ positions,
            const double* __restrict__ frequencies, float* __restrict__ queries,
            uint16_t* __restrict__ keys, uint16_t* __restrict__ values, int capacity) {
    constexpr int half = model::head_dim / 2;
    const int token = blockIdx.x, position = positions[token];
    const bool stored = position >= 0 && position < capacity;
    const float* from = qkv + size_t(token) * qkv_width;
    for (int pair = threadIdx.x; pair < (model::n_heads + model::n_kv_heads) * half; pair += S::threads) {
        const int head = pair / half, i = pair % half;
        float cosine, sine;
        rotation(position, frequencies[i], cosine, sine);
        const float a = from[head * model::head_dim + rope_first(i)];
        const float b = from[head * model::head_dim + rope_second(i)];
        const float first = a * cosine - b * sine, second = a * sine + b * cosine;
        if (head < model::n_heads) {
            float* to = queries + size_t(token) * query_width + head * model::head_dim;
            to[rope_first(i)] = first;
            to[rope_second(i)] = second;
        } else if (stored) {
            uint16_t* to = keys + cache_index(token, head - model::n_heads, position, capacity);
            to[rope_first(i)] = to_bf16(first);
            to[rope_second(i)] = to_bf16(second);
        }
    }
    for (int i = threadIdx.x; stored && i < key_width; i += S::threads) {
        const size_t to = cache_index(token, i / model::head_dim, position, capacity) + i % model::head_dim;
        values[to] = to_bf16(from[query_width + key_width + i]);
    }
}

}  // namespace mistral
