#!/usr/bin/env python3
"""mistral.rs (PyPI `mistralrs`) under the arguments of `bench_model`, for GGUF files: prints its line.

Prompts are text, so their lengths are those that the engine counted, near what was asked.
"""
import argparse
import json
import os
import random
import resource
import statistics
import time


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    for name, default in [("prompt", 512), ("gen", 64), ("depth", 0), ("batch", 1), ("threads", 2), ("repeat", 3)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def main():
    options = arguments()
    if options.batch != 1:
        raise SystemExit("--batch: only one sequence")
    # It logs to standard output, which is for one line here.
    line = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Read when the library is loaded.
    os.environ["RAYON_NUM_THREADS"] = str(options.threads)
    import mistralrs

    folder, file = os.path.split(os.path.abspath(options.model))
    start = time.time()
    runner = mistralrs.Runner(
        which=mistralrs.Which.GGUF(tok_model_id=None, quantized_model_id=folder, quantized_filename=file),
        prefix_cache_n=0,
    )
    load_ms = (time.time() - start) * 1e3
    letters = "abcdefghijklmnopqrstuvwxyz"

    def run(tokens, generate):
        # A letter and its space are two tokens of the made-up vocabulary.
        prompt = " ".join(random.choice(letters) for _ in range(max(1, tokens // 2)))
        request = mistralrs.CompletionRequest(
            prompt=prompt, model="default", max_tokens=max(1, generate), temperature=0.0, ignore_eos=True
        )
        return runner.send_completion_request(request).usage

    run(16, 2)
    prefills, decodes = [], []
    for _ in range(options.repeat):
        usage = run(options.depth + options.prompt, options.gen)
        prefills.append(usage.avg_prompt_tok_per_sec)
        decodes.append(usage.avg_compl_tok_per_sec)
    prefill = statistics.median(prefills)
    print(json.dumps({
        "prefill_tokens_per_s": prefill,
        "decode_tokens_per_s": statistics.median(decodes) if options.gen > 0 else 0.0,
        "ttft_ms": options.prompt / prefill * 1e3,
        "load_ms": load_ms,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "weight_bytes": os.path.getsize(options.model),
        "read_bytes_per_s": 0.0,
        "kernel_path": f"mistral.rs {getattr(mistralrs, '__version__', '')}".strip(),
    }), file=line, flush=True)


if __name__ == "__main__":
    main()
