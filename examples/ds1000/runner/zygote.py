"""Imports the libraries once, then forks one enclosed process for each program that it is sent.

Arguments: a folder of its own, and a JSON object `{"preload": [module], "file_bytes", "folder_bytes",
"output_bytes"}`. Reads one JSON object a line from standard input, answers with one a line on standard
output; the first line says what was imported and which layers of protection hold.
"""

import binascii
import gc
import importlib
import importlib.util
import json
import os
import platform
import re
import select
import shutil
import signal
import sys
import tempfile
import time

import guard
import judge
import limits

IMPORTS = re.compile(r"^[ \t]*(?:import|from)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)
VERDICT_BYTES = 1 << 14
TAIL_BYTES = 2000


def preload(names):
    """Imports what is there. Returns versions by top-level name, None for what is missing."""
    versions = {}
    for name in names:
        top = name.partition(".")[0]
        try:
            importlib.import_module(name)
            versions.setdefault(top, str(getattr(sys.modules[top], "__version__", "")))
        except ImportError:
            if name == top:
                versions[top] = None
    return versions


def missing_modules(texts):
    """Top-level modules that the problem itself imports and that this interpreter lacks."""
    names = {name for text in texts for name in IMPORTS.findall(text)}
    lacking = []
    for name in sorted(names - {"__future__"}):
        if name in sys.modules or name in sys.builtin_module_names:
            continue
        try:
            found = importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            found = False
        if not found:
            lacking.append(name)
    return lacking


def prepare_child(folder, output, keep, job, config):
    """Makes the forked process the job's own: descriptors, folder, environment, limits. Returns what holds."""
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, keep)
    os.closerange(keep + 1, 1024)
    os.chdir(folder)
    kept = {k: v for k, v in os.environ.items() if k in config["environment"]}
    os.environ.clear()
    os.environ.update(kept, HOME=folder, TMPDIR=folder)
    tempfile.tempdir = folder
    return limits.enclose(folder, job["memory_bytes"], config["file_bytes"], job["seconds"])


def start(job, folder, config, body):
    """Forks; the child runs `body(report, held)`. Returns its id, the two pipes to read, and its token."""
    verdict_in, verdict_out = os.pipe()
    output_in, output_out = os.pipe()
    token = binascii.hexlify(os.urandom(16))
    pid = os.fork()
    if pid:
        os.close(verdict_out)
        os.close(output_out)
        return pid, verdict_in, output_in, token
    write, leave, dumps = os.write, os._exit, json.dumps

    def report(kind, detail):
        write(verdict_out, token + dumps([kind, detail]).encode()[:VERDICT_BYTES])
        leave(0)

    try:
        held = prepare_child(folder, output_out, verdict_out, job, config)
        body(report, held)
    except BaseException as error:
        report("sandbox", judge.last_line(error))
    leave(70)


def folder_size(folder):
    """Bytes below a folder; entries that vanish meanwhile count nothing."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                pass
    return total


def end(pid):
    """Ends the job with everything that it started, and collects it. Returns its wait status."""
    for kill in (lambda: os.kill(pid, signal.SIGKILL), lambda: os.killpg(pid, signal.SIGKILL)):
        try:
            kill()
        except ProcessLookupError:
            pass
    status = os.waitpid(pid, 0)[1]
    if os.getpid() == 1:
        # The first process of a namespace of its own: whatever is left in there belongs to the job.
        try:
            os.kill(-1, signal.SIGKILL)
            while os.waitpid(-1, 0)[0]:
                pass
        except (ProcessLookupError, ChildProcessError):
            pass
    return status


def watch(pid, verdict, output, deadline, folder, config):
    """Reads both pipes until the job ends or breaks a limit. Returns the verdict, the output's end, why it was cut."""
    said, tail, seen, cut = b"", b"", 0, None
    open_pipes = [verdict, output]
    next_look = time.monotonic() + 0.25
    while verdict in open_pipes and cut is None:
        now = time.monotonic()
        if now >= deadline:
            cut = "timeout"
            break
        if now >= next_look:
            next_look = now + 0.25
            if folder_size(folder) > config["folder_bytes"]:
                cut = "disk"
                break
        ready, _, _ = select.select(open_pipes, [], [], min(0.25, deadline - now))
        for pipe in ready:
            piece = os.read(pipe, 1 << 16)
            if not piece:
                open_pipes.remove(pipe)
            elif pipe == verdict:
                said += piece
                if len(said) > 2 * VERDICT_BYTES:
                    cut = "output"
            else:
                seen += len(piece)
                tail = (tail + piece)[-TAIL_BYTES:]
                if seen > config["output_bytes"]:
                    cut = "output"
    return said, tail, cut


def verdict_of(said, token, status, cut):
    """Kind and detail from what came through the pipe and how the process ended."""
    if cut is not None:
        return cut, ""
    if said.startswith(token):
        kind, detail = json.loads(said[len(token):].decode())
        return kind, detail
    if said:
        return "banned", "writes a verdict of its own"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return "timeout", ""
        return "ended", "killed by " + signal.Signals(number).name
    return "ended", "exit status %d before the tests were over" % os.WEXITSTATUS(status)


def serve(job, base, config, body):
    """Runs one job to its end. Returns kind, detail, seconds and the end of its output."""
    folder = tempfile.mkdtemp(dir=base)
    begun = time.monotonic()
    try:
        pid, verdict, output, token = start(job, folder, config, body)
        said, tail, cut = watch(pid, verdict, output, begun + job["seconds"], folder, config)
        status = end(pid)
        os.close(verdict)
        os.close(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    kind, detail = verdict_of(said, token, status, cut)
    return {"kind": kind, "detail": detail, "seconds": round(time.monotonic() - begun, 3),
            "output": tail.decode("utf-8", "replace")}


def run(job, base, config):
    """The answer to one line: a missing module is told before anything runs."""
    lacking = missing_modules(job["needs"])
    if lacking:
        return {"kind": "missing", "detail": " ".join(lacking), "seconds": 0.0, "output": ""}

    def body(report, held):
        judge.judge(job["context"], job["solution"], os.getcwd(), report)

    return serve(job, base, config, body)


def main():
    base, config = sys.argv[1], json.loads(sys.argv[2])
    sys.path[:] = [p for p in sys.path if os.path.realpath(p or ".") != os.path.dirname(os.path.realpath(__file__))]
    os.environ.pop("PATH", None)
    config["environment"] = sorted(os.environ)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    versions = preload(config["preload"])
    gc.collect()
    gc.freeze()
    probe = {"seconds": 20, "memory_bytes": 1 << 30}
    held = serve(probe, base, config, lambda report, held: report("passed", held))
    print(json.dumps({"ready": {"python": platform.python_version(), "versions": versions, "layers": held["detail"],
                                "namespace": os.getpid() == 1}}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), base, config)), file=answers, flush=True)


if __name__ == "__main__":
    main()
