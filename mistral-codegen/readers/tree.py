"""Files of a package, and what names in its Python sources stand for. Nothing of it is executed."""

import ast
import functools
import pathlib
import zipfile


class Tree:
    """A wheel, or a folder of sources."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.zip = zipfile.ZipFile(path) if self.path.is_file() else None
        if self.zip:
            self.names = set(self.zip.namelist())
        else:
            files = self.path.rglob("*.py")
            self.names = {file.relative_to(self.path).as_posix() for file in files}

    def text(self, name):
        if self.zip:
            return self.zip.read(name).decode()
        return (self.path / name).read_text()

    @functools.lru_cache(maxsize=None)
    def module(self, dotted):
        """The parsed module, or None when the package doesn't have it."""
        base = dotted.replace(".", "/")
        for name in (base + ".py", base + "/__init__.py"):
            if name in self.names:
                return ast.parse(self.text(name))
        return None

    def is_package(self, dotted):
        return dotted.replace(".", "/") + "/__init__.py" in self.names

    @functools.lru_cache(maxsize=None)
    def bindings(self, dotted):
        """Name -> list of (kind, what) of a module's top level, conditional blocks included."""
        found = {}
        module = self.module(dotted)

        def add(name, kind, what):
            found.setdefault(name, []).append((kind, what))

        def visit(body):
            for node in body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    add(node.name, "def", node)
                elif isinstance(node, ast.Assign):
                    for target in node.targets:
                        if isinstance(target, ast.Name):
                            add(target.id, "value", node.value)
                elif isinstance(node, ast.AnnAssign) and node.value is not None:
                    if isinstance(node.target, ast.Name):
                        add(node.target.id, "value", node.value)
                elif isinstance(node, ast.TypeAlias if hasattr(ast, "TypeAlias") else ()):
                    add(node.name.id, "value", node.value)
                elif isinstance(node, ast.ImportFrom):
                    source = node.module or ""
                    if node.level:
                        parts = dotted.split(".")
                        up = node.level - (1 if self.is_package(dotted) else 0)
                        parts = parts[: len(parts) - up] if up else parts
                        source = ".".join(parts + ([node.module] if node.module else []))
                    for alias in node.names:
                        add(alias.asname or alias.name, "import", (source, alias.name))
                elif isinstance(node, ast.If | ast.Try):
                    visit(node.body)
                    visit(node.orelse)
                    for handler in getattr(node, "handlers", []):
                        visit(handler.body)

        if module is not None:
            visit(module.body)
        return found

    def resolve(self, dotted, name, seen=frozenset()):
        """Every (module, node) that `name` may stand for in a module, imports followed."""
        if (dotted, name) in seen:
            return []
        seen = seen | {(dotted, name)}
        found = []
        for kind, what in self.bindings(dotted).get(name, []):
            if kind == "import":
                found += self.resolve(what[0], what[1], seen)
            else:
                found.append((dotted, what))
        return found

    def values(self, dotted, node, depth=0):
        """The texts that an expression lists, or None when reading can't tell."""
        if depth > 12:
            return None
        sub = functools.partial(self.values, dotted, depth=depth + 1)
        if isinstance(node, ast.Constant):
            return None if node.value is None else [str(node.value)]
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            out = []
            for item in node.elts:
                if isinstance(item, ast.Constant) and item.value is None:
                    continue
                part = sub(item.value if isinstance(item, ast.Starred) else item)
                if part is None:
                    return None
                out += part
            return out
        if isinstance(node, ast.Dict):
            return sub(ast.List(elts=[key for key in node.keys if key is not None]))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = sub(node.left), sub(node.right)
            return None if left is None or right is None else left + right
        if isinstance(node, ast.Subscript):
            head = node.value
            name = head.attr if isinstance(head, ast.Attribute) else getattr(head, "id", "")
            if name == "Literal":
                return sub(node.slice)
            return None
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in ("list", "set", "sorted", "tuple", "frozenset", "get_args") and node.args:
                return sub(node.args[0])
            if name == "keys" and isinstance(called, ast.Attribute):
                return sub(called.value)
            if isinstance(called, ast.Name) and not node.args:
                for module, what in self.resolve(dotted, called.id):
                    if isinstance(what, ast.FunctionDef):
                        return self.returned(module, what, depth)
            return None
        if isinstance(node, ast.Name):
            for module, what in self.resolve(dotted, node.id):
                if isinstance(what, ast.ClassDef):
                    continue
                found = self.values(module, what, depth + 1)
                if found is not None:
                    return found
        return None

    def returned(self, module, function, depth):
        """What a function without arguments returns last; names imported inside it are followed."""
        local = {}
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    local[alias.asname or alias.name] = (node.module, alias.name)
        for node in reversed([n for n in ast.walk(function) if isinstance(n, ast.Return)]):
            inner = node.value
            if isinstance(inner, ast.Call) and inner.args:
                inner = inner.args[0]
            if isinstance(inner, ast.Name) and inner.id in local:
                source, name = local[inner.id]
                for where, what in self.resolve(source, name):
                    found = self.values(where, what, depth + 1)
                    if found is not None:
                        return found
            found = self.values(module, node.value, depth + 1)
            if found is not None:
                return found
        return None


def constant(node):
    return node.value if isinstance(node, ast.Constant) else None


def keywords(call):
    return {k.arg: k.value for k in call.keywords if k.arg}


def last_name(node):
    if isinstance(node, ast.Attribute):
        return node.attr
    return getattr(node, "id", None)
