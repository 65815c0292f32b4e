"""Files that do not answer: on a network drive that hangs, a run would wait in silence."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 30.0
_reads: dict[int, tuple[Path, float]] = {}  # by thread: what it reads, and since when
_lock = threading.Lock()
_watcher: threading.Thread | None = None


@contextmanager
def watched(path: Path) -> Iterator[None]:
    """While a file is read: a note that names it, once, if that takes longer than half a minute."""
    global _watcher
    with _lock:
        if _watcher is None or not _watcher.is_alive():  # a forked process has none
            _watcher = threading.Thread(target=_watch, name="snellen-stalled", daemon=True)
            _watcher.start()
    thread = threading.get_ident()
    _reads[thread] = path, time.monotonic()
    try:
        yield
    finally:
        del _reads[thread]


def _watch() -> None:
    noted: set[tuple[Path, float]] = set()
    while True:
        time.sleep(_SECONDS / 4)
        reads = set(_reads.copy().values())
        noted &= reads
        for path, since in reads - noted:
            if time.monotonic() - since > _SECONDS:
                noted.add((path, since))
                print(
                    f"note: {path}: not read after {_SECONDS:g} seconds; still waiting. Check the disk or network "
                    "drive that it is on.",
                    file=sys.stderr,
                    flush=True,
                )
