// Every kernel against a plain reference in double. Inputs differ in every run, outputs are poisoned before
// each and compared whole, inputs have to stay as they were. Arguments: names of checks, --runs N, --seed N.
// Exit status 0 when all is right, 1 when something is wrong, 2 when the device refuses, 3 when the emulation does.
#include "check.cuh"

using namespace check;
using mistral::from_bf16;

constexpr int tokens = model::max_tokens < 3 ? model::max_tokens : 3;
constexpr int k = model::experts_per_token;
constexpr int slots = tokens * k;

void matvec(const char* name, int rows, int cols, int bits, int runs,
            int (*launch)(const uint16_t*, mistral_weights, float*, int, void*)) {
    Matrix w(rows, cols, bits);
    Buffer<uint16_t> x(size_t(tokens) * cols);
    Buffer<float> y(size_t(tokens) * rows);
    w.fill();
    for (int run = 0; run < runs; ++run) {
        fill(x);
        y.poison();
        need(launch(x.device(), w.weights(), y.device(), tokens, nullptr), name);
        std::vector<Expected> expected;
        for (int t = 0; t < tokens; ++t) {
            for (int row = 0; row < rows; ++row) expected.push_back(w.times(row, &x.host[size_t(t) * cols]));
        }
        compare(name, y.take(name), expected);
        x.unchanged("activations");
        w.unchanged();
    }
    timed(name, double(w.codes.bytes() + w.scales.bytes()),
          [&] { return launch(x.device(), w.weights(), y.device(), 1, nullptr); });
}

template <class P> void matvec(const char* name, int runs, int (*launch)(const uint16_t*, mistral_weights, float*, int, void*)) {
    matvec(name, P::rows, P::cols, P::bits, runs, launch);
}

void norm(int runs) {
    const int dim = model::dim;
    Buffer<float> residual(size_t(tokens) * dim), delta(size_t(tokens) * dim);
    Buffer<uint16_t> weight(dim), out(size_t(tokens) * dim);
    for (int run = 0; run < runs; ++run) {
        const bool added = run % 2 == 0;
        fill(residual), fill(delta), fill(weight), out.poison();
        need(mistral_rms_norm_residual(residual.device(), added ? delta.device() : nullptr, weight.device(),
                                       out.device(), tokens, nullptr), "norm");
        std::vector<Expected> sums, normed;
        for (int t = 0; t < tokens; ++t) {
            double squares = 0;
            for (int i = 0; i < dim; ++i) {
                const size_t at = size_t(t) * dim + i;
                const double x = double(residual.host[at]) + (added ? delta.host[at] : 0.0f);
                sums.push_back({x, 1e-7 * 4});
                squares += x * x;
            }
            const double factor = 1.0 / std::sqrt(squares / dim + model::norm_eps);
            for (int i = 0; i < dim; ++i) {
                const double x = sums[size_t(t) * dim + i].value * factor * from_bf16(weight.host[i]);
                normed.push_back(rounded({x, 1e-6}));
            }
        }
        compare("residual", residual.take("residual"), sums);
        compare("norm", out.take("norm"), normed);
        delta.unchanged("delta"), weight.unchanged("weight");
    }
    timed("norm", 4.0 * dim * 2 * tokens, [&] {
        return mistral_rms_norm_residual(residual.device(), nullptr, weight.device(), out.device(), tokens, nullptr);
    });
}

void rope(int runs) {
    using namespace mistral;
    const int capacity = 9;
    const size_t cache = size_t(tokens) * key_width * capacity;
    Buffer<float> qkv(size_t(tokens) * qkv_width), queries(size_t(tokens) * query_width);
    Buffer<int> positions(tokens);
    Buffer<double> frequencies(model::head_dim / 2);
    Buffer<uint16_t> keys(cache), values(cache);
    mistral_rope_frequencies(frequencies.host.data());
    frequencies.give();
    for (int run = 0; run < runs; ++run) {
        fill(qkv), queries.poison(), fill(keys), fill(values);
        for (int t = 0; t < tokens; ++t) positions.host[t] = t == 1 ? 100000 + run : int(random_bits() % capacity);
        positions.give();
        need(mistral_rope_append(qkv.device(), positions.device(), frequencies.device(), queries.device(),
                                 keys.device(), values.device(), capacity, tokens, nullptr), "rope");
        std::vector<Expected> turned(queries.host.size()), key(cache), value(cache);
        for (size_t i = 0; i < cache; ++i) {  // what isn't the new position stays
            key[i] = {from_bf16(keys.host[i]), 0}, value[i] = {from_bf16(values.host[i]), 0};
        }
        for (int t = 0; t < tokens; ++t) {
            const int position = positions.host[t];
            const float* from = &qkv.host[size_t(t) * qkv_width];
            for (int head = 0; head < model::n_heads + model::n_kv_heads; ++head) {
                for (int i = 0; i < model::head_dim / 2; ++i) {
                    const double angle = position * std::pow(model::rope_theta, -2.0 * i / model::head_dim);
                    const int first = model::rope_interleaved ? 2 * i : i;
                    const int second = model::rope_interleaved ? 2 * i + 1 : i + model::head_dim / 2;
                    const double a = from[head * model::head_dim + first], b = from[head * model::head_dim + second];
                    const Expected x{a * std::cos(angle) - b * std::sin(angle), 2e-6};
                    const Expected y{a * std::sin(angle) + b * std::cos(angle), 2e-6};
                    if (head < model::n_heads) {
                        Expected* to = &turned[size_t(t) * query_width + head * model::head_dim];
                        to[first] = x, to[second] = y;
                    } else if (position < capacity) {
                        Expected* to = &key[cache_index(t, head - model::n_heads, position, capacity)];
                        to[first] = rounded(x), to[second] = rounded(y);
                    }
                }
            }
            for (int i = 0; i < key_width && position < capacity; ++i) {
                value[cache_index(t, i / model::head_dim, position, capacity) + i % model::head_dim] =
                    rounded({from[query_width + key_width + i], 0});
            }
        }
        compare("queries", queries.take("queries"), turned);
        compare("keys", keys.take("keys"), key);
        compare("values", values.take("values"), value);
        qkv.unchanged("qkv"), positions.unchanged("positions"), frequencies.unchanged("frequencies");
    }
}

void attention(int runs) {
    using namespace mistral;
    const int capacity = model::test_context, group = model::n_heads / model::n_kv_heads;
    const size_t cache = size_t(tokens) * key_width * capacity;
    Buffer<float> queries(size_t(tokens) * query_width), parts(mistral_attention_scratch(tokens) / sizeof(float));
    Buffer<uint16_t> keys(cache), values(cache), out(queries.host.size());
    Buffer<int> lengths(tokens);
    for (int run = 0; run < runs; ++run) {
        // A full cache, one without anything, one position, and windows inside.
        const int window = run % 2 == 0 ? 0 : capacity / 3 + 1;
        const int wanted[3] = {capacity - run, run == 0 ? 0 : 1, int(random_bits() % capacity)};
        for (int t = 0; t < tokens; ++t) lengths.host[t] = wanted[t];
        lengths.give(), fill(queries), fill(keys), fill(values), parts.poison(), out.poison();
        need(mistral_attention(queries.device(), keys.device(), values.device(), lengths.device(), parts.device(),
                               out.device(), capacity, window, tokens, nullptr), "attention");
        std::vector<Expected> expected;
        for (int t = 0; t < tokens; ++t) {
            const int length = lengths.host[t], start = window > 0 ? std::max(0, length - window) : 0;
            for (int head = 0; head < model::n_heads; ++head) {
                std::vector<double> score(length), sum(model::head_dim);
                double most = -1e300, weights = 0;
                for (int p = start; p < length; ++p) {
                    const uint16_t* key = &keys.host[cache_index(t, head / group, p, capacity)];
                    for (int i = 0; i < model::head_dim; ++i) {
                        score[p] += queries.host[size_t(t) * query_width + head * model::head_dim + i] * double(from_bf16(key[i]));
                    }
                    score[p] *= model::softmax_scale;
                    most = std::max(most, score[p]);
                }
                for (int p = start; p < length; ++p) {
                    const uint16_t* value = &values.host[cache_index(t, head / group, p, capacity)];
                    const double share = std::exp(score[p] - most);
                    weights += share;
                    for (int i = 0; i < model::head_dim; ++i) sum[i] += share * from_bf16(value[i]);
                }
                for (double s : sum) expected.push_back(rounded({weights > 0 ? s / weights : 0.0, 4e-6}));
            }
        }
        compare("attention", out.take("attention"), expected);
        parts.take("parts");
        queries.unchanged("queries"), keys.unchanged("keys"), values.unchanged("values"), lengths.unchanged("lengths");
    }
    for (auto& length : lengths.host) length = capacity;
    lengths.give();
    timed("attention", double(2 * keys.bytes()), [&] {
        return mistral_attention(queries.device(), keys.device(), values.device(), lengths.device(), parts.device(),
                                 out.device(), capacity, 0, tokens, nullptr);
    });
}

// Routing by definition: the largest logits, ties to the lower id; softmax over them; slots sorted by expert.
void choose(const std::vector<float>& logits, std::vector<int>& ids, std::vector<Expected>& weights, std::vector<int>& order) {
    ids.clear(), weights.clear(), order.clear();
    for (int t = 0; t < tokens; ++t) {
        const float* row = &logits[size_t(t) * model::experts];
        std::vector<int> all(model::experts);
        for (int e = 0; e < model::experts; ++e) all[e] = e;
        std::stable_sort(all.begin(), all.end(), [&](int a, int b) { return row[a] > row[b]; });
        double sum = 0;
        for (int i = 0; i < k; ++i) sum += std::exp(double(row[all[i]]) - row[all[0]]);
        for (int i = 0; i < k; ++i) {
            ids.push_back(all[i]);
            weights.push_back({std::exp(double(row[all[i]]) - row[all[0]]) / sum * model::routed_scale, 1e-6});
        }
    }
    for (int slot = 0; slot < slots; ++slot) order.push_back(slot);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return ids[a] < ids[b]; });
}

void experts(int runs) {
    Buffer<float> logits(size_t(tokens) * model::experts), weights(slots), out(size_t(tokens) * model::dim);
    Buffer<int> ids(slots), order(slots);
    Buffer<uint16_t> x(size_t(tokens) * model::dim), hidden(size_t(slots) * model::hidden_dim);
    Matrix gate(model::experts * model::hidden_dim, model::dim, shape::GateUp::bits);
    Matrix up(model::experts * model::hidden_dim, model::dim, shape::GateUp::bits);
    Matrix down(model::experts * model::dim, model::hidden_dim, shape::Down::bits);
    gate.fill(), up.fill(), down.fill();
    for (int run = 0; run < runs; ++run) {
        fill(logits), fill(x), ids.poison(), weights.poison(), order.poison(), hidden.poison(), out.poison();
        if (run == 1) {  // ties
            for (auto& l : logits.host) l = float(int(random_bits() % 2));
            logits.give();
        }
        std::vector<int> chosen, sorted;
        std::vector<Expected> shares, inner, outer;
        choose(logits.host, chosen, shares, sorted);
        if (model::experts > 1) {
            need(mistral_route(logits.device(), ids.device(), weights.device(), order.device(), tokens, nullptr), "route");
            equal("ids", ids.take("ids"), chosen);
            equal("order", order.take("order"), sorted);
            compare("weights", weights.take("weights"), shares);
            logits.unchanged("logits");
            if (failures > 0) return;  // ids of other experts, or none, must not be followed
        } else {
            shares.assign(slots, {1.0, 0.0});
        }
        need(mistral_gate_up(x.device(), gate.weights(), up.weights(), ids.device(), order.device(), hidden.device(),
                             tokens, nullptr), "gate_up");
        for (int slot = 0; slot < slots; ++slot) {
            for (int row = 0; row < model::hidden_dim; ++row) {
                const size_t at = size_t(chosen[slot]) * model::hidden_dim + row;
                const Expected g = gate.times(at, &x.host[size_t(slot / k) * model::dim]);
                const Expected u = up.times(at, &x.host[size_t(slot / k) * model::dim]);
                const double silu = g.value / (1.0 + std::exp(-g.value));
                const double bound = 1.1 * g.bound * std::fabs(u.value) + std::fabs(silu) * u.bound + 1e-6 * std::fabs(silu * u.value);
                inner.push_back(rounded({silu * u.value, bound}));
            }
        }
        hidden.host = hidden.take("hidden");
        compare("hidden", hidden.host, inner);
        need(mistral_down(hidden.device(), down.weights(), ids.device(), weights.device(), out.device(), tokens, nullptr), "down");
        for (int t = 0; t < tokens; ++t) {
            for (int row = 0; row < model::dim; ++row) {
                Expected sum{0, 0};
                for (int slot = t * k; slot < t * k + k; ++slot) {
                    const size_t at = size_t(chosen[slot]) * model::dim + row;
                    const Expected part = down.times(at, &hidden.host[size_t(slot) * model::hidden_dim]);
                    sum.value += shares[slot].value * part.value;
                    sum.bound += shares[slot].value * part.bound + shares[slot].bound * std::fabs(part.value);
                }
                outer.push_back(sum);
            }
        }
        compare("out", out.take("out"), outer);
        hidden.unchanged("hidden"), x.unchanged("activations"), gate.unchanged(), up.unchanged(), down.unchanged();
    }
    const double expert = double(gate.codes.bytes() + gate.scales.bytes()) / model::experts;
    timed("gate_up", 2 * expert * k, [&] {
        return mistral_gate_up(x.device(), gate.weights(), up.weights(), ids.device(), order.device(), hidden.device(), 1, nullptr);
    });
    timed("down", expert * k, [&] {
        return mistral_down(hidden.device(), down.weights(), ids.device(), weights.device(), out.device(), 1, nullptr);
    });
}

int main(int count, char** arguments) {
    std::vector<std::string> names;
    int runs = 3;
    for (int i = 1; i < count; ++i) {
        const std::string argument = arguments[i];
        if (argument == "--runs" && i + 1 < count) runs = atoi(arguments[++i]);
        else if (argument == "--seed" && i + 1 < count) state = strtoull(arguments[++i], nullptr, 10);
        else names.push_back(argument);
    }
#if defined(MISTRAL_EMULATED)
    emulate::seed(state);
#endif
    const struct { const char* name; std::function<void()> run; } checks[] = {
        {"packing", [&] { packing(runs); }},
        {"qkv", [&] { matvec<shape::Qkv>("qkv", runs, mistral_qkv); }},
        {"attention_output", [&] { matvec<shape::AttentionOutput>("attention_output", runs, mistral_attention_output); }},
        {"router", [&] { matvec<shape::Router>("router", runs, mistral_router); }},
        {"head", [&] { matvec<shape::Head>("head", runs, mistral_head); }},
        {"norm", [&] { norm(runs); }},
        {"rope", [&] { rope(runs); }},
        {"attention", [&] { attention(runs); }},
        {"experts", [&] { experts(runs); }},
    };
    for (const auto& one : checks) {
        if (!names.empty() && std::find(names.begin(), names.end(), one.name) == names.end()) continue;
        const int before = failures;
        wrong_shown = 0;
        printf("%s\n", one.name);
        one.run();
        printf("%s %s\n", failures == before ? "ok" : "WRONG", one.name);
    }
    printf("%s\n", failures == 0 ? "all right" : "something is wrong");
    return failures == 0 ? 0 : 1;
}
