"""What the kernel keeps a job from doing. Each layer says whether it holds; none is taken for granted.

Constants are those of Linux's uapi headers (landlock.h, seccomp.h, prctl.h, unistd.h of the two machines).
"""

import ctypes
import os
import platform
import resource
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38

# Calls by number on (x86_64, aarch64); None where a machine lacks one.
REFUSED = {
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "bind": (49, 200),
    "listen": (50, 201), "accept4": (288, 242),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "tkill": (200, 130), "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97),
    "setns": (308, 268), "pivot_root": (155, 41), "chroot": (161, 51), "bpf": (321, 280),
    "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "userfaultfd": (323, 282),
    "reboot": (169, 142), "init_module": (175, 105), "finit_module": (313, 273),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "sethostname": (170, 161), "keyctl": (250, 219), "open_by_handle_at": (304, 265),
    "setrlimit": (160, 164), "chown": (92, None), "lchown": (94, None), "fchown": (93, 55),
    "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "mount_setattr": (442, 442), "move_mount": (429, 429), "fsopen": (430, 430),
    "shmget": (29, 194), "msgget": (68, 186), "mq_open": (240, 180),
}
# Landlock leaves modes alone; a copy made by shutil wants the call to succeed.
PRETENDED = {"chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)}
CLONE, CLONE3, KILL, TGKILL, PRLIMIT = (56, 220), (435, 435), (62, 129), (234, 131), (302, 261)
AUDIT_ARCH = (0xC000003E, 0xC00000B7)
CLONE_THREAD, EPERM, ENOSYS = 0x00010000, 1, 38
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06


def machine():
    """Index into the tables of calls, None for a machine that they lack."""
    return {"x86_64": 0, "aarch64": 1}.get(platform.machine())


def seccomp_program(column, pid):
    """The filter as bytes: refuses what starts processes, opens sockets or reaches beyond this one."""
    code = []

    def put(op, k, true=0, false=0):
        code.append(struct.pack("HBBI", op, true, false, k))

    def number(calls):
        return calls[column]

    put(LOAD, 4)
    put(EQUAL, AUDIT_ARCH[column], 1, 0)
    put(RETURN, ERRNO | EPERM)
    put(LOAD, 0)
    if column == 0:
        # The x32 numbers would be a second name for every call.
        put(ANY_BIT, 0x40000000, 0, 1)
        put(RETURN, ERRNO | ENOSYS)
    for table, answer in ((REFUSED, ERRNO | EPERM), (PRETENDED, ERRNO)):
        for nr in sorted({number(v) for v in table.values() if number(v) is not None}):
            put(EQUAL, nr, 0, 1)
            put(RETURN, answer)
    put(EQUAL, number(CLONE3), 0, 1)
    put(RETURN, ERRNO | ENOSYS)
    # Threads may start, processes may not; signals may go to this process; limits may be read.
    for calls, at, test, value, good in (
        (CLONE, 16, ANY_BIT, CLONE_THREAD, True),
        (KILL, 16, EQUAL, pid, True),
        (TGKILL, 16, EQUAL, pid, True),
        (PRLIMIT, 32, EQUAL, 0, True),
    ):
        put(EQUAL, number(calls), 0, 4)
        put(LOAD, at)
        put(test, value, 0, 1)
        put(RETURN, ALLOW)
        put(RETURN, ERRNO | EPERM)
    put(RETURN, ALLOW)
    return b"".join(code)


def apply_seccomp():
    """Whether the filter holds now."""
    column = machine()
    if column is None:
        return False
    code = seccomp_program(column, os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    program = ctypes.create_string_buffer(header, len(header))
    return LIBC.prctl(PR_SET_SECCOMP, 2, program, 0, 0) == 0


def apply_landlock(folder):
    """Whether files can now be written below `folder` only (and nothing bound or connected by TCP)."""
    abi = LIBC.syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if abi < 1 or machine() is None:
        return False
    execute, write, read_file, read_dir = 1, 2, 4, 8
    files = (1 << 13) - 1
    if abi >= 2:
        files |= 1 << 13
    if abi >= 3:
        files |= 1 << 14
    if abi >= 5:
        files |= 1 << 15
    fields = [files]
    if abi >= 4:
        fields.append(3)
    if abi >= 6:
        fields.append(3)
    attributes = struct.pack("%dQ" % len(fields), *fields)
    rules = LIBC.syscall(444, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    if rules < 0:
        return False

    def allow(path, rights):
        at = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", rights & files, at)
        done = LIBC.syscall(445, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint(0)) == 0
        os.close(at)
        return done

    held = allow("/", execute | read_file | read_dir) and allow(folder, files & ~(1 << 6 | 1 << 9 | 1 << 11))
    held = held and allow("/dev/null", read_file | write)
    held = held and LIBC.syscall(446, ctypes.c_int(rules), ctypes.c_uint(0)) == 0
    os.close(rules)
    return held


def drop_capabilities():
    """Whether root's powers are gone."""
    header = struct.pack("=Ii", 0x20080522, 0)
    return LIBC.capset(header, bytes(24)) == 0


def mapped_bytes():
    """Address space of this process, of which most is shared with the one that it came from."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def apply_rlimits(memory_bytes, file_bytes, seconds):
    """Limits that every system with `resource` has; memory is what comes on top of the imports."""
    def at_most(kind, value):
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))

    at_most(resource.RLIMIT_AS, mapped_bytes() + memory_bytes)
    at_most(resource.RLIMIT_FSIZE, file_bytes)
    at_most(resource.RLIMIT_CORE, 0)
    at_most(resource.RLIMIT_NOFILE, 256)
    at_most(resource.RLIMIT_CPU, int(seconds) + 2)


def enclose(folder, memory_bytes, file_bytes, seconds):
    """All layers for this process, which can't be undone. Returns which of them hold, by name."""
    LIBC.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    apply_rlimits(memory_bytes, file_bytes, seconds)
    privileges = LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    held = {"landlock": privileges and apply_landlock(folder)}
    held["capabilities"] = drop_capabilities()
    held["seccomp"] = privileges and apply_seccomp()
    return held
