"""Where the network looked in its most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.data.disk_cache import DiskCache
from snellen.errors import UserError
from snellen.insight.confusion import Mistake, confident_mistakes
from snellen.insight.saliency import rank_correlations
from snellen.reporting.pictures import heated, jpeg, panel
from snellen.tasks.classification.record import recipe_of
from snellen.tasks.classification.report.collect import RunFigures
from snellen.tasks.classification.saliency import Explainer
from snellen.tasks.decoding import view_reader
from snellen.words import first_line

_MOST_PICTURES = 12  # on a page: each costs two passes forward and backward


@dataclass(frozen=True)
class Look:
    """A mistake. picture: as the network saw it. heat: the same under its map; both data URLs.

    correlation: of the map with that of random weights; None if one of them is constant.
    """

    picture: str
    heat: str
    path: str
    truth: str
    predicted: str
    confidence: float
    correlation: float | None


@dataclass(frozen=True)
class Looks:
    """The most confident mistakes of a run, of `count`. why_not: no maps, for this reason; else empty."""

    run: RunFigures
    count: int
    looks: list[Look]
    layer: str
    side: int
    why_not: str = ""

    @property
    def correlation(self) -> float | None:
        """The mean over the pictures."""
        values = [look.correlation for look in self.looks if look.correlation is not None]
        return float(np.mean(values)) if values else None

    @property
    def flat(self) -> int:
        """The number of pictures whose map, or whose map with random weights, is constant."""
        return sum(look.correlation is None for look in self.looks)


def looks_of(runs: Sequence[RunFigures]) -> list[Looks]:
    """Maps for the most confident mistakes of each classifier, shared out among the runs.

    Runs without a mistake whose image is still there are left out, and all of them if there are too many.
    """
    if not 0 < len(runs) <= _MOST_PICTURES:
        return []
    looks = [_looks(run, _MOST_PICTURES // len(runs)) for run in runs if run.is_classifier]
    return [of_run for of_run in looks if of_run is not None]


def numbers(looks: Sequence[Looks]) -> list[dict[str, Any]]:
    """The numbers of the section, for JSON."""
    return [
        {
            "run": of_run.run.label,
            "layer": of_run.layer,
            "positions": of_run.side**2,
            "mean_rank_correlation": of_run.correlation,
            "images": [{"path": look.path, "rank_correlation": look.correlation} for look in of_run.looks],
        }
        for of_run in looks
        if not of_run.why_not
    ]


def _looks(run: RunFigures, most: int) -> Looks | None:
    scored = run.predictions
    count = int((~run.kept_correct).sum())
    mistakes, views = _readable(run, confident_mistakes(scored.probabilities, scored.target, most))
    if not mistakes:
        return None
    try:
        explainer = Explainer(run.run)
        maps, others = explainer.maps(torch.stack(views), [mistake.prediction for mistake in mistakes])
    except (UserError, RuntimeError) as error:  # a backbone that cannot be explained does not cost the report
        return Looks(run, count, [], "", 0, why_not=first_line(error))
    correlations = rank_correlations(maps, others)
    looks = [_look(run, *parts) for parts in zip(mistakes, views, maps, correlations, strict=True)]
    return Looks(run, count, looks, explainer.layer.name, explainer.layer.side)


def _readable(run: RunFigures, mistakes: Sequence[Mistake]) -> tuple[list[Mistake], list[Tensor]]:
    """The mistakes whose images can still be read, and these as the network sees them, (3, S, S) uint8."""
    read = view_reader(recipe_of(run.run).evaluation, run.bits(), DiskCache(0))
    kept, views = [], []
    for mistake in mistakes:
        try:
            views.append(read(run.run.image(str(run.samples["path"].iloc[mistake.row]))))
            kept.append(mistake)
        except UserError:  # gone, or no longer an image
            continue
    return kept, views


def _look(
    run: RunFigures, mistake: Mistake, view: Tensor, saliency: NDArray[np.float32], correlation: float | None
) -> Look:
    sample = run.samples.iloc[mistake.row]
    picture = panel(view.permute(1, 2, 0).numpy())
    return Look(
        picture=jpeg(picture),
        heat=jpeg(heated(picture, saliency)),
        path=sample["path"],
        truth=sample["class"],
        predicted=run.run.classes[mistake.prediction],
        confidence=mistake.confidence,
        correlation=correlation,
    )
