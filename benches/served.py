"""Tokens a second of the generated server and of llama-server, side by side on one GGUF file.

    served.py --ours MISTRAL_SERVER --llama LLAMA_SERVER --model FILE.gguf [--clients 16] [--rounds 3]

Each round starts one server after the other, in turns, and lets CLIENTS clients ask it for answers of a
fixed length, each with a prompt of its own, until the round's requests are answered. A line of JSON a run; a
summary with medians last. Needs Python 3.9 and nothing else.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import threading
import time

KEY = "bench"


def command(name, options):
    """The command and environment of a server."""
    threads, context = str(options.threads), options.context
    if name == "ours":
        environment = {
            options.key_variable: KEY, "PORT": str(options.port), "MODEL_PATH": options.model,
            "THREADS": threads, "SLOTS": str(options.clients),
        }
        return [options.ours], environment
    whole = str(context * options.clients)
    arguments = [
        options.llama, "-m", options.model, "--port", str(options.port), "-t", threads, "-tb", threads,
        "-c", whole, "-np", str(options.clients), "--api-key", KEY, "--no-webui",
    ]
    return arguments, {}


def ask(connection, path, body=None):
    """Status and parsed body of one request."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read() or "null")


def wait_until_ready(port, process, seconds=120):
    """Returns when the server says that it is well."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            if ask(connection, "/health")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"the server did not start: {process.args}")


def prompt(seed, words):
    """Words that no other seed has in this order."""
    draw = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join("".join(draw.choices(letters, k=draw.randint(2, 7))) for _ in range(words))


def client(options, seeds, results):
    """Asks for one answer after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", options.port, timeout=300)
    for seed in seeds:
        start = time.monotonic()
        body = {
            "prompt": prompt(seed, options.words), "max_tokens": options.tokens, "temperature": 0,
        }
        status, answer = ask(connection, "/v1/completions", body)
        usage = answer.get("usage", {})
        results.append((
            status, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0),
            time.monotonic() - start,
        ))


def measure(name, options, round_number):
    """One run of one server."""
    arguments, environment = command(name, options)
    process = subprocess.Popen(
        arguments, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_ready(options.port, process)
        client(options, [f"warm {round_number}"], warm := [])
        results, threads = [], []
        start = time.monotonic()
        for c in range(options.clients):
            seeds = [f"{round_number} {c} {i}" for i in range(options.requests)]
            thread = threading.Thread(target=client, args=(options, seeds, results))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - start
    finally:
        process.terminate()
        process.wait(30)
    prompts, generated = sum(r[1] for r in results), sum(r[2] for r in results)
    return {
        "server": name, "round": round_number, "answers": sum(r[0] == 200 for r in results),
        "of": options.clients * options.requests, "prompt_tokens": prompts,
        "generated_tokens": generated, "seconds": round(seconds, 2),
        "generated_per_s": round(generated / seconds, 1),
        "median_answer_s": round(statistics.median(r[3] for r in results), 2),
        "alone_s": round(warm[0][3], 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True)
    parser.add_argument("--llama", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--key-variable", default="MISTRAL_SERVER_API_KEY")
    parser.add_argument("--only", choices=("ours", "llama"))
    for name, value in (
        ("clients", 16), ("rounds", 3), ("requests", 2), ("tokens", 128), ("words", 40),
        ("threads", os.cpu_count()), ("context", 1024), ("port", 8377),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    rates = {}
    for round_number in range(options.rounds):
        # The first of a round is the last of the next one.
        names = ("ours", "llama")[:: 1 if round_number % 2 == 0 else -1]
        for name in names:
            if options.only in (None, name):
                run = measure(name, options, round_number)
                print(json.dumps(run), flush=True)
                rates.setdefault(name, []).append(run["generated_per_s"])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    if len(medians) == 2:
        medians["ratio"] = round(medians["ours"] / medians["llama"], 3)
    print(json.dumps({"median_generated_per_s": medians}))


main()
