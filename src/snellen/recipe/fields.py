"""The fields of a recipe by their full paths, and suggestions for misspelt or misplaced keys."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pydantic import BaseModel

# Names of fields in other tools.
_ALIASES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("batch", "bs"), ("batch_size",)),
    **dict.fromkeys(("image_size", "img_size", "imgsz"), ("augmentation.size", "evaluation.size")),
    **dict.fromkeys(("learning_rate", "lr0"), ("optimizer.lr",)),
    **dict.fromkeys(("n_epochs", "num_epochs"), ("epochs",)),
    **dict.fromkeys(("num_workers", "workers"), ("hardware.threads",)),
    **dict.fromkeys(("test_size", "val_fraction", "val_share", "val_split"), ("data.validation_share",)),
    **dict.fromkeys(("validation_fraction", "validation_split"), ("data.validation_share",)),
    "crop_size": ("augmentation.size",),
    "pretrained": ("model.weights",),
    "scheduler": ("schedule.name",),
}
_MAX_PATHS = 3  # in one suggestion


def field_paths(model: type[BaseModel]) -> list[str]:
    """The path of each field that holds a value rather than further fields: 'epochs', 'optimizer.lr', …"""
    paths: dict[str, None] = {}
    for name in model.model_fields:
        parts = specs_at(model, name)
        paths |= dict.fromkeys(f"{name}.{path}" for part in parts for path in field_paths(part))
        if not parts:
            paths[name] = None
    return list(paths)


def nearest_fields(model: type[BaseModel], key: Sequence[str]) -> list[str]:
    """Full paths of the fields that an unknown `key` (its parts) most likely means; [] if none is similar.

    Tried in order: names from other tools, fields of the same name elsewhere, similar names in the same part, similar
    names anywhere.
    """
    *parents, name = (part.replace("-", "_") for part in key)
    paths = field_paths(model)
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(path.rpartition(".")[2], []).append(path)
    if aliases := [path for path in _ALIASES.get(name, ()) if path in paths]:
        return aliases
    if name in by_name:
        return by_name[name][:_MAX_PATHS]
    prefix = "".join(f"{part}." for part in parents)
    siblings = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
    if close := difflib.get_close_matches(name, [part for part in siblings if "." not in part], n=1, cutoff=0.6):
        return [prefix + close[0]]
    close = difflib.get_close_matches(name, by_name, n=1, cutoff=0.7)
    return by_name[close[0]][:_MAX_PATHS] if close else []


def specs_at(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    """The types a field may hold if it is a part of a recipe: one, or several distinguished by their names."""
    field = model.model_fields.get(name)
    if field is None:
        return []
    parts = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
