"""Recipes as text: the shipped files and a strict YAML reader. Cheap to import, since it needs no schema."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from snellen.errors import UserError
from snellen.words import first_line

# Order of listing: each reference recipe, then its modern counterpart.
_ORDER = [
    "vgg13-scratch",
    "airnet-scratch",
    "resnet152-mixup",
    "finetune-lite",
    "finetune-large",
    "byol-resnet50",
    "byol-small",
    "simclr-small",
    "transfer-a",
    "transfer-b",
    "transfer-c",
    "transfer-d",
    "transfer-e",
    "linear-probe",
    "fcn32s-vgg16",
    "deeplabv3-resnet50-poly1",
    "segment-lite",
    "segment-large",
]


def shipped_names() -> list[str]:
    """Names of the shipped recipes, in the order of the documentation."""
    names = {file.name.removesuffix(".yaml") for file in _folder().iterdir() if file.name.endswith(".yaml")}
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def shipped_text(name: str) -> str:
    """The text of a shipped recipe, comments included."""
    return (_folder() / f"{name}.yaml").read_text(encoding="utf-8")


def headline(text: str) -> str:
    """The first comment line of a recipe, which describes it."""
    first = text.splitlines()[0] if text else ""
    return first.removeprefix("#").strip()


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which silently keeps the last of two equal keys; this one refuses them."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a single word", key_node.start_mark)
        if key in keys:
            raise yaml.constructor.ConstructorError(None, None, f"'{key}' is given twice", key_node.start_mark)
        keys.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str, label: str) -> dict[str, Any]:
    """YAML text as a dictionary with text keys. Raises UserError with the line for anything else."""
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{label},{line}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{label}: not valid YAML ({first_line(error)})") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{label}: expected 'field: value' lines, as `snellen recipes show vgg13-scratch` prints them")
    return value


def _folder() -> Traversable:
    return resources.files("snellen.recipe") / "shipped"
