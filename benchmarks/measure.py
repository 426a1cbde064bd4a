"""Read what a server's processes have used: CPU time and memory, and how busy others kept its core."""

import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import family

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTime:
    """CPU time in seconds: of a server's processes, and of everything that ran on its core."""

    user_s: float
    system_s: float
    core_s: float

    def since(self, earlier: "CpuTime") -> "CpuTime":
        """Return what was used after `earlier`."""
        return CpuTime(self.user_s - earlier.user_s, self.system_s - earlier.system_s, self.core_s - earlier.core_s)

    @property
    def total_s(self) -> float:
        """User and system time together."""
        return self.user_s + self.system_s


def core_busy_s(core: int | None) -> float:
    """Return the seconds a core (all cores for None) was not idle since boot, time stolen by the host included."""
    label = "cpu" if core is None else f"cpu{core}"
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words and words[0] == label:
            user, nice, system, _idle, _waiting, hard, soft, stolen = map(int, words[1:9])
            return (user + nice + system + hard + soft + stolen) / TICKS_A_SECOND
    return 0.0


def cpu_time(root: int, core: int | None) -> CpuTime:
    """Return what the processes under `root` have used so far."""
    members = family(root)
    user = sum(stat.user for stat in members) / TICKS_A_SECOND
    system = sum(stat.system for stat in members) / TICKS_A_SECOND
    return CpuTime(user, system, core_busy_s(core))


def pss_kib(root: int) -> int:
    """Return the proportional memory of all processes under `root`: shared pages count once, divided by their users."""
    total = 0
    for stat in family(root):
        try:
            text = Path(f"/proc/{stat.pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total
