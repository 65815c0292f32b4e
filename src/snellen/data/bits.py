"""The recipe field that says how deep 16-bit images are, for every kind of data."""

from __future__ import annotations

BITS_DESCRIPTION = (
    "Bits that the values of 16-bit images take, one scale for the whole set: 12 for a camera whose white is 4,095. "
    "null: the fewest, 8 to 16, that hold the largest value of the training images; the run's recipe keeps the number. "
    "Larger values are cut off. Images of 8 bits are as they are."
)
