"""What an `add_argument` call says a flag takes, in the words of the tables."""

import ast

from tree import constant, keywords, last_name

SCALARS = {
    "int": "integer",
    "float": "number",
    "str": "text",
    "bool": "text",
    "human_readable_int": "tokens",
    "human_readable_int_or_auto": "tokens_or_auto",
    "loads": "json",
    "json_list_type": "text",
}


def listed(tree, module, node):
    values = tree.values(module, node) if node is not None else None
    return sorted(set(values)) if values else None


def of_call(tree, module, call):
    """The kind of value that a literal `add_argument(...)` describes."""
    given = keywords(call)
    action = given.get("action")
    name = constant(action) or last_name(action)
    if name in ("store_true", "store_false", "store_const", "count", "help", "version"):
        return "switch"
    if name in ("BooleanOptionalAction", "EnableDisableAction"):
        return "toggle"
    if name and "StoreTrue" in name:
        return "switch"
    if name and "StoreConst" in name and constant(given.get("nargs", ast.Constant(0))) == 0:
        return "switch"
    choices = listed(tree, module, given.get("choices"))
    kind = given.get("type")
    if isinstance(kind, ast.Call) and kind.args:
        kind = kind.args[0]
    base = choices or SCALARS.get(last_name(kind), "text")
    return nargs(base, constant(given.get("nargs")))


def nargs(base, count):
    if count in ("+", "*") or isinstance(count, int):
        return {"many": base}
    if count == "?":
        return {"optional": base}
    return base


def names_of(call):
    """(main name, other names) of the flags that a call adds."""
    names = [constant(a) for a in call.args]
    names = [n for n in names if isinstance(n, str) and n.startswith("-")]
    if not names:
        return None, []
    long = [n for n in names if n.startswith("--")]
    main = (long or names)[0]
    return main, [n for n in names if n != main]


def is_deprecated(call):
    given = keywords(call)
    if constant(given.get("deprecated")) is True:
        return True
    action = last_name(given.get("action")) or ""
    text = ast.unparse(given["help"]).lower() if "help" in given else ""
    return action.startswith("Deprecated") or "deprecat" in text


class Table:
    """What becomes a data file."""

    def __init__(self):
        self.flags, self.also, self.deprecated, self.removed = {}, {}, {}, {}
        # Whether `--disable-x` turns `--enable-x` off, and the other way round.
        self.inverses = False

    def add(self, main, others, takes, deprecated=False, instead=""):
        self.flags[main] = takes
        for other in others:
            self.also[other] = main
        if deprecated:
            self.deprecated[main] = instead

    def calls(self, tree, module, node):
        """Every literal `add_argument` below a node; lists may be named on the way."""
        for name in ast.walk(node):
            if isinstance(name, ast.Assign) and isinstance(name.targets[0], ast.Name):
                names = tree.bindings(module).setdefault(name.targets[0].id, [])
                names.append(("value", name.value))
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and last_name(call.func) == "add_argument":
                main, others = names_of(call)
                if main:
                    instead = constant(keywords(call).get("new_flag", ast.Constant("")))
                    takes = of_call(tree, module, call)
                    self.add(main, others, takes, is_deprecated(call), instead or "")
