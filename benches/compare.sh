#!/usr/bin/env bash
# Ours beside candle-transformers on the same random weights, in alternating runs, two threads.
#
#   benches/compare.sh [ROUNDS]
#
# Prints one JSON line a model: medians of both and of the ratios ours/peer. PEER names another program
# that takes the arguments of `bench_model` and prints its line. Models (3.7 GB) and builds go to target/.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
target=${CARGO_TARGET_DIR:-target}
models=$target/bench-models

cargo build --quiet --release -p mistral-examples --example bench_model
cargo build --quiet --release -p mistral-benches
if [ -z "${PEER:-}" ]; then
    # candle has code paths that only a build for this very processor takes; ours are chosen at run time.
    RUSTFLAGS='-C target-cpu=native' CARGO_TARGET_DIR=$target/peer \
        cargo build --quiet --release -p mistral-benches --features peer --bin candle_peer
    PEER=$target/peer/release/candle_peer
fi

for shape in dense moe; do
    for dtype in f32 bf16; do
        model=$models/$shape-$dtype
        [ -f "$model/model.safetensors" ] ||
            "$target/release/make_model" "$model" --shape "$shape" --dtype "$dtype"
        # candle's Mixtral cannot compute in bf16, and its Mistral is slower so than with widened weights.
        "$target/release/compare" --name "$shape-$dtype" --rounds "$rounds" \
            --ours "$target/release/examples/bench_model" --peer "$PEER" -- \
            "$model" --prompt 512 --gen 16 --threads 2 --repeat 1 -- --compute f32
    done
done
