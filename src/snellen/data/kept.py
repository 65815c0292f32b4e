"""Small databases in the user's cache folder, which may be deleted at any time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

# What may go wrong with one. RuntimeError: there is no home folder. UnicodeDecodeError: sqlite quotes damaged bytes.
ERRORS = (OSError, RuntimeError, sqlite3.Error, UnicodeDecodeError)
AT_ONCE = 500  # values in a statement


@contextlib.contextmanager
def connected(folder: Path, *schema: str) -> Iterator[sqlite3.Connection]:
    """The database of a folder, made if it is not there, with its tables: index.sqlite.

    A connection of its own each time, for threads and processes alike. A damaged file is deleted. Raises ERRORS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "index.sqlite"
    connection = sqlite3.connect(file, timeout=60)
    try:
        connection.execute("PRAGMA synchronous = OFF")  # what a power failure damages is computed again
        with connection:
            for statement in schema:
                connection.execute(statement)
            yield connection
    except sqlite3.OperationalError:
        raise  # locked, full or read-only
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        file.unlink(missing_ok=True)
        raise
    finally:
        connection.close()
