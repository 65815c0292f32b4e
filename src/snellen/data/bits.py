"""Descriptions of the recipe fields that all kinds of data share: the depth of 16-bit images, and the cache."""

from __future__ import annotations

BITS_DESCRIPTION = (
    "Bits used by the values of 16-bit images, one scale for the whole set: 12 for a camera whose white is 4,095. "
    "null: the fewest, 8 to 16, that hold the largest value of the training images; the run's recipe records the "
    "number. Larger values are clipped. 8-bit images are unaffected."
)

CACHE_DESCRIPTION = (
    "Memory for decoded images (and masks), in MiB, shared by all sets of a run; never more than half of the free "
    "memory, divided among the runs of `compare --jobs`. Images that do not fit are read from "
    "the disk every time, or decoded."
)

DISK_CACHE_MIB = 16384
DISK_CACHE_DESCRIPTION = (
    "Disk space for decoded images (and masks), in MiB, shared by all runs: a second run, or images that do not fit "
    "into memory, are read from there instead of being decoded. `snellen cache` shows where. Never more than half of "
    "what the disk has free; what was not used for the longest time is removed first. 0: off."
)
