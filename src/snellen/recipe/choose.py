"""Which recipe, where the user names none."""

from __future__ import annotations
