"""Describe the machine in general terms: what decides the figures, nothing that names it."""

import os
import platform
from pathlib import Path


def describe(is_pinned: bool) -> dict[str, str]:
    """Return the processor, its cores, memory, kernel and Python."""
    processor = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    release = ".".join(platform.release().split("-")[0].split(".")[:2])
    return {
        "processor": f"{processor}, {os.cpu_count()} cores",
        "memory": f"{memory_kib / 1024**2:.0f} GiB",
        "kernel": f"{platform.system()} {release}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "cores": "server on one, load on another" if is_pinned else "server and load share them",
    }
