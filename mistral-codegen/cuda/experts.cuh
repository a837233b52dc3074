// The feed-forward part: routing, gate and up with SwiGLU, down and the weighted sum. Nothing returns to the
// host in between. A dense layer is one expert.
#pragma once

#include "device.cuh"

namespace mistral {

constexpr int chosen = model::experts_per_token;
constexpr int most_slots = model::max_tokens * chosen;

constexpr size_t route_bytes() { return size_t(most_slots) * sizeof(int); }

// The largest value over a warp and its id, ties to the lower id.
__device__ __forceinline__ void warp_best(float& value, int& id) {
#pragma unroll
    for (int step = warp_lanes / 2; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(all_lanes, value, step);
        const int other_id = __shfl_xor_sync(all_lanes, id, step);
        if (other > value || (other == value && other_id < id)) value = other, id = other_id;
    }
}

// logits [tokens][experts] float; ids and weights [tokens][chosen], softmax over the chosen logits; order
// [tokens * chosen]: slots (token * chosen + rank) sorted by expert, stable, so that blocks that run
// together read the same weights. One block. A NaN is never preferred.
template <class S>
__global__ void __launch_bounds__(S::threads)
route(const float* __restrict__ logits, int* __restrict__ ids, float* __restrict__ weights,
      int* __restrict__ order, int tokens) {
    MISTRAL_SHARED(memory);
    int* shared_ids = reinterpret_cast<int*>(memory);
    constexpr int a_lane = ceil_div(model::experts, warp_lanes);
    const int lane = threadIdx.x % warp_lanes;
    for (int token = threadIdx.x / warp_lanes; token < tokens; token += S::threads / warp_lanes) {
        float value[a_lane], best[chosen];
#pragma unroll
        for (int i = 0; i < a_lane; ++i) {
            const int expert = i * warp_lanes + lane;
            value[i] = expert < model::experts ? logits[size_t(token) * model::experts + expert] : minus_infinity();
            value[i] = value[i] == value[i] ? value[i] : minus_infinity();
        }
        uint32_t taken = 0;
#pragma unroll
        for (int rank = 0; rank < chosen; ++rank) {
            float most = minus_infinity();
            int id = model::experts;
#pragma unroll
            for (int i = 0; i < a_lane; ++i) {
                const int expert = i * warp_lanes + lane;
                const bool free = expert < model::experts && !(taken >> i & 1u);
                if (free && (value[i] > most || (value[i] == most && expert < id))) most = value[i], id = expert;
            }
            warp_best(most, id);
            best[rank] = most;
            if (id % warp_lanes == lane) taken |= 1u << id / warp_lanes;
            if (lane == 0) {
                shared_ids[token * chosen + rank] = id;
                ids[token * chosen + rank] = id;
            }
        }
        float sum = 0;
#pragma unroll
        for (int rank = 0; rank < chosen; ++rank) sum += expf(best[rank] - best[0]);
        if (lane == 0) {
#pragma unroll
            for (int rank = 0; rank < chosen; ++rank) {
                weights[token * chosen + rank] = expf(best[rank] - best[0]) / sum * model::routed_scale;
            }
        }
    }
    __syncthreads();
    for (int expert = threadIdx.x; expert < model::experts; expert += S::threads) {
        int at = 0;
        for (int slot = 0; slot < tokens * chosen; ++slot) at += shared_ids[slot] < expert;
        for (int slot = 0; slot < tokens * chosen; ++slot) {
            if (shared_ids[slot] == expert) order[at++] = slot;
        }
    }
}

__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }

template <class P> constexpr int pairs_a_block = P::threads / warp_lanes / P::split * P::rows_a_warp;

// x [tokens][dim] bfloat16; gate and up [experts][hidden_dim][dim]; hidden [tokens * chosen][hidden_dim]
// bfloat16. Grid: (hidden_dim / pairs_a_block, tokens * chosen).
template <class P>
__global__ void __launch_bounds__(P::threads)
gate_up(const uint16_t* __restrict__ x, const mistral_weights gate, const mistral_weights up,
        const int* __restrict__ ids, const int* __restrict__ order, uint16_t* __restrict__ hidden) {
    MISTRAL_SHARED(memory);
    constexpr int pairs = P::rows_a_warp;
    uint16_t* staged = reinterpret_cast<uint16_t*>(memory);
    auto* parts = reinterpret_cast<typename P::Sum*>(memory + round_up(staged_bytes(P::cols)));
    const int slot = model::experts > 1 ? order[blockIdx.y] : blockIdx.y;
    const int expert = model::experts > 1 ? ids[slot] : 0;
    const int team = threadIdx.x / warp_lanes / P::split, part = threadIdx.x / warp_lanes % P::split;
    const int first = blockIdx.x * pairs_a_block<P> + team * pairs;
    stage<P::cols, P::threads>(x + size_t(slot / chosen) * P::cols, staged);
    __syncthreads();
    Row rows[2 * pairs];
    typename P::Sum sum[2 * pairs] = {};
#pragma unroll
    for (int r = 0; r < pairs; ++r) {
        const int row = first + r < P::rows ? first + r : P::rows - 1;
        rows[r] = row_of<P::bits, P::cols>(gate, size_t(expert) * P::rows + row);
        rows[pairs + r] = row_of<P::bits, P::cols>(up, size_t(expert) * P::rows + row);
    }
    add_products<P, P::bits, P::cols>(rows, staged, part, sum);
    team_sum<P>(sum, parts);
    if (threadIdx.x % warp_lanes == 0 && part == 0) {
#pragma unroll
        for (int r = 0; r < pairs; ++r) {
            if (first + r < P::rows) {
                hidden[size_t(slot) * P::rows + first + r] = to_bf16(silu(float(sum[r])) * float(sum[pairs + r]));
            }
        }
    }
}

// hidden [tokens * chosen][hidden_dim] bfloat16, weights [tokens][chosen]; down [experts][dim][hidden_dim];
// out [tokens][dim] float: experts are added in the order of their ranks. Grid: (dim / rows_a_block, tokens).
template <class P>
__global__ void __launch_bounds__(P::threads)
down(const uint16_t* __restrict__ hidden, const mistral_weights matrix, const int* __restrict__ ids,
     const float* __restrict__ weights, float* __restrict__ out) {
    MISTRAL_SHARED(memory);
    constexpr int count = P::rows_a_warp;
    uint16_t* staged = reinterpret_cast<uint16_t*>(memory);
    auto* parts = reinterpret_cast<typename P::Sum*>(memory + round_up(staged_bytes(P::cols)));
    const int team = threadIdx.x / warp_lanes / P::split, part = threadIdx.x / warp_lanes % P::split;
    const int first = blockIdx.x * pairs_a_block<P> + team * count;
    typename P::Sum total[count] = {};
    for (int rank = 0; rank < chosen; ++rank) {
        const int slot = blockIdx.y * chosen + rank;
        const int expert = model::experts > 1 ? ids[slot] : 0;
        const float weight = model::experts > 1 ? weights[slot] : 1.0f;
        if (rank > 0) __syncthreads();  // everybody has read the rank before
        stage<P::cols, P::threads>(hidden + size_t(slot) * P::cols, staged);
        __syncthreads();
        Row rows[count];
        typename P::Sum sum[count] = {};
#pragma unroll
        for (int r = 0; r < count; ++r) {
            const int row = first + r < P::rows ? first + r : P::rows - 1;
            rows[r] = row_of<P::bits, P::cols>(matrix, size_t(expert) * P::rows + row);
        }
        add_products<P, P::bits, P::cols>(rows, staged, part, sum);
#pragma unroll
        for (int r = 0; r < count; ++r) total[r] += weight * sum[r];
    }
    team_sum<P>(total, parts);
    if (threadIdx.x % warp_lanes == 0 && part == 0) {
#pragma unroll
        for (int r = 0; r < count; ++r) {
            if (first + r < P::rows) out[size_t(blockIdx.y) * P::rows + first + r] = float(total[r]);
        }
    }
}

}  // namespace mistral
