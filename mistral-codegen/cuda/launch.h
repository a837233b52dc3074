/* Launchers, with a C interface. Each returns a cudaError_t as int: 0 is success, and a wrong number of
 * tokens or a missing pointer is refused with cudaErrorInvalidValue (1) before anything is launched. They
 * only enqueue on `stream` (a cudaStream_t, null for the default one); nothing is allocated or waited for.
 * Pointers are to device memory, aligned to 16 bytes. bfloat16 values are uint16_t. Shapes are in shape.h. */
#ifndef MISTRAL_LAUNCH_H
#define MISTRAL_LAUNCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `codes`: bfloat16 values, or packed four-bit codes with their `scales` (see kernels.cuh). */
typedef struct {
    const void* codes;
    const void* scales;
} mistral_weights;

/* y [tokens][rows] = W x, x [tokens][cols]. */
int mistral_qkv(const uint16_t* x, mistral_weights w, float* y, int tokens, void* stream);
int mistral_attention_output(const uint16_t* x, mistral_weights w, float* y, int tokens, void* stream);
int mistral_router(const uint16_t* x, mistral_weights w, float* logits, int tokens, void* stream);
int mistral_head(const uint16_t* x, mistral_weights w, float* logits, int tokens, void* stream);

/* residual += delta (unless null); out = norm(residual) * weight. */
int mistral_rms_norm_residual(float* residual, const float* delta, const uint16_t* weight, uint16_t* out,
                              int tokens, void* stream);

/* The frequencies that mistral_rope_append reads, head_dim / 2 of them, into host memory. */
void mistral_rope_frequencies(double* frequencies);

/* Rotates queries and keys, and writes keys and values of token i at positions[i] of sequence i. */
int mistral_rope_append(const float* qkv, const int* positions, const double* frequencies, float* queries,
                        uint16_t* keys, uint16_t* values, int capacity, int tokens, void* stream);

/* Bytes of `parts` for so many sequences. */
size_t mistral_attention_scratch(int sequences);

/* Attention of each sequence's newest token over `lengths[i]` positions, itself included; a `window` above 0
 * keeps the last ones only. */
int mistral_attention(const float* queries, const uint16_t* keys, const uint16_t* values, const int* lengths,
                      float* parts, uint16_t* out, int capacity, int window, int sequences, void* stream);

/* Routing: ids, weights and order have tokens * experts_per_token entries each. */
int mistral_route(const float* logits, int* ids, float* weights, int* order, int tokens, void* stream);

/* hidden [tokens * experts_per_token][hidden_dim]. A dense model passes null for ids, order and weights. */
int mistral_gate_up(const uint16_t* x, mistral_weights gate, mistral_weights up, const int* ids,
                    const int* order, uint16_t* hidden, int tokens, void* stream);
int mistral_down(const uint16_t* hidden, mistral_weights down, const int* ids, const float* weights,
                 float* out, int tokens, void* stream);

#ifdef __cplusplus
}
#endif
#endif
