"""SGLang: fields `A[type, "help" or Arg(...)]` of the argument groups, and literal parser calls."""

import ast

import arguments
from tree import constant, keywords, last_name

SERVER = "sglang.srt.server_args"


def read(tree):
    table = arguments.Table()
    table.calls(tree, SERVER, tree.module(SERVER))
    prefix = "sglang/srt/arg_groups/fields/"
    modules = sorted(name for name in tree.names if name.startswith(prefix) and name.endswith(".py"))
    for name in modules:
        dotted = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for node in ast.walk(tree.module(dotted)):
            if isinstance(node, ast.ClassDef):
                for item in node.body:
                    if isinstance(item, ast.AnnAssign):
                        annotated(tree, dotted, table, item)
    for node in tree.module(SERVER).body:
        # Versions in which the annotated fields stand in one class.
        if isinstance(node, ast.ClassDef) and node.name == "ServerArgs":
            for item in node.body:
                if isinstance(item, ast.AnnAssign):
                    annotated(tree, SERVER, table, item)
    return table


def annotated(tree, module, table, item):
    hint = item.annotation
    if not (isinstance(hint, ast.Subscript) and last_name(hint.value) in ("A", "Annotated")):
        return
    inner, *marks = hint.slice.elts
    mark = next((m for m in marks if constant(m) is not None or last_name(getattr(m, "func", None)) == "Arg"), None)
    if mark is None:
        return
    own = keywords(mark) if isinstance(mark, ast.Call) else {}
    if constant(own.get("no_cli")) is True:
        return
    main = constant(own.get("cli_name")) or "--" + item.target.id.replace("_", "-")
    others = tree.values(module, own["aliases"]) if "aliases" in own else []
    text = ast.unparse(own.get("help", mark)).lower()
    deprecated = "(deprecated" in text or text.strip("'\"").startswith("deprecated")
    table.add(main, others or [], takes(tree, module, inner, own), deprecated)


def takes(tree, module, inner, own):
    action = last_name(own.get("action")) or constant(own.get("action"))
    choices = arguments.listed(tree, module, own.get("choices"))
    if action:
        if "StoreTrue" in action or action in ("store_true", "store_false"):
            return "switch"
        if action == "BooleanOptionalAction":
            return "toggle"
        given = own.get("action_kwargs")
        extra = {}
        if isinstance(given, ast.Dict):
            extra = {constant(k): v for k, v in zip(given.keys, given.values)}
        kind = arguments.SCALARS.get(last_name(extra.get("type")), "text")
        return arguments.nargs(kind, constant(extra.get("nargs")))
    count = constant(own.get("nargs"))
    parsed = last_name(own.get("type_parser"))
    node = unwrapped(inner)
    head = last_name(node.value) if isinstance(node, ast.Subscript) else None
    if head == "Literal":
        return choices or sorted(tree.values(module, node))
    if head in ("List", "list") and parsed is None:
        item = last_name(node.slice)
        return arguments.nargs(choices or arguments.SCALARS.get(item, "text"), count or "+")
    name = last_name(node)
    if name == "bool" and parsed is None and choices is None:
        return "switch"
    kind = arguments.SCALARS.get(parsed or name, "text")
    return arguments.nargs(choices or kind, count)


def unwrapped(node):
    if isinstance(node, ast.Subscript) and last_name(node.value) == "Optional":
        return node.slice
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return node.left if constant(node.right) is None else node
    return node
