"""What a solution may not do inside of the interpreter: look into its examiner, or change it.

The kernel's limits protect the machine. This protects the verdict, as far as one interpreter can protect
itself: an audit hook, which can't be removed, and a comparison of the functions that tests rely on before
and after the solution ran. `stop(kind, detail)` reports and ends the process; it never returns.
"""

import os
import re
import sys
import sysconfig

ANSWER = "<answer>"
PROBLEM = "<problem>"

_STDLIB = os.path.realpath(sysconfig.get_paths()["stdlib"]) + os.sep
_PACKAGES = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)

# Attributes that lead from any object to the frames of whoever called. No data needs them.
_REACHING = re.compile(
    r"\b(f_back|f_globals|f_locals|f_builtins|tb_frame|gi_frame|cr_frame|ag_frame|_getframe|_current_frames"
    r"|addaudithook|__subclasses__)\b"
)
_NETWORK = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
            "socket.gethostbyname", "socket.__new__", "urllib.Request", "http.client.connect", "ftplib.connect")
_PROCESSES = ("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile",
              "subprocess.Popen", "pty.spawn", "os.kill", "os.killpg", "signal.pthread_kill")
_MIRRORS = ("sys._getframe", "sys._current_frames", "sys._current_exceptions", "gc.get_objects",
            "gc.get_referrers", "gc.get_referents", "sys.settrace", "sys.setprofile", "sys.addaudithook",
            "sys.monitoring.register_callback", "code.__new__")
_CHANGES = {"os.remove": (0,), "os.rmdir": (0,), "os.mkdir": (0,), "os.rename": (0, 1), "os.link": (1,),
            "os.symlink": (1,), "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,)}
# Functions of the standard library that hand out or print frames of their callers' callers.
_WALKERS = {"currentframe", "stack", "getouterframes", "getinnerframes", "trace", "walk_stack", "extract_stack",
            "format_stack", "print_stack", "extract", "_extract_from_extended_frame_gen"}
_WALKED = (os.sep + "inspect.py", os.sep + "traceback.py")


def refused_text(solution):
    """The name in a solution's text that leads to its examiner, if there is one."""
    found = _REACHING.search(solution)
    return found.group(0) if found else None


def _from_solution(name):
    return name.startswith("<") and not name.startswith("<frozen") and name != PROBLEM


def _is_stdlib(name):
    inside = name.startswith(_STDLIB) or name.startswith("<frozen")
    return inside and not any(part in name for part in _PACKAGES)


def _asked_by_solution(frame):
    """Whether the first frame outside of the standard library is the solution's."""
    while frame is not None and _is_stdlib(frame.f_code.co_filename):
        frame = frame.f_back
    return frame is not None and _from_solution(frame.f_code.co_filename)


def _mirrored(frame):
    """Whether the solution itself looks, or a walker of the standard library in its name."""
    if frame is None:
        return False
    code = frame.f_code
    if _from_solution(code.co_filename):
        return True
    return code.co_name in _WALKERS and code.co_filename.endswith(_WALKED) and _asked_by_solution(frame)


def _outside(path, folder):
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str):
        return False
    full = os.path.realpath(path)
    return full != os.devnull and not (full + os.sep).startswith(folder + os.sep)


def install_hook(folder, stop):
    """From here on the interpreter reports what the solution asks for. `folder` is the job's own."""
    getframe = sys._getframe
    state = {"busy": False}

    def judge(event, args):
        # Two frames up: the hook that called this, and what it was called for.
        caller = getframe(2)
        if event == "open":
            path, mode, flags = args
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) if flags else mode and set(mode) & set("wax+")
            if writes and _outside(path, folder):
                if _asked_by_solution(caller):
                    stop("banned", "writes outside of its folder: %.200s" % (path,))
                raise PermissionError(13, "outside of the job's folder", path)
            if isinstance(path, str) and path.startswith("/proc/") and _asked_by_solution(caller):
                stop("banned", "reads %.200s" % path)
        elif event in _CHANGES:
            for at in _CHANGES[event]:
                if _outside(args[at], folder):
                    if _asked_by_solution(caller):
                        stop("banned", "%s outside of its folder: %.200s" % (event, args[at]))
                    raise PermissionError(13, "outside of the job's folder", args[at])
        elif event in _MIRRORS:
            if _mirrored(caller):
                stop("banned", "looks into its examiner: " + event)
        elif event.startswith("ctypes."):
            if _asked_by_solution(caller):
                stop("banned", "reaches around the interpreter: " + event)
        elif event in ("object.__setattr__", "object.__delattr__"):
            if args[1] in ("__code__", "__defaults__", "__kwdefaults__") and _asked_by_solution(caller):
                stop("banned", "changes %s" % args[1])
        elif event == "object.__getattr__":
            if _from_solution(caller.f_code.co_filename) and args[1] != "__code__":
                stop("banned", "reads %s" % args[1])
        elif event in _NETWORK or event in _PROCESSES:
            what = "network" if event in _NETWORK else "processes"
            if _asked_by_solution(caller):
                stop("banned", "%s: %s" % (what, event))
            raise PermissionError(1, "%s: refused" % event)

    def hook(event, args):
        if state["busy"] or event in _QUIET:
            return
        state["busy"] = True
        try:
            judge(event, args)
        finally:
            state["busy"] = False

    sys.addaudithook(hook)


_QUIET = frozenset(("import", "compile", "exec", "marshal.loads", "marshal.load", "os.listdir", "os.scandir",
                    "object.__init__", "builtins.id", "array.__new__", "pickle.find_class"))

# Modules whose functions decide what equal means: nothing in them may be bound anew.
_STRICT = ("builtins", "copy", "io", "tokenize", "token", "math", "operator", "numpy", "numpy.testing",
           "numpy.testing._private.utils", "numpy._core.numeric", "numpy.core.numeric", "numpy._core.fromnumeric",
           "numpy.linalg", "pandas", "pandas.testing", "pandas._testing", "pandas._testing.asserters",
           "scipy.sparse", "PIL.Image", "sklearn.utils", "torch.testing")
_CLASSES = (("pandas", ("DataFrame", "Series", "Index")), ("PIL.Image", ("Image",)),
            ("matplotlib.axes", ("Axes",)), ("matplotlib.figure", ("Figure",)),
            ("scipy.sparse", ("csr_matrix", "csc_matrix", "coo_matrix", "csr_array")))
_COMPARISONS = ("__eq__", "__ne__", "__bool__", "__sub__", "__rsub__", "__instancecheck__", "__class__",
                "__array__", "__array_ufunc__", "__array_function__")


def snapshot():
    """What must be as it is after a solution: callables by module, methods by class, the import system."""
    strict = {}
    for name in _STRICT:
        module = sys.modules.get(name)
        if module is not None:
            strict[name] = (module, {k: v for k, v in vars(module).items() if callable(v) and k != "_"})
    classes = []
    for name, members in _CLASSES:
        module = sys.modules.get(name)
        for member in members:
            kind = getattr(module, member, None)
            while isinstance(kind, type) and kind is not object:
                classes.append((kind, {k: v for k, v in vars(kind).items() if callable(v) or isinstance(v, property)}))
                kind = kind.__base__
    modules = {k: v for k, v in sys.modules.items() if k != "__main__"}
    return strict, classes, modules, list(sys.meta_path), list(sys.path_hooks)


def changed(before):
    """The first thing that is no longer as `snapshot` found it, or None."""
    strict, classes, modules, meta_path, path_hooks = before
    for name, module in modules.items():
        if sys.modules.get(name) is not module:
            return "module %s was replaced" % name
    for name, (module, functions) in strict.items():
        now = vars(module)
        for key, value in functions.items():
            if now.get(key) is not value:
                return "%s.%s was replaced" % (name, key)
    for name, module in modules.items():
        for key, value in list(vars(module).items()) if hasattr(module, "__dict__") else ():
            code = getattr(value, "__code__", None) if type(value) is type(changed) else None
            if code is not None and _from_solution(code.co_filename) and not name.startswith("_"):
                if getattr(value, "__module__", None) in (None, "builtins") or code.co_filename == ANSWER:
                    return "%s.%s was replaced" % (name, key)
    for kind, members in classes:
        now = vars(kind)
        for key, value in members.items():
            if now.get(key) is not value:
                return "%s.%s was replaced" % (kind.__name__, key)
    if list(sys.meta_path) != meta_path or list(sys.path_hooks) != path_hooks:
        return "the import system was changed"
    return None


def deceiving(values):
    """The name of a value whose class, made by the solution, decides by itself what it is equal to."""
    for name, value in values.items():
        kind = type(value)
        if name == "__builtins__" or kind.__flags__ & (1 << 9) == 0:
            continue
        for ancestor in kind.__mro__:
            own = vars(ancestor)
            # What `dataclass` writes compares field by field.
            if _made_by_solution(ancestor) and "__dataclass_fields__" not in own and any(c in own for c in _COMPARISONS):
                return name
    return None


def _made_by_solution(kind):
    codes = (getattr(member, "__code__", None) for member in vars(kind).values())
    return any(code is not None and _from_solution(code.co_filename) for code in codes)
