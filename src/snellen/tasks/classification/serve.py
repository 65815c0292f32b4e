"""A classifier that answers requests. A file is served without torch, which takes seconds to import."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snellen.errors import UserError
from snellen.exporting.onnx_file import OnnxFile
from snellen.run.directory import RunDirectory
from snellen.tasks.served import Answer, Explanation, IsWanted, Served
from snellen.words import first_line

if TYPE_CHECKING:
    from snellen.tasks.classification.inference import Predictor
    from snellen.tasks.classification.saliency import Explainer

_MEASURE = "probability"
_TOP = 5
_MOST_TOGETHER = {"cpu": 4, "cuda": 32}  # benchmarks/serve.py measures the gain on CPUs


def serve_file(file: OnnxFile) -> Served:
    """The network of a file. Its preprocessing takes whole images, so only images of one size are computed together."""
    metadata = file.metadata

    def answers(images: Sequence[NDArray[np.uint8]], is_wanted: IsWanted) -> list[Answer]:
        return [_answer(metadata.classes, row) for row in file.run(np.stack(images))]

    return Served(
        title=file.path.name,
        classes=metadata.classes,
        measure=_MEASURE,
        calibration=metadata.calibration,
        top=_TOP,
        schema=_schema(metadata.classes),
        read=lambda image: image,
        answers=answers,
        most_together=_MOST_TOGETHER["cpu"],
        at_once=os.cpu_count() or 1,
        why_not_explained="Where the network looked is computed from its layers, which an exported file does not give. "
        "To see it, serve the run itself: snellen serve RUN.",
    )


def serve_run(run: RunDirectory) -> Served:
    """The chosen epoch's network of a run, with the run's own arithmetic. Raises UserError if its classes changed."""
    import torch

    from snellen.data.augment.pipeline import evaluation_view
    from snellen.tasks.classification.inference import Predictor
    from snellen.tasks.classification.record import check_classes, recipe_of
    from snellen.tasks.classification.saliency import Explainer

    check_classes(run)
    predictor, recipe = Predictor(run), recipe_of(run)
    try:
        explain, why_not = partial(_explanation, Explainer(run), predictor, run.classes), ""
    except (UserError, RuntimeError) as error:  # a backbone that cannot be explained can be served
        explain, why_not = None, f"Where this network looked cannot be shown: {first_line(error)}"

    def read(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        view = evaluation_view(torch.from_numpy(image.copy()).permute(2, 0, 1), recipe.evaluation)
        return np.asarray(view.permute(1, 2, 0).contiguous())

    def answers(views: Sequence[NDArray[np.uint8]], is_wanted: IsWanted) -> list[Answer]:
        return [_answer(run.classes, row) for row in predictor.probabilities(_stacked(views))]

    return Served(
        title=run.name,
        classes=run.classes,
        measure=_MEASURE,
        calibration="uncalibrated",
        top=_TOP,
        schema=_schema(run.classes),
        read=read,
        answers=answers,
        most_together=_MOST_TOGETHER.get(predictor.device.type, _MOST_TOGETHER["cpu"]),
        at_once=1,  # it uses all cores, or the GPU
        bits=recipe.data.bits,
        explain=explain,
        why_not_explained=why_not,
    )


def _explanation(
    explainer: Explainer, predictor: Predictor, classes: list[str], view: NDArray[np.uint8], name: str | None
) -> Explanation:
    from snellen.insight.saliency import rank_correlations

    views = _stacked([view])
    number = int(predictor.probabilities(views)[0].argmax()) if name is None else classes.index(name)
    maps, others = explainer.maps(views, [number])
    (correlation,) = rank_correlations(maps, others)
    layer = explainer.layer
    return Explanation(classes[number], layer.name, layer.side**2, view, maps[0], correlation)


def _stacked(views: Sequence[NDArray[np.uint8]]) -> Any:
    """(n, 3, S, S) tensor of (S, S, 3) arrays."""
    import torch

    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).contiguous()


def _answer(classes: Sequence[str], probabilities: NDArray[np.float32]) -> Answer:
    order = np.argsort(-probabilities, kind="stable")
    return Answer({"classes": [{"name": classes[i], _MEASURE: float(probabilities[i])} for i in order]})


def _schema(classes: list[str]) -> dict[str, Any]:
    return {
        "name": {"type": "string", "enum": classes},
        _MEASURE: {"type": "number", "minimum": 0, "maximum": 1},
    }
