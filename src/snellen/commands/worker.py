"""A process that trains a run together with the one that has set it up and has started this one."""

from __future__ import annotations

import sys
from datetime import timedelta

from snellen.commands.train import follow
from snellen.errors import UserError

if __name__ == "__main__":
    try:
        follow(timedelta(minutes=1))  # the first process is there already
    except UserError as error:
        sys.exit(f"error: {error}")
