"""Command-line arguments: words, key=value pairs, and hints for the habits of other tools."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from snellen.errors import UserError

if TYPE_CHECKING:
    from pydantic import BaseModel

_OVERRIDE = re.compile(r"[A-Za-z_][\w.-]*=")
_TABLES = (".csv", ".tsv", ".parquet")
_RECIPES = (".yaml", ".yml")
_DATA_KEYS = frozenset({"data", "dataset", "images", "path", "source"})
_EVALUATE, _PREDICT = "Write: snellen evaluate RUN DATA", "Write: snellen predict RUN IMAGES"
_RESUME = "To resume a stopped run: snellen train --resume RUN"
_OTHER_COMMANDS = {
    **dict.fromkeys(("eval", "score", "test", "val", "validate"), _EVALUATE),
    **dict.fromkeys(("classify", "infer", "inference", "segment"), _PREDICT),
    **dict.fromkeys(("clean", "clear", "purge"), "Write: snellen cache clear"),
    **dict.fromkeys(("continue", "resume"), _RESUME),
    **dict.fromkeys(("fit", "finetune", "fine-tune"), "Write: snellen train [RECIPE] DATA"),
    **dict.fromkeys(("benchmark", "speed"), "Write: snellen bench train RECIPE DATA"),
    **dict.fromkeys(("list", "ls"), "Write: snellen runs, or snellen recipes"),
    **dict.fromkeys(("models", "presets"), "Write: snellen recipes"),
    **dict.fromkeys(("study", "sweep"), "Write: snellen compare STUDY DATA"),
    **dict.fromkeys(("publish", "share", "upload"), "Write: snellen push RUN --to FOLDER"),
    "version": "Write: snellen --version",
}


class Commands(TyperGroup):
    """A group of commands that answers the command names of other tools with its own, and Ctrl-C with a line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # Typer exits with code 130
            if ctx.parent is None:
                print(str(error) or "stopped", file=sys.stderr)
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name not in self.commands and (hint := _hint(name, ctx.command_path)):
            raise UserError(f"{ctx.command_path} {name}: no such command. {hint}")
        return super().resolve_command(ctx, args)


class FieldsCommand(TyperCommand):
    """A command that takes key=value pairs; if a field is written as an option, the error shows the pair."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = {"--help", *(option for parameter in self.params for option in parameter.opts)}
        for position, argument in enumerate(args):
            name, _, value = argument.partition("=")
            if argument == "--":
                break
            if name.startswith("--") and name not in options:
                following = "".join(args[position + 1 : position + 2])
                _refuse_option(ctx, name, value or ("VALUE" if following.startswith("-") else following) or "VALUE")
        return super().parse_args(ctx, args)


def _refuse_option(ctx: Any, name: str, value: str) -> None:
    """Raises UserError if an option is the name of a field; any other is left to the parser."""
    from snellen.recipe.fields import field_paths, nearest_fields

    key = name.removeprefix("--").replace("-", "_")
    models = _models(ctx.info_name)
    for model in models:
        exact = [key] if key in field_paths(model) else []
        if paths := exact or nearest_fields(model, key.split(".")):
            prefix = "changes." if ctx.info_name == "compare" and model is not models[0] else ""
            pairs = " or ".join(f"{prefix}{path}={value}" for path in paths)
            raise UserError(f"{name}: no such option of {ctx.command_path}; a field is set by key=value: {pairs}")


def _models(command: str) -> list[type[BaseModel]]:
    from snellen.study.spec import StudySpec
    from snellen.tasks.kinds import kinds_of

    recipes = [kind.recipe for kind in kinds_of("pretrain" if command == "pretrain" else "train")]
    return [*([StudySpec] if command == "compare" else []), *recipes]


def _hint(name: str, path: str) -> str | None:
    from snellen.recipe.text import RECIPES

    if name in RECIPES.names():
        return f"To see this recipe: snellen recipes show {name}. To use it: snellen train {name} DATA"
    if path.endswith(("recipes", "bench", "cache")):
        return None
    if name in _OTHER_COMMANDS:
        return _OTHER_COMMANDS[name]
    return f"To train on {name}: snellen train {name}" if name and os.path.exists(name) else None


def split(arguments: Iterable[str]) -> tuple[list[str], dict[str, Any]]:
    """The words, and the key=value pairs as overrides; an existing path with '=' in its name is a word.

    Raises UserError for a pair that cannot be read, and for data written as a pair.
    """
    from snellen.recipe.load import parse_overrides

    words: list[str] = []
    pairs: list[str] = []
    for argument in arguments:
        # os.path.exists, unlike Path, is safe for names of any length.
        is_pair = _OVERRIDE.match(argument) and not os.path.exists(argument)
        (pairs if is_pair else words).append(argument)
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key == "recipe" or (key in _DATA_KEYS and not value.startswith("{")):
            name = "RECIPE" if key == "recipe" else "DATA"
            raise UserError(f"{pair}: {name} takes no key. Write it on its own, as in: snellen train [RECIPE] {value}")
    return words, parse_overrides(pairs)


def only(words: list[str], name: str) -> str:
    """The only word. Raises UserError if there is none, or several."""
    if len(words) != 1:
        raise UserError(f"expected one {name}, got {len(words)}: {' '.join(words) or 'nothing'}")
    return words[0]


def recipe_and_data(words: list[str], command: str) -> tuple[str | None, str]:
    """[RECIPE] DATA. command: as typed, for messages. Raises UserError if they are swapped or missing."""
    from snellen.recipe.text import RECIPES

    names = RECIPES.names()
    if len(words) != 2:
        data = only(words, "DATA (or RECIPE DATA)")
        if data in names and not os.path.exists(data):
            raise UserError(f"'{data}' is a recipe; the images are missing, as in: {command} {data} photos/")
        return None, data
    recipe, data = words
    if _is_name(data, names) and (_is_data(recipe) or not _is_name(recipe, names)):
        raise UserError(f"the recipe comes first, then the data: {command} {data} {recipe}")
    if not _is_name(recipe, names) and _is_backbone(recipe):
        raise UserError(f"'{recipe}' is a backbone, not a recipe. Write: {command} {data} model.backbone={recipe}")
    return recipe, data


def study_and_data(words: list[str]) -> tuple[str, str]:
    """STUDY DATA. Raises UserError if there are not two words, or the two are swapped."""
    from snellen.study.spec import STUDIES

    if len(words) != 2:
        given = f"given: {' '.join(words)}" if words else "nothing is given"
        raise UserError(f"compare takes a study and data, as in: snellen compare transfer-lite photos/ ({given})")
    study, data = words
    names = STUDIES.names()
    if _is_name(data, names) and not _is_name(study, names):
        raise UserError(f"the study comes first, then the data: snellen compare {data} {study}")
    return study, data


def _is_name(word: str, names: list[str]) -> bool:
    return (word in names and not os.path.isdir(word)) or word.endswith(_RECIPES)


def _is_data(word: str) -> bool:
    return os.path.isdir(word) or word.endswith(_TABLES) or word.startswith("torchvision:") or "://" in word


def _is_backbone(word: str) -> bool:
    if word == "airnet" or word.startswith("torchvision/"):
        return True
    import timm

    return bool(timm.is_model(word))
