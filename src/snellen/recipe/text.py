"""Recipes as text: the shipped files and a strict YAML reader. Cheap to import, since it needs no schema."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from snellen.errors import UserError
from snellen.words import did_you_mean, first_line


@dataclass(frozen=True)
class ShippedFiles:
    """YAML files of a kind that come with a package. kind, listed_as: in messages. order: of listing, others last."""

    kind: str
    package: str
    order: tuple[str, ...]
    listed_as: str

    def names(self) -> list[str]:
        """Names of the files, in the order of the documentation."""
        names = {file.name.removesuffix(".yaml") for file in self._folder.iterdir() if file.name.endswith(".yaml")}
        return sorted(names, key=lambda name: (self.order.index(name) if name in self.order else len(self.order), name))

    def text(self, name: str) -> str:
        """The text of one of them, comments included."""
        return (self._folder / f"{name}.yaml").read_text(encoding="utf-8")

    def read(self, source: str | Path) -> tuple[str, str]:
        """The text of one of them by name, or of any YAML file, and what to call it. Raises UserError for others."""
        path, label = Path(source), f"{self.kind} '{source}'"
        if path.suffix in {".yaml", ".yml"}:
            if not path.is_file():
                raise UserError(f"{label}: no such file.")
            try:
                return path.read_text(encoding="utf-8"), label
            except UnicodeDecodeError:
                raise UserError(f"{label}: not a text file in UTF-8.") from None
        names = self.names()
        if str(source) not in names:
            hint = did_you_mean(str(source), names)
            known = f"{self.listed_as}: {', '.join(names)}; or give a .yaml file."
            raise UserError(f"{label}: no such {self.kind}.{hint} {known}")
        return self.text(str(source)), label

    @property
    def _folder(self) -> Traversable:
        return resources.files(self.package) / "shipped"


RECIPES = ShippedFiles(
    "recipe",
    "snellen.recipe",
    (  # each reference recipe, then its modern counterpart
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
    ),
    "Shipped",
)


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
