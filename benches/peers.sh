#!/usr/bin/env bash
# Ours beside other engines on the same random GGUF files, in alternating runs.
#
#   LLAMA_BENCH=…/llama-bench benches/peers.sh [ROUNDS] [PART,PART]
#
# Prints a table, one row a figure; PARTs choose cases by their names, such as 7b-q4_k_m/t2/speed, 7b-l4 or
# q8_0. LLAMA_BENCH and IK_LLAMA_BENCH are paths of llama.cpp's and ik_llama.cpp's llama-bench; BESIDE is
# NAME=PROGRAM for another that takes the arguments of `bench_model` and prints its line. JSON names a file
# that gets every value. MODELS is a folder for the files (28 GB when all cases are run).
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

cargo build --quiet --release -p mistral-examples --example bench_model
cargo build --quiet --release -p mistral-benches

exec "$target/release/peers" --ours "$target/release/examples/bench_model" --make "$target/release/make_gguf" \
    --models "${MODELS:-$target/bench-models}" --rounds "${1:-3}" --only "${2:-}" \
    ${LLAMA_BENCH:+--llama "$LLAMA_BENCH"} ${IK_LLAMA_BENCH:+--ik "$IK_LLAMA_BENCH"} \
    ${BESIDE:+--beside "$BESIDE"} ${JSON:+--json "$JSON"}
