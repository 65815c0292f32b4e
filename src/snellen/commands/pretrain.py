"""Pretraining: from a recipe and images without labels to a backbone that other runs start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from snellen.commands.train import train_by
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

    Parameters:
        data: a folder of images at any depth, or "torchvision:NAME". If it has train/ and val/, only train/ is used.
        recipe: the name of a shipped recipe, a YAML file, or a dictionary of fields. None: one is chosen from the
            size and the number of the images.
        out: a new or empty folder for the run. None: runs/<recipe>-<time>.
        overrides: fields of the recipe by dotted key, {"method.temperature": 0.1}. `fields` take precedence.
        console: the rich console that progress is printed on. None: standard error.
        quiet: print nothing (no effect if `console` is given).
        fields: fields of the recipe, epochs=5 or model={"backbone": "resnet18"}.

    Returns the run; `model.weights` of other recipes takes it, or its checkpoints/best.safetensors. If Ctrl-C stopped
    it, run.status.state is "interrupted" and `resume` continues it.
    Raises UserError for input that cannot work; nothing is left behind then.

    >>> run = snellen.pretrain("digits", "simclr-small", epochs=1, out="runs/backbone")
    >>> run
    Run('runs/backbone'): finished, epoch 1 of 1
    >>> snellen.train("digits", "airnet-scratch", epochs=1, model={"weights": "runs/backbone"}, out="runs/started")
    Run('runs/started'): finished, epoch 1 of 1, top-1 ...%
    """
    return train_by("pretrain", data, recipe, out, overrides, fields, console or Console(stderr=True, quiet=quiet))
