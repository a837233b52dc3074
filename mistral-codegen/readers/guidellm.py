"""GuideLLM: the options of `guidellm run`, and the settings that each of them takes by kind.

Options are `click.option` calls of cli/run.py and the fields of `BenchmarkArgs`; what an option
takes are the fields of the classes that are registered under its `kind`s.
"""

import ast

import arguments
from tree import constant, keywords, last_name

COMMAND = "guidellm.cli.run"
MODEL = "guidellm.schemas.benchmark.entrypoints"
SCALARS = {
    "bool": "boolean",
    "float": "number",
    "int": "integer",
    "NonNegativeFloat": "number",
    "NonNegativeInt": "integer",
    "PositiveFloat": "number",
    "PositiveInt": "count",
    "Path": "text",
    "SecretStr": "text",
    "str": "text",
}
NUMBERS = ("integer", "number")


def read(tree):
    table = arguments.Table()
    for call in decorators(function(tree.module(COMMAND), "run")):
        if last_name(call.func) == "option":
            main, others = arguments.names_of(call)
            flag = constant(keywords(call).get("is_flag")) is True
            table.add(main, others, "switch" if flag else "text")
    classes = all_classes(tree)
    _, args = classes["BenchmarkArgs"]
    for name, hint, given in fields(args):
        base = head_of(hint)
        kinds = registered(classes, base) if base in classes else {}
        if not kinds:
            continue
        extra = given.get("json_schema_extra")
        alias = None
        if isinstance(extra, ast.Dict):
            pairs = zip(map(constant, extra.keys), map(constant, extra.values))
            alias = dict(pairs).get("argument_alias")
        flag = "--" + (alias or name).replace("_", "-")
        table.add(flag, [], "config")
        table.add(f"{flag}.kind", [], sorted(kinds))
        for kind, node in kinds.items():
            settings(tree, classes, table, f"{flag}.{kind}", node, 0)
    return table


def settings(tree, classes, table, prefix, node, depth):
    """Adds a class's fields, those of its bases and of the classes that its fields have."""
    module, class_ = node
    for base in class_.bases:
        name = last_name(base.value if isinstance(base, ast.Subscript) else base)
        if name in classes:
            settings(tree, classes, table, prefix, classes[name], depth)
    for name, hint, _ in fields(class_):
        if name == "kind":
            continue
        inner = [classes[n] for n in names_in(hint) if n in classes]
        table.add(f"{prefix}.{name}", [], "object" if inner else takes(tree, module, hint))
        if inner and head_of(hint) in classes and depth < 3:
            settings(tree, classes, table, f"{prefix}.{name}", inner[0], depth + 1)


def takes(tree, module, hint):
    """What a hint allows; of several types the first that isn't None."""
    if isinstance(hint, ast.BinOp) and isinstance(hint.op, ast.BitOr):
        left = takes(tree, module, hint.left)
        right = None if constant(hint.right) is None and is_none(hint.right) else takes(tree, module, hint.right)
        if right is None or left == right or {"many": left} == right:
            return right or left
        return "number" if left in NUMBERS and right in NUMBERS else "text"
    if isinstance(hint, ast.Subscript):
        head = last_name(hint.value)
        if head == "Literal":
            return sorted(tree.values(module, hint))
        if head == "Annotated":
            return takes(tree, module, hint.slice.elts[0])
        if head in ("list", "List", "Sequence"):
            return {"many": takes(tree, module, hint.slice)}
        return "object" if head in ("dict", "Dict") else "text"
    name = last_name(hint)
    if name in SCALARS:
        return SCALARS[name]
    for where, what in tree.resolve(module, name) if isinstance(hint, ast.Name) else []:
        if isinstance(what, ast.expr):
            return takes(tree, where, what)
    return "text"


def is_none(node):
    return isinstance(node, ast.Constant) and node.value is None


def all_classes(tree):
    """Every class of the package's schemas by its name."""
    found = {}
    for name in sorted(tree.names):
        if name.startswith("guidellm/schemas/") and name.endswith(".py"):
            dotted = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for node in tree.module(dotted).body:
                if isinstance(node, ast.ClassDef):
                    found[node.name] = (dotted, node)
    return found


def registered(classes, base):
    """The classes under `@base.register(...)` by each of their kinds."""
    kinds = {}
    for module, node in classes.values():
        for call in decorators(node):
            of = call.func
            if isinstance(of, ast.Attribute) and of.attr == "register" and last_name(of.value) == base:
                names = call.args[0]
                listed = names.elts if isinstance(names, ast.List) else [names]
                kinds.update({constant(name): (module, node) for name in listed})
    return kinds


def fields(class_):
    """(name, hint, keywords of its Field) of each field."""
    if isinstance(class_, tuple):
        class_ = class_[1]
    for item in class_.body:
        if not isinstance(item, ast.AnnAssign) or head_of(item.annotation) == "ClassVar":
            continue
        given = keywords(item.value) if isinstance(item.value, ast.Call) else {}
        yield item.target.id, item.annotation, given


def head_of(hint):
    """The class of `X`, `X | None` or `list[X]`."""
    if isinstance(hint, ast.BinOp):
        return head_of(hint.left)
    if isinstance(hint, ast.Subscript):
        head = last_name(hint.value)
        return head_of(hint.slice) if head in ("list", "List") else head
    return last_name(hint)


def names_in(hint):
    return [node.id for node in ast.walk(hint) if isinstance(node, ast.Name)]


def function(module, name):
    return next(n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == name)


def decorators(node):
    return [d for d in node.decorator_list if isinstance(d, ast.Call)]
