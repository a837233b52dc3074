// Attention of one new token a sequence over its cache: grouped queries, the cache split over blocks
// (Flash-Decoding), softmax on the way (arXiv 1805.02867), then the parts combined.
#pragma once

#include "device.cuh"

namespace mistral {

// How a block is cut: `lanes` lanes read one position, `teams` positions are read at once.
template <class S> struct AttentionCut {
    static constexpr int width = S::vector_bytes / 2;
    static constexpr int lanes = model::head_dim / width;
    static constexpr int teams = S::threads / lanes;
    static constexpr int tile = teams * S::unroll;
    static constexpr int heads_a_key = model::n_heads / model::n_kv_heads;
    static constexpr int head_groups = heads_a_key / S::rows_a_warp;
    static constexpr int outputs = S::rows_a_warp * model::head_dim;
    static_assert(model::head_dim % width == 0 && warp_lanes % lanes == 0, "a team lies in a warp");
    static_assert(heads_a_key % S::rows_a_warp == 0, "blocks have whole sets of query heads");
};

template <class S> constexpr size_t attention_bytes() {
    return size_t(AttentionCut<S>::teams) * (AttentionCut<S>::outputs + 2 * S::rows_a_warp) *
           sizeof(typename S::Sum);
}

// Parts are [sequence][head][split]: head_dim sums not divided yet, the largest score, the sum of weights.
constexpr int part_width = model::head_dim + 2;

// queries [sequences][query_width] float, caches bfloat16, lengths [sequences].
// Grid: (splits, heads of keys * head_groups, sequences).
template <class S>
__global__ void __launch_bounds__(S::threads)
attention_partial(const float* __restrict__ queries, const uint16_t* __restrict__ keys,
                  const uint16_t* __restrict__ values, const int* __restrict__ lengths,
                  float* __restrict__ parts, int capacity, int window) {
    using Cut = AttentionCut<S>;
    using Sum = typename S::Sum;
    static_assert(sizeof(Sum) >= sizeof(float), "sums are float or wider");
    constexpr int heads = S::rows_a_warp, width = Cut::width;
    MISTRAL_SHARED(memory);
    Sum* team_sums = reinterpret_cast<Sum*>(memory);         // [teams][heads][head_dim]
    Sum* team_most = team_sums + Cut::teams * Cut::outputs;  // [teams][heads]
    Sum* team_weight = team_most + Cut::teams * heads;       // [teams][heads]
    const int team = threadIdx.x / Cut::lanes, lane = threadIdx.x % Cut::lanes;
    const int key_head = blockIdx.y / Cut::head_groups, sequence = blockIdx.z;
    const int first_head = key_head * Cut::heads_a_key + blockIdx.y % Cut::head_groups * heads;
    const int length = lengths[sequence] < capacity ? lengths[sequence] : capacity;
    const Range range = split_range(length, window, blockIdx.x, S::split, Cut::tile);
    const size_t base = cache_index(sequence, key_head, 0, capacity) + lane * width;

    float query[heads][width];
    Sum sums[heads][width] = {}, most[heads], weight[heads] = {};
#pragma unroll
    for (int h = 0; h < heads; ++h) {
        most[h] = minus_infinity();
#pragma unroll
        for (int i = 0; i < width; ++i) {
            const size_t at = size_t(sequence) * query_width + (first_head + h) * model::head_dim;
            query[h][i] = queries[at + lane * width + i] * model::softmax_scale;
        }
    }
    // All lanes of a warp take every turn: they exchange sums inside.
    for (int from = range.begin; from < range.end; from += Cut::tile) {
        Vector<S::vector_bytes> key[S::unroll], value[S::unroll];
        bool inside[S::unroll];
#pragma unroll
        for (int u = 0; u < S::unroll; ++u) {
            const int position = from + u * Cut::teams + team;
            inside[u] = position < range.end;
            const size_t at = base + size_t(inside[u] ? position : range.begin) * model::head_dim;
            key[u] = load<S::vector_bytes>(keys + at);
            value[u] = load<S::vector_bytes>(values + at);
        }
#pragma unroll
        for (int h = 0; h < heads; ++h) {
            Sum score[S::unroll], top = most[h];
#pragma unroll
            for (int u = 0; u < S::unroll; ++u) {
                Sum dot = 0;
#pragma unroll
                for (int i = 0; i < width; i += 2) {
                    dot += query[h][i] * float_of(key[u].word[i / 2] << 16);
                    dot += query[h][i + 1] * float_of(key[u].word[i / 2] & 0xFFFF0000u);
                }
                dot = lanes_sum<Cut::lanes>(dot);
                score[u] = inside[u] ? dot : Sum(minus_infinity());
                top = score[u] > top ? score[u] : top;
            }
            // Nothing seen yet: any finite reference keeps all weights at zero.
            const Sum reference = top == Sum(minus_infinity()) ? Sum(0) : top;
            const Sum keep = exp(most[h] - reference);
            most[h] = top;
            weight[h] *= keep;
#pragma unroll
            for (int i = 0; i < width; ++i) sums[h][i] *= keep;
#pragma unroll
            for (int u = 0; u < S::unroll; ++u) {
                const Sum share = exp(score[u] - reference);
                weight[h] += share;
#pragma unroll
                for (int i = 0; i < width; i += 2) {
                    sums[h][i] += share * float_of(value[u].word[i / 2] << 16);
                    sums[h][i + 1] += share * float_of(value[u].word[i / 2] & 0xFFFF0000u);
                }
            }
        }
    }
#pragma unroll
    for (int h = 0; h < heads; ++h) {
#pragma unroll
        for (int i = 0; i < width; ++i) {
            team_sums[(team * heads + h) * model::head_dim + lane * width + i] = sums[h][i];
        }
        if (lane == 0) {
            team_most[team * heads + h] = most[h];
            team_weight[team * heads + h] = weight[h];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < Cut::outputs; i += S::threads) {
        const int h = i / model::head_dim, column = i % model::head_dim;
        Sum top = minus_infinity(), sum = 0, weights = 0;
        for (int t = 0; t < Cut::teams; ++t) top = team_most[t * heads + h] > top ? team_most[t * heads + h] : top;
        const Sum reference = top == Sum(minus_infinity()) ? Sum(0) : top;
        for (int t = 0; t < Cut::teams; ++t) {
            const Sum share = exp(team_most[t * heads + h] - reference);
            sum += share * team_sums[(t * heads + h) * model::head_dim + column];
            weights += share * team_weight[t * heads + h];
        }
        float* out = parts + ((size_t(sequence) * model::n_heads + first_head + h) * S::split + blockIdx.x) * part_width;
        out[column] = float(sum);
        if (column == 0) {
            out[model::head_dim] = float(top);
            out[model::head_dim + 1] = float(weights);
        }
    }
}

// out [sequences][query_width] bfloat16; an empty cache gives zeros. Grid: (heads, sequences).
template <class S>
__global__ void __launch_bounds__(model::head_dim)
attention_combine(const float* __restrict__ parts, uint16_t* __restrict__ out) {
    using Sum = typename S::Sum;
    const size_t head = size_t(blockIdx.y) * model::n_heads + blockIdx.x;
    const float* part = parts + head * S::split * part_width;
    Sum top = minus_infinity(), sum = 0, weights = 0;
    for (int s = 0; s < S::split; ++s) {
        const float most = part[s * part_width + model::head_dim];
        top = most > top ? Sum(most) : top;
    }
    const Sum reference = top == Sum(minus_infinity()) ? Sum(0) : top;
    for (int s = 0; s < S::split; ++s) {
        const Sum share = exp(Sum(part[s * part_width + model::head_dim]) - reference);
        sum += share * part[s * part_width + threadIdx.x];
        weights += share * part[s * part_width + model::head_dim + 1];
    }
    out[head * model::head_dim + threadIdx.x] = to_bf16(weights > 0 ? float(sum / weights) : 0.0f);
}

}  // namespace mistral
