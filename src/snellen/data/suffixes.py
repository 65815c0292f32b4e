"""Which files are images and which are tables, by their names."""

from __future__ import annotations

from importlib.util import find_spec


def _optional_suffixes() -> set[str]:
    """Formats that depend on what is installed: HEIC needs pillow-heif, AVIF needs Pillow 11.3 or later."""
    heif = {".heic", ".heif"} if find_spec("pillow_heif") is not None else set()
    return {".avif"} | heif


_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"}
IMAGE_SUFFIXES = frozenset(_SUFFIXES | _optional_suffixes())
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
