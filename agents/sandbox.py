"""A sandbox for Python code that nobody has read: bubblewrap, which needs no daemon, no image and no root.

What the code finds is a Python interpreter with its standard library and the system's shared libraries, read-only, and
an empty working folder in memory. Every namespace is its own: no network, no other processes, no /proc, no home, no
environment. It dies with the process that started it. The code is the first process of its namespace: bubblewrap's own
first process would be left to the machine's init as a zombie, and not every container has an init that reaps.

Resource limits alone do not stop a fork bomb where the caller is root, so a system call filter (seccomp) allows one
process with threads, and no sockets but pairs of its own, memory files, shared memory, message queues or tracing, none
of which the limits count or the namespaces contain. What is written is limited by the size of the working folder, how
many files there are by who started it all (`python_tool.py`).

Source: bwrap(1); seccomp(2); system call numbers from the kernel's unistd tables.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import sysconfig
from errno import ENOSYS, EPERM
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

__all__ = ["CHILD", "WORK", "command", "filter_file", "problem"]

CHILD = Path(__file__).with_name("python_child.py")
"""What runs in it."""
HOME = "/python"
"""Where the interpreter is in the sandbox; its real place would tell whose machine this is."""
WORK = "/work"
"""The working folder, in the sandbox."""
NOBODY = "65534"
PROBE_SECONDS = 30.0

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""How the kernel calls the machines for which there is a filter."""
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
CLONE_THREAD = 0x10000
PRCTL = {"x86_64": 157, "aarch64": 167}
PR_SET_PDEATHSIG = 1
"""Code that could take this back would outlive a caller that is killed."""
X32 = 0x40000000
"""x86_64 has a second table of calls from here on, which the filter would not know."""
REFUSED = {
    "x86_64": {
        "fork": 57, "vfork": 58, "socket": 41, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240,
        "memfd_create": 319, "memfd_secret": 447,
        "unshare": 272, "setns": 308, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "keyctl": 250, "add_key": 248, "request_key": 249, "bpf": 321, "perf_event_open": 298,
        "userfaultfd": 323, "io_uring_setup": 425,
    },
    "aarch64": {
        "socket": 198, "shmget": 194, "msgget": 186, "semget": 190, "mq_open": 180,
        "memfd_create": 279, "memfd_secret": 447,
        "unshare": 97, "setns": 268, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271,
        "keyctl": 219, "add_key": 217, "request_key": 218, "bpf": 280, "perf_event_open": 241,
        "userfaultfd": 282, "io_uring_setup": 425,
    },
}  # fmt: skip
"""Calls that fail with EPERM, with their numbers."""

INSTALL = "install bubblewrap (apt-get install bubblewrap; dnf and pacman have it under the same name)"
ALLOW = (
    "allow namespaces: sysctl -w user.max_user_namespaces=10000; on Debian kernel.unprivileged_userns_clone=1; on "
    "Ubuntu kernel.apparmor_restrict_unprivileged_userns=0; in Docker --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined; bubblewrap must be 0.7 or newer"
)


def problem() -> str:
    """Why there is no sandbox on this machine, and what to do about it; empty when there is one."""
    if sys.platform != "linux" or platform.machine() not in AUDIT:
        return f"there is a sandbox on Linux for {' and '.join(AUDIT)} only, and this is {platform.platform()}"
    found = shutil.which("bwrap")
    return _tried(found) if found else f"bubblewrap, which makes the sandbox, is not installed; {INSTALL}"


@lru_cache(maxsize=1)
def _tried(bwrap: str) -> str:
    """What is wrong with a run of nothing."""
    with filter_file() as calls:
        try:
            done = subprocess.run(
                command(bwrap, calls.fileno(), 1 << 20),
                input=json.dumps({"code": "", "limits": {}}).encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[calls.fileno()],
                timeout=PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"bubblewrap, which makes the sandbox, does not run ({error}); {ALLOW}"
    if done.stdout == b"\0" and done.returncode == 0:
        return ""
    said = " ".join(done.stdout.decode(errors="replace").replace("\0", "").split()) or f"status {done.returncode}"
    return f"bubblewrap cannot make a sandbox here ({said[:300]}); {ALLOW}"


def command(bwrap: str, calls: int, disk: int, info: int | None = None) -> list[str]:
    """The command that runs CHILD in the sandbox.

    calls: number of an open `filter_file`; disk: bytes of the working folder; info: number of an open file to which
    bubblewrap writes a JSON object with the `child-pid`.
    """
    environment = {
        "PYTHONHOME": HOME,
        "LD_LIBRARY_PATH": f"{HOME}/lib",
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "1",  # each further one takes 64 MB of the address space
        "HOME": WORK,
        "TMPDIR": WORK,
    }
    isolated = ["--unshare-all", "--unshare-user", "--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox"]
    return [
        *(bwrap, *isolated, "--cap-drop", "ALL", "--as-pid-1", "--die-with-parent", "--new-session", "--clearenv"),
        *(word for name, value in environment.items() for word in ("--setenv", name, value)),
        *(("--info-fd", str(info)) if info is not None else ()),
        *_libraries(),
        *_interpreter(),
        *("--ro-bind", str(CHILD), f"{HOME}/child.py"),
        *("--dev", "/dev", "--remount-ro", "/dev"),
        *("--size", str(disk), "--tmpfs", WORK, "--chdir", WORK, "--remount-ro", "/"),
        *("--seccomp", str(calls), "--", f"{HOME}/bin/python3", "-u", "-S", "-s", "-P", f"{HOME}/child.py"),
    ]


@lru_cache(maxsize=1)
def _libraries() -> tuple[str, ...]:
    """Mounts of the system's shared libraries. Debian keeps those of one machine apart from everything else."""
    own = Path("/usr/lib") / str(sysconfig.get_config_var("MULTIARCH"))
    mounts = [word for path in (own if own.is_dir() else Path("/usr/lib"), Path("/usr/lib64")) for word in _mount(path)]
    for path in (Path("/lib"), Path("/lib64")):
        mounts += ["--symlink", os.readlink(path), str(path)] if path.is_symlink() else _mount(path)
    return tuple(mounts)


@lru_cache(maxsize=1)
def _interpreter() -> tuple[str, ...]:
    """Mounts of the interpreter: its program, its standard library without what was installed, its own libraries."""
    base, standard = Path(sys.base_prefix), Path(sysconfig.get_path("stdlib"))
    there = f"{HOME}/{standard.relative_to(base)}"
    mounts = ["--ro-bind", os.path.realpath(sys.executable), f"{HOME}/bin/python3", *_mount(standard, there)]
    for installed in ("site-packages", "dist-packages"):
        if (standard / installed).is_dir():
            mounts += ["--tmpfs", f"{there}/{installed}", "--remount-ro", f"{there}/{installed}"]
    if base != Path("/usr"):  # there they are the system's
        for library in sorted((base / "lib").glob("lib*.so*")):
            mounts += _mount(library, f"{HOME}/lib/{library.name}")
    return tuple(mounts)


def _mount(path: Path, there: str | None = None) -> list[str]:
    return ["--ro-bind-try", str(path), there or str(path)]


def filter_file() -> BinaryIO:
    """The system call filter, ready to be read by bubblewrap from the file's number."""
    read, write = os.pipe()
    with os.fdopen(write, "wb") as into:
        into.write(_filter(platform.machine()))
    return os.fdopen(read, "rb")


def _filter(machine: str) -> bytes:
    """A program for the kernel's packet filter: (code, jump if true, jump if false, constant) for each instruction."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    number, architecture, first_argument = 0, 4, 16  # offsets in struct seccomp_data; the low half of the argument
    kill, allow, refuse, absent = 0x80000000, 0x7FFF0000, 0x00050000 | EPERM, 0x00050000 | ENOSYS
    program = [(load, 0, 0, architecture), (equal, 1, 0, AUDIT[machine]), (give, 0, 0, kill), (load, 0, 0, number)]
    if machine == "x86_64":
        program += [(at_least, 0, 1, X32), (give, 0, 0, kill)]
    program += [(equal, 0, 1, CLONE3), (give, 0, 0, absent)]  # the C library then uses clone, which can be looked into
    for call in REFUSED[machine].values():
        program += [(equal, 0, 1, call), (give, 0, 0, refuse)]
    program += [(equal, 0, 4, PRCTL[machine]), (load, 0, 0, first_argument)]
    program += [(equal, 0, 1, PR_SET_PDEATHSIG), (give, 0, 0, refuse), (give, 0, 0, allow)]
    program += [(equal, 0, 3, CLONE[machine]), (load, 0, 0, first_argument)]
    program += [(any_bit, 1, 0, CLONE_THREAD), (give, 0, 0, refuse), (give, 0, 0, allow)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
