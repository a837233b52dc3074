"""Runs one solution against its problem inside of an enclosed process."""

import _thread
import builtins
import os
import sys
import time
import traceback
import types

import guard

KEPT = 300


def last_line(error):
    """An exception as the last line of its traceback, cut to what a report has room for."""
    lines = [line for line in traceback.format_exception_only(type(error), error) if line.strip()]
    text = lines[-1].strip() if lines else type(error).__name__
    return text if len(text) <= KEPT else text[:KEPT] + "…"


def outcome_of(error):
    """What an exception means for the solution: kind and one line."""
    if isinstance(error, MemoryError):
        return "memory", last_line(error)
    if isinstance(error, SystemExit):
        return "ended", "sys.exit(%r)" % (error.code,)
    if isinstance(error, AssertionError):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return "wrong", " ".join(lines)[:KEPT]
    return "exception", last_line(error)


def seed_all():
    """The same start for every program that draws numbers without a seed of its own."""
    import random

    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def judge(context, solution, folder, report):
    """Runs the problem's tests on `solution`; `report(kind, detail)` tells the outcome and ends the process."""
    run, take, compare, deceiving = builtins.exec, guard.snapshot, guard.changed, guard.deceiving
    threads, pause, compiled = _thread._count, time.sleep, builtins.compile
    is_text = str

    def inspect_after(before, values):
        for _ in range(20):
            if threads() == 0:
                break
            pause(0.05)
        else:
            report("banned", "leaves a thread running")
        difference = compare(before)
        if difference is not None:
            report("banned", difference)
        liar = deceiving(values)
        if liar is not None:
            report("banned", "%s decides by itself what it is equal to" % liar)

    def guarded_exec(code, values=None, local_values=None):
        values = {} if values is None else values
        if isinstance(code, is_text):
            code = compiled(code, guard.ANSWER, "exec")
        before = take()
        try:
            if local_values is None:
                run(code, values)
            else:
                run(code, values, local_values)
        finally:
            inspect_after(before, values)

    space = {"exec": guarded_exec}
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        refused = guard.refused_text(solution)
        if refused is not None:
            report("banned", "names " + refused)
        guard.install_hook(os.path.realpath(folder), report)
        run(compiled(context, guard.PROBLEM, "exec"), space)
        seed_all()
        if "test_execution" not in space:
            report("broken", "code_context does not define test_execution")
        if "test_string" in space:
            space["test_string"](solution)
        space["test_execution"](solution)
    except BaseException as error:
        kind, detail = outcome_of(error)
        report(kind, detail)
    report("passed", "")
