"""vLLM: configuration classes and the parsers built on them.

`_compute_kwargs` of vllm/engine/arg_utils.py turns the type of a configuration's field into what its
flag takes; this follows the same rules on the types as they are written.
"""

import ast

import arguments
from tree import constant, keywords, last_name

ENGINE = "vllm.engine.arg_utils"


class Types:
    """The members of a type hint: names of plain types, lists of literals, open or not."""

    def __init__(self, tree):
        self.tree = tree

    def members(self, module, node, depth=0):
        if depth > 12 or node is None:
            return []
        again = lambda n: self.members(module, n, depth + 1)
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return again(ast.parse(node.value, mode="eval").body)
            return [("none", None)] if node.value is None else []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return again(node.left) + again(node.right)
        if isinstance(node, ast.Subscript):
            head = last_name(node.value)
            inside = node.slice
            if head == "Optional":
                return again(inside) + [("none", None)]
            if head == "Union":
                return [m for part in inside.elts for m in again(part)]
            if head == "Annotated":
                return again(inside.elts[0])
            if head == "SkipValidation":
                return again(inside)
            if head == "Literal":
                return [("literal", self.tree.values(module, node))]
            if head in ("list", "List", "set", "Set", "tuple", "Tuple", "Sequence"):
                return [("many", (module, inside))]
            if head in ("dict", "Dict", "Mapping", "MutableMapping"):
                return [("dict", None)]
            if head in ("type", "Type", "Callable"):
                return [("class", None)]
            return [("class", None)]
        name = last_name(node)
        plain = {"bool", "int", "float", "str", "dict", "list", "set", "tuple"}
        if name in plain:
            return [(name, None)]
        if name in ("Any", "object"):
            return [("class", None)]
        found = self.tree.resolve(module, name) if isinstance(node, ast.Name) else []
        out = []
        for where, what in found:
            if isinstance(what, ast.ClassDef):
                out.append(self.of_class(what))
            else:
                out += self.members(where, what, depth + 1)
        return out or [("class", None)]

    def of_class(self, node):
        heads = (b.value if isinstance(b, ast.Subscript) else b for b in node.bases)
        bases = {last_name(b) for b in heads}
        if "dict" in bases:
            return ("dict", None)
        if "TypedDict" in bases:
            return ("class", None)
        marks = {last_name(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list}
        if marks & {"config", "dataclass"}:
            return ("dataclass", None)
        return ("class", None)

    def takes(self, module, node, field):
        members = self.members(module, node)
        kinds = {kind for kind, _ in members}
        literals = sorted({v for kind, vs in members if kind == "literal" for v in vs or []})
        if "dataclass" in kinds:
            return "json"
        if kinds == {"bool", "str", "none"}:
            return {"optional": "text"}
        if "bool" in kinds:
            return "toggle"
        if literals:
            # Alongside `str` the literals are only shown; other values are judged later.
            return {"known": literals} if kinds & {"str", "class"} else literals
        if "many" in kinds:
            where, inside = next(what for kind, what in members if kind == "many")
            item = inside.elts[0] if isinstance(inside, ast.Tuple) else inside
            return {"many": self.item(where, item)}
        if kinds & {"list", "set", "tuple"}:
            return {"many": "text"}
        if "int" in kinds:
            if field == "max_model_len":
                return "tokens_or_auto"
            return "tokens" if field in self.human else "integer"
        if "float" in kinds:
            return "number"
        if "dict" in kinds:
            return "json_or_text" if kinds & {"str", "class"} else "json"
        return "text"

    def item(self, module, node):
        members = self.members(module, node)
        literals = sorted({v for kind, vs in members if kind == "literal" for v in vs or []})
        kinds = {kind for kind, _ in members}
        if literals:
            return literals
        if kinds == {"int"}:
            return "integer"
        return "number" if kinds == {"float"} else "text"

    human = frozenset()


def human_fields(tree):
    """Names in `human_readable_int_args` of the version, or fields compared with it."""
    found = set()
    for node in ast.walk(tree.module(ENGINE)):
        if isinstance(node, ast.Assign) and last_name(node.targets[0]) == "human_readable_int_args":
            found |= set(tree.values(ENGINE, node.value) or [])
        if isinstance(node, ast.Compare) and last_name(node.left) == "name":
            names = tree.values(ENGINE, node.comparators[0])
            if names and "max_num_batched_tokens" in names:
                found |= set(names)
    return frozenset(found | {"max_num_batched_tokens"} if found else found)


def fields(tree, module, node, seen=()):
    """Field -> (module, annotation) of a configuration class, bases first."""
    out = {}
    for base in node.bases:
        if last_name(base) and last_name(base) not in seen:
            for where, what in tree.resolve(module, last_name(base)):
                if isinstance(what, ast.ClassDef):
                    out |= fields(tree, where, what, (*seen, node.name))
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            if last_name(getattr(item.annotation, "value", None)) != "ClassVar":
                out[item.target.id] = (module, item.annotation)
    return out


def spread(call):
    """`kwargs_variable, field` of the `**kwargs["field"]` in a call."""
    for keyword in call.keywords:
        if keyword.arg is None:
            node = keyword.value
            if isinstance(node, ast.Dict):
                node = next((v for k, v in zip(node.keys, node.values) if k is None), None)
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
                return node.value.id, constant(node.slice)
    return None


def parser_names(tree, package, attribute):
    """Names of the parsers that a package registers."""
    for name in (f"vllm.{package}", f"vllm.entrypoints.openai.{package}"):
        for kind, node in tree.bindings(name).get(attribute, []):
            if kind == "value":
                return tree.values(name, node)
    found = set()
    marks = ("vllm/entrypoints/openai/tool_parsers/", "vllm/reasoning/", f"vllm/{package}/")
    for file in tree.names:
        if file.startswith(marks) and package.split("_")[0] in file:
            for node in ast.walk(ast.parse(tree.text(file))):
                if isinstance(node, ast.Call) and last_name(node.func) == "register_module":
                    found |= set(tree.values("", node.args[0]) or []) if node.args else set()
                    name = keywords(node).get("name")
                    found |= set(tree.values("", name) or []) if name else set()
    return sorted(found) or None


def read(tree):
    table = arguments.Table()
    types = Types(tree)
    types.human = human_fields(tree)
    engine = tree.module(ENGINE)
    for function in ast.walk(engine):
        if isinstance(function, ast.FunctionDef) and function.name == "add_cli_args":
            engine_flags(tree, types, table, function)
    for module in ("vllm.utils.argparse_utils", "vllm.utils"):
        for kind, what in tree.bindings(module).get("EnableDisableAction", []):
            table.inverses |= isinstance(what, ast.ClassDef)
    name = frontend_module(tree)
    frontend(tree, types, table, name, tree.module(name))
    for flag, package, attribute in (
        ("--tool-call-parser", "tool_parsers", "_TOOL_PARSERS_TO_REGISTER"),
        ("--reasoning-parser", "reasoning", "_REASONING_PARSERS_TO_REGISTER"),
    ):
        names = parser_names(tree, package, attribute)
        if names and flag in table.flags:
            # Plugins may add to them.
            table.flags[flag] = {"known": sorted(names)}
    return table


def frontend_module(tree):
    """The module of the server's own arguments, which has moved between versions."""
    for file in sorted(tree.names):
        if file.startswith("vllm/entrypoints/") and file.endswith("cli_args.py"):
            if "class FrontendArgs" in tree.text(file):
                return file.removesuffix(".py").replace("/", ".")
    raise SystemExit("no class FrontendArgs below vllm/entrypoints")


def engine_flags(tree, types, table, function):
    classes = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if last_name(node.value.func) == "get_kwargs":
                classes[last_name(node.targets[0])] = last_name(node.value.args[0])
    for call in ast.walk(function):
        if not (isinstance(call, ast.Call) and last_name(call.func) == "add_argument"):
            continue
        main, others = arguments.names_of(call)
        if main is None:
            continue
        through = spread(call)
        takes = None
        if through and through[0] in classes:
            for where, what in tree.resolve(ENGINE, classes[through[0]]):
                found = fields(tree, where, what).get(through[1])
                if found:
                    takes = types.takes(*found, through[1])
        own = keywords(call)
        if takes is None or "action" in own or "type" in own or "choices" in own:
            if takes is None or "action" in own or "choices" in own:
                takes = arguments.of_call(tree, ENGINE, call)
        table.add(main, others, takes, arguments.is_deprecated(call))


def frontend(tree, types, table, name, module):
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == "FrontendArgs":
            for field, (where, annotation) in fields(tree, name, node).items():
                flag = "--" + field.replace("_", "-")
                takes = types.takes(where, annotation, field)
                table.add(flag, [], takes)
        if isinstance(node, ast.FunctionDef):
            table.calls(tree, name, node)
    for call in ast.walk(module):
        # FrontendArgs replaces the parsing of some fields.
        if isinstance(call, ast.Assign) and isinstance(call.targets[0], ast.Subscript):
            target = call.targets[0]
            inner = target.value
            if isinstance(inner, ast.Subscript) and last_name(inner.value) == "frontend_kwargs":
                flag = "--" + str(constant(inner.slice)).replace("_", "-")
                if constant(target.slice) == "type" and last_name(call.value) == "loads":
                    table.flags[flag] = "json"
                if constant(target.slice) == "nargs" and flag in table.flags:
                    table.flags[flag] = arguments.nargs("text", constant(call.value))
