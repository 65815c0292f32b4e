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

_LONGEST = 2**20  # bytes


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
            return read_yaml(path, label), label
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


def read_yaml(path: Path, label: str) -> str:
    """The text of a YAML file. Raises UserError for a file of more than a MiB, or not in UTF-8."""
    with path.open("rb") as file:
        content = file.read(_LONGEST + 1)
    if len(content) > _LONGEST:
        raise UserError(f"{label}: more than 1 MiB, far more than a recipe needs.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{label}: not a text file in UTF-8.") from None


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
        if isinstance(key, list | dict | set):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a single word", key_node.start_mark)
        if key in keys:
            raise yaml.constructor.ConstructorError(None, None, f"'{key}' is given twice", key_node.start_mark)
        keys.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def yaml_value(text: str) -> Any:
    """The value of YAML text. Raises YAMLError, and for an unusual tag or number any other exception."""
    value = yaml.load(text, Loader=_StrictLoader)
    _check_size(value)
    return value


def _check_size(value: Any) -> None:
    """Raises ValueError for a value that aliases (*name) make far larger than its text, and for endless ones."""
    parts, size = [value], 0
    while parts and size <= 2 * _LONGEST:
        part = parts.pop()
        if isinstance(part, dict):
            parts += [*part, *part.values()]
        elif isinstance(part, list | tuple | set):
            parts += part
        elif isinstance(part, int) and part.bit_length() > 64:
            raise ValueError("a whole number of more than 64 bits")
        size += 1 + (len(part) if hasattr(part, "__len__") else 0)
    if parts:
        raise ValueError("aliases (*name) make it too large")


def parse_yaml(text: str, label: str) -> dict[str, Any]:
    """YAML text as a dictionary with text keys. Raises UserError with the line for anything else."""
    try:
        value = yaml_value(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{label},{line}: {error.problem}") from None
    except Exception as error:  # PyYAML raises whatever !!int, !!bool and their like do, as KeyError
        raise UserError(f"{label}: not valid YAML ({first_line(error)})") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{label}: expected 'field: value' lines, as `snellen recipes show vgg13-scratch` prints them")
    return value
