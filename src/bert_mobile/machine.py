"""What the processor is called, and what this process has taken of the memory: for records."""

import platform
import sys
from pathlib import Path


def processor() -> str:
    """Return the name of the processor, as well as the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def own_peak_megabytes() -> float:
    """Return the most memory this process has taken, in 10**6 bytes; 0 where it is not told."""
    if sys.platform == "win32":
        return 0.0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return (_linux_peak() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit / 1e6


def _linux_peak() -> int:
    """Return the peak in KiB: `ru_maxrss` there counts the program that started this one."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:  # another system
        return 0
    return next((int(line.split()[1]) for line in status.split("\n") if "VmHWM" in line), 0)
