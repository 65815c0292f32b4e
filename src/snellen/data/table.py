"""Tables of paths and labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from snellen.data.listing import DataSpec, LabelledImage, Listing, Side
from snellen.data.memory import free_memory
from snellen.errors import UserError
from snellen.words import counted, did_you_mean, first_line, shortened

if TYPE_CHECKING:
    import pandas as pd

_PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img")
_LABELS = ("label", "class", "class_name", "category", "target", "species")
_SPLITS = ("split", "subset", "set", "fold", "partition")
_MOST_COLUMNS = 2000
_LONGEST_HEADER = 65536  # bytes
_ROWS = 1024  # of a Parquet file that are unpacked at a time
FRAME = "the DataFrame"  # its name in messages
Part = Literal["train", "validation", "test"]
SIDES: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def list_table(table: Path | pd.DataFrame, spec: DataSpec, images: Path | None = None) -> Listing:
    """Labelled images of a CSV, TSV or Parquet table, or of a DataFrame.

    Without rows of val, those of test are used for validation. Paths are relative to `images`; if that is None, to the
    working folder for a DataFrame, and for a file to its folder, or to the folder next to it with the table's name
    (office/train/ for office/train.csv) if that contains more of them. Raises UserError, with the row, for a missing
    file, an empty path, label or group, and an unknown split; with the existing columns, for a missing column.
    """
    frame, name, file = (_read(table), str(table), table) if isinstance(table, Path) else (as_text(table), FRAME, None)
    path_column = _column(frame, spec.image_column, _PATHS, "data.image_column", name)
    label_column = _column(frame, spec.label_column, _LABELS, "data.label_column", name)
    if path_column is None or label_column is None:
        content, key = ("paths", "image") if path_column is None else ("classes", "label")
        raise UserError(
            f"{name}: no column of {content} found among {', '.join(frame.columns) or 'none'}. Call it "
            f"{'path' if path_column is None else 'class'}, or set data.{key}_column=…"
        )
    split_column = _column(frame, spec.split_column, _SPLITS, "data.split_column", name)
    group_column = spec.group if spec.group in frame.columns else None
    roots = [images] if images is not None else [Path()] if file is None else _roots(file)
    root = _root(roots, [path.strip() for path in frame[path_column]])
    labelled: list[LabelledImage] = []
    missing = []
    for number, row in enumerate(frame.to_dict("records")):
        location = f"{name}, row {number}" if file is None else f"{name}, line {number + 2}"  # the header is line 1
        path, label = row[path_column].strip(), row[label_column].strip()
        if not path or not label:
            raise UserError(f"{location}: the {'path' if not path else 'class'} is empty.")
        if not _is_file(root / path):
            missing.append(f"{location}: '{path}' does not exist (searched in {' and '.join(map(_folder, roots))})")
            continue
        side = _side(row[split_column], location) if split_column else "unknown"
        group = row[group_column].strip() if group_column else None
        if group == "":
            raise UserError(f"{location}: the group (column '{group_column}') is empty. Every image needs one.")
        labelled.append(LabelledImage(Path(path).as_posix(), label, side, group))
    if missing:
        raise UserError("\n".join(shortened(missing, 5)))
    if not labelled:
        raise UserError(f"{name}: the table has no rows.")
    if all(image.side != "validation" for image in labelled):
        labelled = [replace(image, side="validation") if image.side == "test" else image for image in labelled]
    notes = _repeated(labelled) + ([] if images is not None or split_column or file is None else _other_part(file))
    return Listing(root, FRAME if file is None else f"table {file.name}", labelled, notes)


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """A DataFrame as if read from a CSV file: all cells are text, empty if a value is missing.

    Raises UserError for two columns of the same name.
    """
    text = frame.astype(object).where(frame.notna(), "").astype(str)
    text.columns = [str(name) for name in frame.columns]
    if not text.columns.is_unique:
        duplicate = text.columns[text.columns.duplicated()][0]
        raise UserError(f"{FRAME}: two columns are called '{duplicate}'. Rename one of them.")
    return text


def _folder(root: Path) -> str:
    return "the working folder" if root == Path() else str(root)


def _roots(table: Path) -> list[Path]:
    """The folders in which the images of a table may be."""
    named = table.with_suffix("")
    return [table.parent, named] if named.is_dir() else [table.parent]


def _root(roots: Sequence[Path], paths: Sequence[str]) -> Path:
    """The folder with most of the files; the first in case of a tie."""
    if len(roots) == 1:
        return roots[0]
    return max(roots, key=lambda root: sum(_is_file(root / path) for path in paths))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _other_part(table: Path) -> list[str]:
    """A note if a table called train lies next to one called val, which is not read."""
    if SIDES.get(table.stem.lower()) != "train":
        return []
    others = [path for path in sorted(table.parent.iterdir()) if path.suffix == table.suffix and path != table]
    names = [path.name for path in others if SIDES.get(path.stem.lower()) in {"validation", "test"}]
    if not names:
        return []
    return [
        f"{names[0]} next to {table.name} is not read: {table.name} is split into training and validation. To validate "
        f"on {names[0]}, pass the folder {table.parent}/, with images in {table.stem}/ and {Path(names[0]).stem}/"
    ]


def _read(table: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if table.suffix.lower() == ".parquet":
            return _parquet(table)
        separator = _separator(table)
        with table.open("rb") as file:
            return as_text(
                pd.read_csv(
                    file, dtype=str, keep_default_na=False, sep=separator, skipinitialspace=True, encoding="utf-8-sig"
                )
            )
    except UserError:
        raise
    except Exception as error:  # whatever a damaged or foreign file makes pandas, csv and pyarrow raise
        raise UserError(f"{table}: not a readable table ({first_line(error)}).") from error


def _separator(table: Path) -> str:
    """The usual separator that is the most frequent in the header. csv.Sniffer would take minutes for a long one."""
    with table.open("rb") as file:
        header = file.readline(_LONGEST_HEADER)
    marks = "\t" if table.suffix.lower() == ".tsv" else ",;\t|"
    mark = max(marks, key=lambda mark: header.count(mark.encode()))
    _check_columns(table, header.count(mark.encode()) + 1)
    return mark


def _check_columns(table: Path, count: int) -> None:
    if count > _MOST_COLUMNS:  # pandas would take minutes
        raise UserError(f"{table}: {count:,} columns; expected one of paths, one of classes, and a few others.")


def _parquet(table: Path) -> pd.DataFrame:
    """A Parquet file, read in parts: a few bytes of it may stand for more rows than memory holds."""
    import pandas as pd
    import pyarrow.parquet as pq

    parts, size, most = [], 0, free_memory() // 4
    with table.open("rb") as opened, pq.ParquetFile(opened) as file:
        _check_columns(table, len(file.schema_arrow.names))
        for batch in file.iter_batches(_ROWS):
            parts.append(as_text(batch.to_pandas()))
            size += int(parts[-1].memory_usage(deep=True).sum())
            if size > most:
                raise UserError(f"{table}: {file.metadata.num_rows:,} rows, more than fit into memory.")
        return pd.concat(parts, ignore_index=True) if parts else file.schema_arrow.empty_table().to_pandas()


def _column(frame: pd.DataFrame, name: str | None, usual: Sequence[str], key: str, table: str) -> str | None:
    if name is not None:
        if name in frame.columns:
            return name
        hint = did_you_mean(name, frame.columns) or f" It has: {', '.join(frame.columns)}."
        raise UserError(f"{key}={name}: no such column in {table}.{hint}")
    columns = {str(column).strip().lower(): str(column) for column in frame.columns}
    return next((columns[candidate] for candidate in usual if candidate in columns), None)


def _side(value: str, location: str) -> Side:
    side = SIDES.get(value.strip().lower())
    if side is None:
        raise UserError(f"{location}: split '{value}' is neither train nor val (or validation, valid, test).")
    return side


def _repeated(images: list[LabelledImage]) -> list[str]:
    paths = {os.path.normpath(image.path) for image in images}
    repeats = len(images) - len(paths)
    return [f"{counted(repeats, 'row repeats', 'rows repeat')} an image of another row"] if repeats else []
