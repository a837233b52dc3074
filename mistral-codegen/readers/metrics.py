"""The Prometheus metrics of an engine: name, kind and the labels whose names reading can tell.

    python3 readers/metrics.py vllm|sglang|llama-server PACKAGE --version V --source S --date YYYY-MM-DD

PACKAGE is a wheel or a folder of sources; for llama-server its server-task.cpp. Nothing of the package
is executed. Counters have the name that they are served under, with `_total`.
"""

import argparse
import ast
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from tree import Tree, constant, keywords, last_name

KINDS = ("counter", "gauge", "histogram", "summary")


def kind_of(call):
    name = (last_name(call.func) or "").lower()
    return next((kind for kind in KINDS if name.strip("_").startswith(kind)), None)


def texts(node, values):
    """Every text in an expression, with names replaced by what the class or module gives them."""
    found = []
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            found.append(part.value)
        elif isinstance(part, ast.Name):
            for value in values.get(part.id, []):
                found += texts(value, {})
    return found


def of_module(module, prefix):
    """Name -> (kind, labels) of the metrics that a module makes."""
    found = {}
    for scope in ast.walk(module):
        if not isinstance(scope, ast.ClassDef):
            continue
        values = {}
        for node in ast.walk(scope):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        values.setdefault(target.id, []).append(node.value)
        for call in ast.walk(scope):
            if not isinstance(call, ast.Call):
                continue
            given = keywords(call)
            kind = kind_of(call)
            name = constant(given.get("name") or (call.args[0] if call.args else None))
            if kind is None or not isinstance(name, str) or not name.startswith(prefix):
                continue
            if kind == "counter" and not name.endswith("_total"):
                name += "_total"
            labels = given.get("labelnames")
            labels = sorted(set(texts(labels, values))) if labels is not None else []
            found[name] = (kind, labels)
    return found


def of_python(tree, engine):
    prefix = engine + ":"
    found = {}
    for name in sorted(tree.names):
        if name.startswith(engine + "/") and name.endswith(".py") and "/test" not in name:
            text = tree.text(name)
            if f'"{prefix}' in text:
                found.update(of_module(ast.parse(text), prefix))
    return found


def of_llama(path):
    text = path.read_text()
    found = {}
    for kind in ("counter", "gauge"):
        begin = text.index(f"std::vector<metric_item> {kind}s = {{")
        block = text[begin : text.index("};", begin)]
        for name in re.findall(r'\{\s*"([a-z_0-9]+)",\s*"', block):
            found[f"llamacpp:{name}"] = (kind, [])
    for name, kind in re.findall(r"# TYPE (llamacpp:[a-z_0-9]+) (counter|gauge)", text):
        labels = re.findall(re.escape(name) + r"\{([a-z_]+)=", text)
        found[name] = (kind, sorted(set(labels)))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["vllm", "sglang", "llama-server"])
    parser.add_argument("package")
    for name in ("--version", "--source", "--date"):
        parser.add_argument(name, required=True)
    given = parser.parse_args()
    if given.engine == "llama-server":
        found = of_llama(pathlib.Path(given.package))
    else:
        found = of_python(Tree(given.package), given.engine)
    if not found:
        sys.exit("no metrics found")
    head = {key: getattr(given, key) for key in ("engine", "version", "source", "date")}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    rows = [
        f'  {json.dumps(name)}: {json.dumps({"kind": kind, "labels": labels})}'
        for name, (kind, labels) in sorted(found.items())
    ]
    lines.append(' "metrics": {\n' + ",\n".join(rows) + "\n }")
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
