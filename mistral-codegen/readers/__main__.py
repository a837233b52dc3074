"""Reads the flags of an engine's version from its package and prints the table as JSON.

    python3 readers vllm PACKAGE [--version V] --date YYYY-MM-DD

PACKAGE is a wheel or a folder of sources; for llama-server its README.md, for ollama its sources.
Nothing of the package is executed: Python is parsed by `ast`, other files by their lines.
"""

import argparse
import importlib
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["vllm", "vllm-tpu", "sglang", "llama-server", "ollama", "guidellm"])
    parser.add_argument("package")
    parser.add_argument("--version", help="else from the wheel's name")
    parser.add_argument("--source", help="else the wheel's name")
    parser.add_argument("--date", required=True)
    given = parser.parse_args()
    name = pathlib.Path(given.package).name
    version = given.version
    if version is None and name.endswith(".whl"):
        version = name.split("-")[1]
    if version is None:
        parser.error("--version is needed for a package that isn't a wheel")
    source = given.source or f"{name}, read statically"
    module = {"vllm-tpu": "vllm"}.get(given.engine, given.engine).replace("-", "_")
    reader = importlib.import_module(module)
    if getattr(reader, "TEXT", False):
        package = pathlib.Path(given.package)
    else:
        package = importlib.import_module("tree").Tree(given.package)
    table = reader.read(package)
    if not table.flags:
        sys.exit(f"no flags found in {name}")
    print(rendered(given.engine, version, source, given.date, table))


def rendered(engine, version, source, date, table):
    """One flag a line, so that versions can be compared line by line."""
    head = {"engine": engine, "version": version, "source": source, "date": date}
    if table.inverses:
        head["inverses"] = True
    out = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for key in ("flags", "also", "deprecated", "removed"):
        rows = sorted(getattr(table, key).items())
        lines = [f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=True)}" for k, v in rows]
        body = "\n" + ",\n".join(lines) + "\n " if lines else ""
        out.append(f" {json.dumps(key)}: {{{body}}}")
    return "{\n" + ",\n".join(out) + "\n}"


if __name__ == "__main__":
    main()
