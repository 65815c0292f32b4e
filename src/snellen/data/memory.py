"""How much memory is available, according to the system and the container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 2**60  # cgroup v1 writes a number of about this size for "no limit"


def free_memory(root: Path = Path("/")) -> int:
    """Bytes available without swapping and within the limits of the process's control groups.

    root: where /proc and /sys are. Half of all memory if the system does not report it (other than Linux).
    """
    available = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    except OSError:
        return available  # not Linux
    return max(0, min([available, *_group_headrooms(root)]))


def _group_headrooms(root: Path) -> Iterator[int]:
    """The free bytes below the memory limit of each control group of the process, up to the root group."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, name = line.split(":", 2)
        if number == "0" and not controllers:
            mount, limit, usage = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mount, limit, usage = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = mount / name.strip("/")
        while group.is_relative_to(mount):
            if (headroom := _headroom(group, limit, usage)) is not None:
                yield headroom
            if group == mount:
                break
            group = group.parent


def _headroom(group: Path, limit: str, usage: str) -> int | None:
    """Free bytes below the group's limit; file pages that the kernel may drop count as free. None: no limit."""
    try:
        ceiling = (group / limit).read_text().strip()
        if ceiling == "max" or int(ceiling) >= _UNLIMITED:
            return None
        used = int((group / usage).read_text())
        for line in (group / "memory.stat").read_text().splitlines():
            if line.split(" ")[0] in {"inactive_file", "total_inactive_file"}:
                reclaimable = int(line.split()[1])
                return int(ceiling) - max(0, used - reclaimable)
        return int(ceiling) - used
    except (OSError, ValueError):
        return None  # the group is not visible in this namespace
