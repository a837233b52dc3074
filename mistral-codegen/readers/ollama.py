"""Ollama: commands of a Modelfile, parameters, and environment variables, from its Go sources."""

import re

import arguments

TEXT = True

KINDS = {"int": "integer", "float32": "number", "bool": "boolean", "[]string": "text", "string": "text"}


def read(path):
    table = arguments.Table()
    types = (path / "api/types.go").read_text()
    for name in ("Options", "Runner"):
        body = re.search(rf"^type {name} struct {{(.*?)^}}", types, re.S | re.M)[1]
        for go, tag in re.findall(r'^\s*\w+\s+(\S+)\s+`json:"(\w+)', body, re.M):
            table.add(f"PARAMETER {tag}", [], KINDS[go.lstrip("*")])
    parser = (path / "parser/parser.go").read_text()
    for name in re.findall(r'"(\w+)"', re.search(r"func isValidCommand.*?case (.*?):", parser, re.S)[1]):
        table.add(name.upper(), [], "text")
    for name in re.findall(r'"(\w+)"', re.search(r"deprecatedParameters = .*?{(.*?)}", parser, re.S)[1]):
        table.deprecated[f"PARAMETER {name}"] = ""
    config = (path / "envconfig/config.go").read_text()
    readers = {"Bool": "boolean", "BoolWithDefault": "boolean", "Uint": "integer", "Uint64": "integer"}
    for reader, name in re.findall(r'(\w+)\("(OLLAMA_\w+)"', config):
        table.add(name, [], readers.get(reader, "text"))
    return table
