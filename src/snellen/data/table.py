"""Tables of path and label."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from snellen.data.listing import DataSpec, Found, Listing, Side
from snellen.errors import UserError
from snellen.words import counted, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img")
_LABELS = ("label", "class", "class_name", "category", "target", "species")
_SPLITS = ("split", "subset", "set", "fold", "partition")
FRAME = "the DataFrame"  # what it is called in messages
_SIDES: dict[str, Side] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def list_table(table: Path | pd.DataFrame, spec: DataSpec, images: Path | None = None) -> Listing:
    """Labelled images of a CSV, TSV or Parquet table, or of a DataFrame.

    Without rows of val, those of test are scored in every epoch. Paths are relative to `images`; without it, of a
    DataFrame to the working folder; of a file to its folder, or to the folder of the table's own name beside it
    (office/train/ of office/train.csv) where that holds more of them. Raises
    UserError, with the row, for a missing file, an empty path, label or group, and an unknown split; with the columns
    that there are, for a column that is not found.
    """
    frame, name, file = (_read(table), str(table), table) if isinstance(table, Path) else (as_text(table), FRAME, None)
    path_column = _column(frame, spec.image_column, _PATHS, "data.image_column", name)
    label_column = _column(frame, spec.label_column, _LABELS, "data.label_column", name)
    if path_column is None or label_column is None:
        what, key = ("paths", "image") if path_column is None else ("classes", "label")
        raise UserError(
            f"{name}: no column of {what} found among {', '.join(frame.columns) or 'none'}. Call it "
            f"{'path' if path_column is None else 'class'}, or name it: data.{key}_column=…"
        )
    split_column = _column(frame, spec.split_column, _SPLITS, "data.split_column", name)
    group_column = spec.group if spec.group in frame.columns else None
    roots = [images] if images is not None else [Path()] if file is None else _roots(file)
    root = _root(roots, [path.strip() for path in frame[path_column]])
    found: list[Found] = []
    missing = []
    for number, row in enumerate(frame.to_dict("records")):
        place = f"{name}, row {number}" if file is None else f"{name}, line {number + 2}"  # the header is line 1
        path, label = row[path_column].strip(), row[label_column].strip()
        if not path or not label:
            raise UserError(f"{place}: the {'path' if not path else 'class'} is empty.")
        if not (root / path).is_file():
            missing.append(f"{place}: '{path}' is not there (looked in {' and '.join(map(_folder, roots))})")
            continue
        side = _side(row[split_column], place) if split_column else "unknown"
        group = row[group_column].strip() if group_column else None
        if group == "":
            raise UserError(f"{place}: the group (column '{group_column}') is empty. Every image needs one.")
        found.append(Found(Path(path).as_posix(), label, side, group))
    if missing:
        rest = f"\n… and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError("\n".join(missing[:5]) + rest)
    if not found:
        raise UserError(f"{name}: the table has no rows.")
    if all(image.side != "validation" for image in found):
        found = [replace(image, side="validation") if image.side == "test" else image for image in found]
    notes = _repeated(found) + ([] if images is not None or split_column or file is None else _other_part(file))
    return Listing(root, FRAME if file is None else f"table {file.name}", found, notes)


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """A DataFrame as it would be read from a CSV file: all cells text, empty where a value is missing.

    Raises UserError for two columns of one name.
    """
    text = frame.astype(object).where(frame.notna(), "").astype(str)
    text.columns = [str(name) for name in frame.columns]
    if not text.columns.is_unique:
        twice = text.columns[text.columns.duplicated()][0]
        raise UserError(f"{FRAME}: two columns are called '{twice}'. Give each a name of its own.")
    return text


def _folder(root: Path) -> str:
    return "the working folder" if root == Path() else str(root)


def _roots(table: Path) -> list[Path]:
    """Where a table's images may lie."""
    named = table.with_suffix("")
    return [table.parent, named] if named.is_dir() else [table.parent]


def _root(roots: Sequence[Path], paths: Sequence[str]) -> Path:
    """The folder that holds most of the files; of equals the first."""
    if len(roots) == 1:
        return roots[0]
    return max(roots, key=lambda root: sum((root / path).is_file() for path in paths))


def _other_part(table: Path) -> list[str]:
    """A note where a table called train lies beside one called val, which is not read."""
    if _SIDES.get(table.stem.lower()) != "train":
        return []
    others = [path for path in sorted(table.parent.iterdir()) if path.suffix == table.suffix and path != table]
    names = [path.name for path in others if _SIDES.get(path.stem.lower()) in {"validation", "test"}]
    if not names:
        return []
    return [
        f"{names[0]} beside {table.name} is not read: the split is drawn within {table.name}. To be scored on "
        f"{names[0]}, give the folder {table.parent}/, with images in {table.stem}/ and {Path(names[0]).stem}/"
    ]


def _read(table: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if table.suffix.lower() == ".parquet":
            return as_text(pd.read_parquet(table))
        separator = "\t" if table.suffix.lower() == ".tsv" else None
        return pd.read_csv(
            table, dtype=str, keep_default_na=False, sep=separator, engine="python", encoding="utf-8-sig"
        )
    except (ValueError, OSError, UnicodeError, pd.errors.ParserError) as error:  # pyarrow's errors are ValueErrors
        raise UserError(f"{table}: not a table that can be read ({str(error).splitlines()[0]}).") from error


def _column(frame: pd.DataFrame, given: str | None, usual: Sequence[str], key: str, table: str) -> str | None:
    if given is not None:
        if given in frame.columns:
            return given
        hint = did_you_mean(given, frame.columns) or f" It has: {', '.join(frame.columns)}."
        raise UserError(f"{key}={given}: no such column in {table}.{hint}")
    by_name = {str(name).strip().lower(): str(name) for name in frame.columns}
    return next((by_name[name] for name in usual if name in by_name), None)


def _side(value: str, place: str) -> Side:
    side = _SIDES.get(value.strip().lower())
    if side is None:
        raise UserError(f"{place}: split '{value}' is neither train nor val (or validation, valid, test).")
    return side


def _repeated(found: list[Found]) -> list[str]:
    names = {os.path.normpath(image.path) for image in found}
    repeats = len(found) - len(names)
    return [f"{counted(repeats, 'row names', 'rows name')} an image that another row names too"] if repeats else []
