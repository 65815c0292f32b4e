"""The card of a shared model, README.md: what it is worth, how sure that is, under which licences, how to load it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from snellen.insight.proportions import Interval
from snellen.reporting.runs import RunView
from snellen.sharing.loading import how_to_load
from snellen.tasks.kind import Figure, Shared
from snellen.words import counted, images_by_part, si

UNKNOWN = "unknown"
_MOST_CLASSES = 50  # that are listed
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


@dataclass(frozen=True)
class Licences:
    """As the user states them. model: under which it is shared. data: of the images it was trained on."""

    model: str = UNKNOWN
    data: str = UNKNOWN


@dataclass(frozen=True)
class Card:
    """What a card says. pipeline: what the network does, by the hub's name. calibration: of the ONNX file's outputs.

    agreement: of that file with the run, in words. Both are None without one.
    """

    name: str
    pipeline: str
    view: RunView
    shared: Shared
    figures: Sequence[Figure]
    licences: Licences
    calibration: str | None
    agreement: str | None

    def text(self) -> str:
        """As Markdown, with YAML front matter."""
        head = yaml.safe_dump(self._front_matter(), sort_keys=False, allow_unicode=True)
        parts = [
            f"---\n{head}---",
            f"# {plain(self.name)}",
            self._introduction(),
            "## Scores",
            self._scores(),
            "## Calibration",
            self._calibration(),
            "## Licences",
            self._licences(),
            "## Preprocessing",
            self._preprocessing(),
            "## How to load it",
            how_to_load(self.pipeline, self.shared, self.agreement is not None),
            "## Limits",
            self._limits(),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    @property
    def _data(self) -> str:
        """The name of the images: that of their folder or table."""
        return Path(str(self.view.run.data["source"])).name

    def _front_matter(self) -> dict[str, Any]:
        library = "timm" if self.shared.native is not None else "snellen"
        head: dict[str, Any] = {
            "license": self.licences.model,
            "library_name": library,
            "pipeline_tag": self.pipeline,
            "tags": list(dict.fromkeys([self.pipeline, library, "snellen", *(["onnx"] if self.agreement else [])])),
        }
        metrics = [
            {"type": figure.kind, "name": figure.name, "value": round(figure.value, 6)}
            for figure in self.figures
            if math.isfinite(figure.value)
        ]
        if metrics:
            result = {
                "task": {"type": self.pipeline},
                "dataset": {"type": "custom", "name": self._data, "split": self.view.part},
                "metrics": metrics,
            }
            head["model-index"] = [{"name": self.name, "results": [result]}]
        return head

    def _introduction(self) -> str:
        run = self.view.run
        counts, classes = run.data["counts"], run.classes
        images = images_by_part(counts["train"], counts.get("validation", 0), counts.get("test", 0))
        text = (
            f"{plain(self.shared.backbone)}, {si(run.environment.parameters)} parameters, trained with "
            f"snellen {plain(run.environment.snellen)} for "
            f"{counted(self.view.status.epochs_done, 'epoch')} on {images} of `{plain(self._data)}`."
        )
        if not classes:
            return text
        names = ", ".join(plain(name) for name in classes[:_MOST_CLASSES])
        more = f", … and {len(classes) - _MOST_CLASSES:,} more" if len(classes) > _MOST_CLASSES else ""
        count = counted(len(classes), "class", "classes")
        return f"{text}\n\n{count}, in this order (also in `classes.json`): {names}{more}."

    def _scores(self) -> str:
        view = self.view
        if not self.figures:
            return "Not scored: no labelled images were given."
        rows = [f"| {row.name} | {_share(row.value)} | {_interval(row.interval)} |" for row in self.figures]
        groups = "" if view.groups is None else f" in {counted(len(set(view.groups.tolist())), 'group')}"
        lines = [
            f"On {counted(len(view.samples), f'{view.part} image')}{groups} (n = {len(view.samples):,}), one seed:",
            "\n".join(["| figure | value | 95% interval |", "| --- | --- | --- |", *rows]),
        ]
        if view.why_no_interval:
            lines.append(f"No interval: {plain(view.why_no_interval)}.")
        lines.append(f"**How the epoch was chosen.** {plain(view.choice)}")
        lines.append(f"**Leaks.** {self._leaks()}")
        warnings = [text for text in (view.not_learnt, view.diverged, *view.warnings) if text]
        lines += [f"**Warning.** {plain(text)}" for text in dict.fromkeys(warnings)]
        return "\n\n".join(lines)

    def _leaks(self) -> str:
        view = self.view
        if "leaked" not in view.run.data:
            return "Unknown: whether scored images are copies of training images was not looked for."
        if view.leaks:
            return plain(" ".join(view.leaks))
        return (
            "No scored image is a file that is also in training. Near copies (resized, recompressed, cropped) are "
            "counted only if `snellen check` had found them before training."
        )

    def _calibration(self) -> str:
        if self.calibration is None:
            return "Unknown: there is no exported file."
        error = next((row for row in self.figures if row.kind == "calibration_error"), None)
        bounds = "" if error is None else f" (95% interval: {_interval(error.interval, 3)})"
        measured = "" if error is None else f" Their calibration error is {error.value:.3f}{bounds}."
        if self.calibration == "uncalibrated":
            return f"Temperature 1: probabilities are the softmax of the logits as they are.{measured}"
        return f"Temperature of the logits: {plain(self.calibration)}.{measured}"

    def _licences(self) -> str:
        source, licence = self.shared.weights
        return "\n".join(
            [
                "| | | licence |",
                "| --- | --- | --- |",
                f"| this model | | {plain(self.licences.model)} |",
                f"| initial weights | {plain(source)} | {plain(licence)} |",
                f"| images | {plain(self._data)} | {plain(self.licences.data)} |",
            ]
        )

    def _preprocessing(self) -> str:
        rows = [f"- {key}: {json.dumps(value)}" for key, value in self.shared.evaluation.items()]
        mean = self.view.run.data["normalization"]
        rows += [f"- {key}: {', '.join(f'{number:.6g}' for number in mean[key])}" for key in ("mean", "std")]
        return "As in `preprocessing.json`; inside `model.onnx` where there is one.\n\n" + "\n".join(rows)

    def _limits(self) -> str:
        agreed = "" if self.agreement is None else f"`model.onnx` was compared with the run: {plain(self.agreement)}. "
        return (
            f"{agreed}The figures above hold for images like those that were scored; other cameras, places or times "
            "were not tried. Intervals cover the choice of images, not of the seed."
        )


def plain(text: str) -> str:
    """Text from anywhere in one line of Markdown, without markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def _share(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _interval(interval: Interval | None, digits: int = 4) -> str:
    return "none" if interval is None else f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"
