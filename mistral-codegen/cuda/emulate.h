// Runs kernels on the host: the same sources, compiled by a C++ compiler with -DMISTRAL_EMULATED.
//
// Each CUDA thread of a block is a fiber. A fiber runs until it meets __syncthreads or a warp exchange; then
// another one that may go on is drawn at random, so that what isn't ordered by a barrier happens in every
// order sooner or later. Blocks come in random order, too. Shared memory is allocated anew for each block with
// exactly the size of the launch and filled with 0xFF (NaN). A barrier that some threads never reach, and an
// exchange that some lanes leave out, end the program with status 3. What isn't emulated: fibers are never
// interrupted between two barriers, and memory has no weaker order than the host's.
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __restrict__ __restrict

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };

namespace emulate {

constexpr size_t stack_bytes = 128 << 10;

enum class State { ready, barrier, exchange, done };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[stack_bytes]};
    State state;
    uint64_t sent, received;
    int lane_xor;
};

struct Machine {
    ucontext_t scheduler;
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<unsigned> runnable;
    unsigned threads = 0, current = 0;
    dim3 block, grid;
    unsigned char* shared = nullptr;
    uint64_t random = 1;
    void (*body)(void*) = nullptr;
    void* arguments = nullptr;
};

inline Machine& machine() {
    static Machine one;
    return one;
}

inline void seed(uint64_t value) { machine().random = value * 2 + 1; }

inline unsigned draw(unsigned below) {
    uint64_t& s = machine().random;  // xorshift64*
    s ^= s >> 12, s ^= s << 25, s ^= s >> 27;
    return unsigned((s * 2685821657736338717ull >> 32) % below);
}

[[noreturn]] inline void fail(const char* what) {
    printf("EMULATION block (%u,%u,%u): %s\n", machine().block.x, machine().block.y, machine().block.z, what);
    fflush(stdout);
    _Exit(3);
}

// Changes to another stack; the sanitizer wants to know of it.
inline void change(ucontext_t& from, ucontext_t& to, const void* bottom, size_t size, bool last) {
#if defined(__SANITIZE_ADDRESS__)
    void* mine = nullptr;
    __sanitizer_start_switch_fiber(last ? nullptr : &mine, bottom, size);
    swapcontext(&from, &to);
    __sanitizer_finish_switch_fiber(mine, nullptr, nullptr);
#else
    (void)bottom, (void)size, (void)last;
    swapcontext(&from, &to);
#endif
}

struct Stack { const void* bottom; size_t size; };
inline Stack& scheduler_stack() {
    static Stack stack{nullptr, 0};
    return stack;
}

inline void pause(State why) {
    Machine& m = machine();
    Fiber& fiber = *m.fibers[m.current];
    fiber.state = why;
    change(fiber.context, m.scheduler, scheduler_stack().bottom, scheduler_stack().size, why == State::done);
}

inline void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack().bottom, &scheduler_stack().size);
#endif
    machine().body(machine().arguments);
    pause(State::done);
}

inline void resume(unsigned index) {
    Machine& m = machine();
    m.current = index;
    Fiber& fiber = *m.fibers[index];
    change(m.scheduler, fiber.context, fiber.stack.get(), stack_bytes, false);
}

// Lets a warp's lanes go on once all of them have met at an exchange. Whether one did.
inline bool exchange_warps() {
    Machine& m = machine();
    bool any = false;
    for (unsigned warp = 0; warp < m.threads; warp += 32) {
        bool whole = warp + 32 <= m.threads;
        for (unsigned i = warp; whole && i < warp + 32; ++i) {
            whole = m.fibers[i]->state == State::exchange && m.fibers[i]->lane_xor == m.fibers[warp]->lane_xor;
        }
        for (unsigned i = warp; whole && i < warp + 32; ++i) {
            m.fibers[i]->received = m.fibers[warp + ((i - warp) ^ unsigned(m.fibers[i]->lane_xor))]->sent;
            m.fibers[i]->state = State::ready;
            m.runnable.push_back(i);
        }
        any = any || whole;
    }
    return any;
}

inline void run_block() {
    Machine& m = machine();
    while (m.fibers.size() < m.threads) m.fibers.emplace_back(new Fiber);
    m.runnable.clear();
    for (unsigned i = 0; i < m.threads; ++i) {
        Fiber& fiber = *m.fibers[i];
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = stack_bytes;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, fiber_main, 0);
        fiber.state = State::ready;
        m.runnable.push_back(i);
    }
    for (;;) {
        while (!m.runnable.empty()) {
            const unsigned at = draw(unsigned(m.runnable.size()));
            const unsigned index = m.runnable[at];
            m.runnable[at] = m.runnable.back();
            m.runnable.pop_back();
            resume(index);
        }
        if (exchange_warps()) continue;
        unsigned done = 0, waiting = 0;
        for (unsigned i = 0; i < m.threads; ++i) {
            done += m.fibers[i]->state == State::done;
            waiting += m.fibers[i]->state == State::barrier;
        }
        if (done == m.threads) return;
        if (waiting != m.threads) fail("threads don't all meet at a barrier or an exchange");
        for (unsigned i = 0; i < m.threads; ++i) {
            m.fibers[i]->state = State::ready;
            m.runnable.push_back(i);
        }
    }
}

template <class Body> void launch(dim3 grid, unsigned threads, size_t shared, Body body) {
    Machine& m = machine();
    if (threads == 0 || threads > 1024) fail("a block has 1 to 1024 threads");
    m.grid = grid, m.threads = threads;
    m.body = [](void* arguments) { (*static_cast<Body*>(arguments))(); };
    m.arguments = &body;
    std::vector<dim3> blocks;
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) blocks.emplace_back(x, y, z);
    while (!blocks.empty()) {
        const unsigned at = draw(unsigned(blocks.size()));
        m.block = blocks[at];
        blocks[at] = blocks.back();
        blocks.pop_back();
        m.shared = static_cast<unsigned char*>(malloc(shared + (shared == 0)));
        memset(m.shared, 0xFF, shared);
        run_block();
        free(m.shared);
    }
}

// Meets the other lanes; the value of lane `lane ^ step`.
template <class T> T exchange(T value, int step) {
    static_assert(sizeof(T) <= 8, "a lane sends eight bytes at most");
    Machine& m = machine();
    Fiber& fiber = *m.fibers[m.current];
    fiber.sent = 0;
    memcpy(&fiber.sent, &value, sizeof value);
    fiber.lane_xor = step;
    pause(State::exchange);
    memcpy(&value, &fiber.received, sizeof value);
    return value;
}

}  // namespace emulate

#define threadIdx (dim3(emulate::machine().current, 0, 0))
#define blockIdx (emulate::machine().block)
#define blockDim (dim3(emulate::machine().threads))
#define gridDim (emulate::machine().grid)
#define MISTRAL_SHARED(name) unsigned char* name = emulate::machine().shared
#define MISTRAL_LAUNCH(kernel, grid, threads, shared, stream, ...) \
    ((void)(stream), emulate::launch(grid, threads, shared, [=] { kernel(__VA_ARGS__); }))

inline void __syncthreads() { emulate::pause(emulate::State::barrier); }
template <class T> T __shfl_xor_sync(unsigned mask, T value, int step) {
    if (mask != 0xFFFFFFFFu) emulate::fail("only whole warps exchange values here");
    return emulate::exchange(value, step);
}
template <class T> T __ldg(const T* from) { return *from; }

// The part of the run-time library that the launchers and the test use.
using cudaError_t = int;
using cudaStream_t = void*;
constexpr int cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2;
constexpr int cudaFuncAttributeMaxDynamicSharedMemorySize = 8;
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
inline int cudaGetLastError() { return cudaSuccess; }
inline int cudaDeviceSynchronize() { return cudaSuccess; }
inline int cudaFuncSetAttribute(const void*, int, int) { return cudaSuccess; }
inline const char* cudaGetErrorString(int) { return "emulated"; }
inline int cudaMalloc(void** to, size_t bytes) {
    *to = aligned_alloc(256, (bytes + 255) / 256 * 256);
    return *to ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline int cudaFree(void* from) {
    free(from);
    return cudaSuccess;
}
inline int cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
    memcpy(to, from, bytes);
    return cudaSuccess;
}
