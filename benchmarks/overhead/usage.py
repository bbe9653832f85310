"""What a process uses: memory, processor time, files. Standard library alone.

Memory and the time of helper processes are read from ``/proc``, so they are known
on Linux alone; elsewhere they are None or 0.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

__all__ = ["folder_bytes", "helpers_cpu_seconds", "resident_bytes", "thread_cpu_seconds"]


def resident_bytes() -> int | None:
    """Return the memory that this process holds, None where it cannot be known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def thread_cpu_seconds(name: str) -> float | None:
    """Return the processor time of this process's thread called `name`, None without one."""
    for thread in threading.enumerate():
        if thread.name == name and thread.ident is not None:
            return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return None


def helpers_cpu_seconds() -> float:
    """Return the processor time of all processes that this one started and that live."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold spaces and brackets of its own.
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        pid = int(entry.parent.name)
        parents[pid] = int(fields[1])
        ticks[pid] = int(fields[11]) + int(fields[12])
    total, me = 0, os.getpid()
    for pid, spent in ticks.items():
        above = parents.get(pid)
        while above and above != me:
            above = parents.get(above)
        if above == me:
            total += spent
    return total / os.sysconf("SC_CLK_TCK")


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
