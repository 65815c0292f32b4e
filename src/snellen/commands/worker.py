"""A process that trains a run together with the one that has set it up and has started this one."""

from __future__ import annotations

import sys

from snellen.commands.train import follow
from snellen.errors import UserError

if __name__ == "__main__":
    try:
        follow()
    except UserError as error:
        sys.exit(f"error: {error}")
