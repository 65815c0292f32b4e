"""Pretraining: from a recipe and images without labels to a backbone that other runs start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from snellen.commands.train import trained
from snellen.engine.recipe import CommonRecipe
from snellen.runs import Run


def pretrain(
    data: str | Path,
    /,
    recipe: str | Path | Mapping[str, Any] | CommonRecipe | None = None,
    *,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Learns a backbone from images without labels and returns its run.

    data: a folder of images at any depth, or torchvision:NAME; of one with train/ and val/ only train/ is learnt from.
    recipe: a shipped recipe's name, a YAML file, or a dictionary of fields; None chooses one by the images' size and
    number. out, overrides, quiet, fields: as in `train`.

    The run, or its checkpoints/best.safetensors, is what `model.weights` of other recipes takes.
    A run that was stopped by Ctrl-C is returned with run.status["state"] == "interrupted"; `resume` goes on with it.
    Raises UserError for input that cannot work; nothing is left behind then.
    """
    return trained("pretrain", data, recipe, out, overrides, fields, console or Console(stderr=True, quiet=quiet))
