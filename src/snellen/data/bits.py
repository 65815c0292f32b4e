"""Descriptions of the recipe fields that every kind of data has: how deep 16-bit images are, how many are kept."""

from __future__ import annotations

BITS_DESCRIPTION = (
    "Bits that the values of 16-bit images take, one scale for the whole set: 12 for a camera whose white is 4,095. "
    "null: the fewest, 8 to 16, that hold the largest value of the training images; the run's recipe keeps the number. "
    "Larger values are cut off. Images of 8 bits are as they are."
)

CACHE_DESCRIPTION = (
    "Decoded images (and masks) that a run keeps in memory, all its sets together, in MiB; never more than half of "
    "what is free, divided among the runs of `compare --jobs`. Images beyond it are decoded each time."
)
