// What the test stands on: buffers that notice every write, random inputs, comparison with bounds, timing.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels.cuh"
#include "launch.h"

namespace check {

inline int failures = 0;
inline int wrong_shown = 0;
inline uint64_t state = 1;

inline uint64_t random_bits() {  // splitmix64
    uint64_t z = state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}
inline float uniform() { return float(random_bits() >> 40) / float(1 << 23) - 1.0f; }

inline void fail(const std::string& what) {
    ++failures;
    if (++wrong_shown <= 20) printf("  wrong: %s\n", what.c_str());
}

inline void need(int error, const char* what) {
    if (error == cudaSuccess) return;
    printf("  %s: %s\n", what, cudaGetErrorString(static_cast<cudaError_t>(error)));
    exit(2);
}

constexpr size_t guard = 256;           // bytes before and behind each buffer that nobody may write
constexpr unsigned char mark = 0xA5;    // what they hold

// Device memory with a copy of what the host gave it.
template <class T> struct Buffer {
    std::vector<T> host;
    unsigned char* memory = nullptr;

    explicit Buffer(size_t count) : host(count) {
        need(cudaMalloc(reinterpret_cast<void**>(&memory), bytes() + 2 * guard), "allocation");
    }
    Buffer(const Buffer&) = delete;
    ~Buffer() { cudaFree(memory); }

    size_t bytes() const { return host.size() * sizeof(T); }
    T* device() const { return reinterpret_cast<T*>(memory + guard); }

    // Input: the host's values.
    void give() const {
        std::vector<unsigned char> all(bytes() + 2 * guard, mark);
        std::copy_n(reinterpret_cast<const unsigned char*>(host.data()), bytes(), all.data() + guard);
        need(cudaMemcpy(memory, all.data(), all.size(), cudaMemcpyHostToDevice), "copy");
    }
    // Output: 0xFF everywhere, which is NaN in every float format and -1 in integers.
    void poison() {
        std::fill_n(reinterpret_cast<unsigned char*>(host.data()), bytes(), 0xFF);
        give();
    }
    // The device's values; guards have to be whole.
    std::vector<T> take(const char* name) const {
        std::vector<unsigned char> all(bytes() + 2 * guard);
        need(cudaMemcpy(all.data(), memory, all.size(), cudaMemcpyDeviceToHost), "copy back");
        for (size_t i = 0; i < guard; ++i) {
            if (all[i] != mark || all[guard + bytes() + i] != mark) {
                fail(std::string(name) + " was written outside of its bounds");
                break;
            }
        }
        std::vector<T> out(host.size());
        std::copy_n(all.data() + guard, bytes(), reinterpret_cast<unsigned char*>(out.data()));
        return out;
    }
    void unchanged(const char* name) const {
        const std::vector<T> now = take(name);
        if (bytes() > 0 && memcmp(now.data(), host.data(), bytes()) != 0) fail(std::string(name) + " is an input and was changed");
    }
};

inline double value_of(float x) { return x; }
inline double value_of(uint16_t x) { return mistral::from_bf16(x); }

// What an output should be: a value and how far off it may be.
struct Expected { double value, bound; };

// Float sums: a bound relative to the sum of magnitudes.
inline Expected sum_of(double value, double magnitude) { return {value, 1e-6 * magnitude + 1e-30}; }
// The same, rounded to bfloat16.
inline Expected rounded(Expected e) { return {e.value, e.bound + std::fabs(e.value) / 255.0}; }

template <class T>
void compare(const char* name, const std::vector<T>& found, const std::vector<Expected>& expected) {
    if (found.size() != expected.size()) return fail(std::string(name) + " has another size");
    double worst = 0;
    for (size_t i = 0; i < found.size(); ++i) {
        const double x = value_of(found[i]), off = std::fabs(x - expected[i].value);
        if (!(off <= expected[i].bound)) {
            char text[160];
            snprintf(text, sizeof text, "%s[%zu] is %.9g, expected %.9g within %.2g", name, i, x, expected[i].value,
                     expected[i].bound);
            fail(text);
        }
        worst = std::max(worst, off / expected[i].bound);
    }
    printf("  %s: %zu values, error at most %.2f of its bound\n", name, found.size(), worst);
}

inline void equal(const char* name, const std::vector<int>& found, const std::vector<int>& expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
        if (i >= found.size() || found[i] != expected[i]) {
            return fail(std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(found[i]) +
                        ", expected " + std::to_string(expected[i]));
        }
    }
}

// Random weights of one matrix, and the value of each element.
struct Matrix {
    int rows, cols, bits;
    Buffer<uint16_t> codes;
    Buffer<uint32_t> scales;

    Matrix(int rows, int cols, int bits)
        : rows(rows), cols(cols), bits(bits), codes(size_t(rows) * cols * bits / 16),
          scales(bits == 4 ? size_t(rows) * mistral::row_groups(cols) : 0) {}

    void fill() {
        for (auto& code : codes.host) {
            code = bits == 16 ? mistral::to_bf16(uniform() * 0.1f) : uint16_t(random_bits());
        }
        for (auto& scale : scales.host) {
            const uint32_t minimum = mistral::to_f16(uniform() * 0.1f);
            scale = minimum << 16 | mistral::to_f16(0.01f + 0.005f * uniform());
        }
        codes.give();
        scales.give();
    }
    mistral_weights weights() const { return {codes.device(), scales.device()}; }

    // The element, and the magnitude of what a kernel adds up for it.
    Expected at(size_t row, int col) const {
        if (bits == 16) {
            const double w = mistral::from_bf16(codes.host[row * cols + col]);
            return {w, std::fabs(w)};
        }
        const uint32_t pair = scales.host[row * mistral::row_groups(cols) + col / model::group];
        const int code = codes.host[(row * cols + col) / 4] >> 4 * (col % 4) & 15;
        const double scale = mistral::from_f16(uint16_t(pair)), minimum = mistral::from_f16(uint16_t(pair >> 16));
        return {scale * code + minimum, std::fabs(scale) * 31 + std::fabs(minimum)};
    }
    // The product of a row with bfloat16 activations.
    Expected times(size_t row, const uint16_t* x) const {
        double value = 0, magnitude = 0;
        for (int col = 0; col < cols; ++col) {
            const Expected w = at(row, col);
            const double activation = mistral::from_bf16(x[col]);
            value += w.value * activation;
            magnitude += w.bound * std::fabs(activation);
        }
        return sum_of(value, magnitude);
    }
    void unchanged() const {
        codes.unchanged("weights");
        scales.unchanged("scales");
    }
};

inline void fill(Buffer<uint16_t>& buffer) {
    for (auto& x : buffer.host) x = mistral::to_bf16(uniform());
    buffer.give();
}
inline void fill(Buffer<float>& buffer) {
    for (auto& x : buffer.host) x = uniform();
    buffer.give();
}

// A packed row is within half a step of what went in, and float16 survives the way there and back.
inline void packing(int runs) {
    std::vector<float> row(model::dim);
    std::vector<uint8_t> codes(model::dim / 2);
    std::vector<uint32_t> scales(mistral::row_groups(model::dim));
    for (int run = 0; run < runs; ++run) {
        for (auto& x : row) x = uniform() * (run == 0 ? 1.0f : 0.02f);
        mistral::pack_w4_row(row.data(), model::dim, codes.data(), scales.data());
        for (int col = 0; col < model::dim; ++col) {
            const uint32_t pair = scales[col / model::group];
            const float step = mistral::from_f16(uint16_t(pair)), low = mistral::from_f16(uint16_t(pair >> 16));
            const float read = step * (codes[col / 2] >> 4 * (col % 2) & 15) + low;
            if (!(std::fabs(read - row[col]) <= 0.53f * step + 1e-3f * std::fabs(low))) fail("a packed weight is off");
        }
    }
    for (int bits = 0; bits < 65536; ++bits) {
        if ((bits >> 10 & 31) != 31 && mistral::to_f16(mistral::from_f16(uint16_t(bits))) != bits) fail("a float16 changed");
    }
    for (int col = 0; col < 4096; ++col) {
        if (mistral::swizzle(mistral::swizzle(col)) != col) fail("the order of activations isn't its own inverse");
    }
}

#if defined(MISTRAL_EMULATED)
// An emulated launch says nothing about speed.
inline void timed(const char*, double, const std::function<int()>&) {}
#else
// Median time between two events around one launch, with the caches flushed before each; `bytes` is what has
// to be read at least.
inline void timed(const char* name, double bytes, const std::function<int()>& launch) {
    constexpr int runs = 21;
    constexpr size_t flush_bytes = size_t(256) << 20;
    static void* flushed = nullptr;
    if (!flushed) need(cudaMalloc(&flushed, flush_bytes), "allocation");
    cudaEvent_t begin, end;
    need(cudaEventCreate(&begin), "event");
    need(cudaEventCreate(&end), "event");
    std::vector<float> ms(runs);
    for (int run = -2; run < runs; ++run) {
        need(cudaMemsetAsync(flushed, run & 0xFF, flush_bytes, nullptr), "flush");
        need(cudaDeviceSynchronize(), "flush");
        need(cudaEventRecord(begin, nullptr), "event");
        need(launch(), name);
        need(cudaEventRecord(end, nullptr), "event");
        need(cudaEventSynchronize(end), name);
        float one = 0;
        need(cudaEventElapsedTime(&one, begin, end), "event");
        if (run >= 0) ms[run] = one;
    }
    std::sort(ms.begin(), ms.end());
    printf("  %s: median %.4f ms (fastest %.4f), %.1f GB/s\n", name, ms[runs / 2], ms[0], bytes / ms[runs / 2] * 1e-6);
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
}
#endif

}  // namespace check
