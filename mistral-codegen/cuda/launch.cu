// Launchers of every kernel for this model's shapes.
#include <cmath>

#include "attention.cuh"
#include "experts.cuh"
#include "matvec.cuh"
#include "norm.cuh"
#include "rope.cuh"

namespace mistral {

// What a block may have without being asked for.
constexpr size_t plain_shared = 48 * 1024;

// Checks arguments, asks for shared memory beyond the usual, launches, and returns the launch's own error.
template <class Kernel> int ready(Kernel kernel, size_t shared, int tokens, bool pointers) {
    if (tokens < 1 || tokens > model::max_tokens || !pointers) return cudaErrorInvalidValue;
    if (shared <= plain_shared) return cudaSuccess;
    return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared));
}

bool given(const mistral_weights& weights, int bits) {
    return weights.codes != nullptr && (bits == 16 || weights.scales != nullptr);
}

template <class P>
int launch_matvec(const uint16_t* x, mistral_weights w, float* y, int tokens, void* stream) {
    constexpr size_t shared = product_bytes<P, P::cols, P::rows_a_warp>();
    if (int error = ready(matvec<P>, shared, tokens, x && y && given(w, P::bits))) return error;
    const dim3 grid(ceil_div(P::rows, rows_a_block<P>), tokens);
    MISTRAL_LAUNCH(matvec<P>, grid, P::threads, shared, static_cast<cudaStream_t>(stream), x, w, y);
    return cudaGetLastError();
}

}  // namespace mistral

using namespace mistral;

extern "C" {

int mistral_qkv(const uint16_t* x, mistral_weights w, float* y, int tokens, void* stream) {
    return launch_matvec<shape::Qkv>(x, w, y, tokens, stream);
}

int mistral_attention_output(const uint16_t* x, mistral_weights w, float* y, int tokens, void* stream) {
    return launch_matvec<shape::AttentionOutput>(x, w, y, tokens, stream);
}

int mistral_router(const uint16_t* x, mistral_weights w, float* logits, int tokens, void* stream) {
    return launch_matvec<shape::Router>(x, w, logits, tokens, stream);
}

int mistral_head(const uint16_t* x, mistral_weights w, float* logits, int tokens, void* stream) {
    return launch_matvec<shape::Head>(x, w, logits, tokens, stream);
}

int mistral_rms_norm_residual(float* residual, const float* delta, const uint16_t* weight, uint16_t* out,
                              int tokens, void* stream) {
    using S = shape::Norm;
    constexpr size_t shared = norm_bytes<S>();
    if (int error = ready(rms_norm_residual<S>, shared, tokens, residual && weight && out)) return error;
    MISTRAL_LAUNCH(rms_norm_residual<S>, tokens, S::threads, shared, static_cast<cudaStream_t>(stream), residual,
                   delta, weight, out);
    return cudaGetLastError();
}

void mistral_rope_frequencies(double* frequencies) {
    for (int i = 0; i < model::head_dim / 2; ++i) {
        frequencies[i] = std::pow(model::rope_theta, -2.0 * i / model::head_dim);
    }
}

int mistral_rope_append(const float* qkv, const int* positions, const double* frequencies, float* queries,
                        uint16_t* keys, uint16_t* values, int capacity, int tokens, void* stream) {
    using S = shape::Rope;
    const bool pointers = qkv && positions && frequencies && queries && keys && values && capacity > 0;
    if (int error = ready(rope_append<S>, 0, tokens, pointers)) return error;
    MISTRAL_LAUNCH(rope_append<S>, tokens, S::threads, 0, static_cast<cudaStream_t>(stream), qkv, positions,
                   frequencies, queries, keys, values, capacity);
    return cudaGetLastError();
}

size_t mistral_attention_scratch(int sequences) {
    const size_t parts = size_t(model::n_heads) * shape::Attention::split * part_width;
    return sequences > 0 ? size_t(sequences) * parts * sizeof(float) : 0;
}

int mistral_attention(const float* queries, const uint16_t* keys, const uint16_t* values, const int* lengths,
                      float* parts, uint16_t* out, int capacity, int window, int sequences, void* stream) {
    using S = shape::Attention;
    constexpr size_t shared = attention_bytes<S>();
    const bool pointers = queries && keys && values && lengths && parts && out && capacity > 0 && window >= 0;
    if (int error = ready(attention_partial<S>, shared, sequences, pointers)) return error;
    const dim3 grid(S::split, model::n_kv_heads * AttentionCut<S>::head_groups, sequences);
    MISTRAL_LAUNCH(attention_partial<S>, grid, S::threads, shared, static_cast<cudaStream_t>(stream), queries, keys,
                   values, lengths, parts, capacity, window);
    if (int error = cudaGetLastError()) return error;
    const dim3 heads(model::n_heads, sequences);
    MISTRAL_LAUNCH(attention_combine<S>, heads, model::head_dim, 0, static_cast<cudaStream_t>(stream), parts, out);
    return cudaGetLastError();
}

int mistral_route(const float* logits, int* ids, float* weights, int* order, int tokens, void* stream) {
    using S = shape::Route;
    if (int error = ready(route<S>, route_bytes(), tokens, logits && ids && weights && order)) return error;
    MISTRAL_LAUNCH(route<S>, 1, S::threads, route_bytes(), static_cast<cudaStream_t>(stream), logits, ids, weights,
                   order, tokens);
    return cudaGetLastError();
}

int mistral_gate_up(const uint16_t* x, mistral_weights gate, mistral_weights up, const int* ids,
                    const int* order, uint16_t* hidden, int tokens, void* stream) {
    using P = shape::GateUp;
    constexpr size_t shared = product_bytes<P, P::cols, 2 * P::rows_a_warp>();
    const bool routed = model::experts == 1 || (ids && order);
    const bool pointers = x && given(gate, P::bits) && given(up, P::bits) && hidden && routed;
    if (int error = ready(gate_up<P>, shared, tokens, pointers)) return error;
    const dim3 grid(ceil_div(P::rows, pairs_a_block<P>), tokens * chosen);
    MISTRAL_LAUNCH(gate_up<P>, grid, P::threads, shared, static_cast<cudaStream_t>(stream), x, gate, up, ids, order,
                   hidden);
    return cudaGetLastError();
}

int mistral_down(const uint16_t* hidden, mistral_weights matrix, const int* ids, const float* weights,
                 float* out, int tokens, void* stream) {
    using P = shape::Down;
    constexpr size_t shared = product_bytes<P, P::cols, P::rows_a_warp>();
    const bool routed = model::experts == 1 || (ids && weights);
    const bool pointers = hidden && given(matrix, P::bits) && out && routed;
    if (int error = ready(down<P>, shared, tokens, pointers)) return error;
    const dim3 grid(ceil_div(P::rows, pairs_a_block<P>), tokens);
    MISTRAL_LAUNCH(down<P>, grid, P::threads, shared, static_cast<cudaStream_t>(stream), hidden, matrix, ids, weights,
                   out);
    return cudaGetLastError();
}

}  // extern "C"
