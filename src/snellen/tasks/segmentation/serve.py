"""A segmenter that answers requests: large images in tiles and at the size of training, as `predict` does it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from snellen.data.in_memory import ImageInMemory
from snellen.data.masks.classes import ClassTable
from snellen.data.png import PngWriter
from snellen.data.unreadable import UnreadableImageError
from snellen.exporting.onnx_file import OnnxFile
from snellen.run.directory import RunDirectory
from snellen.tasks.segmentation.export import trained_of_file
from snellen.tasks.segmentation.inference import Rows
from snellen.tasks.segmentation.predict import Trained, trained_of
from snellen.tasks.segmentation.tiling import OVERLAP, TILE
from snellen.tasks.served import AbandonedError, Answer, IsWanted, Served

_MEASURE = "share"
_MOST_TOGETHER = 4  # images: their tiles go through the network in batches


def serve_run(run: RunDirectory) -> Served:
    """The chosen epoch's network of a run, with the run's own arithmetic."""
    return _served(trained_of(run), run.name)


def serve_file(file: OnnxFile) -> Served:
    """The network of a file."""
    return _served(trained_of_file(file), file.path.name)


def _served(trained: Trained, title: str) -> Served:
    predictor = trained.predictor(TILE, OVERLAP, None)

    def answers(images: Sequence[NDArray[np.uint8]], is_wanted: IsWanted) -> list[Answer]:
        given = [ImageInMemory(number, image) for number, image in enumerate(images)]
        events = _while_wanted(predictor.predict(given), is_wanted)
        return [_answer(rows, trained.classes) for _, rows in groupby(events, key=lambda rows: rows.path)]

    names = list(trained.classes.names)
    channel = {"type": "integer", "minimum": 0, "maximum": 255}
    return Served(
        title=title,
        classes=names,
        measure=_MEASURE,
        calibration=None,
        top=None,
        schema={
            "name": {"type": "string", "enum": names},
            "value": channel,
            "colour": {"type": "array", "items": channel, "minItems": 3, "maxItems": 3},
            _MEASURE: {"type": "number", "minimum": 0, "maximum": 1},
        },
        read=lambda image: image,
        answers=answers,
        most_together=_MOST_TOGETHER,
        at_once=1,  # it uses all cores, or the GPU
        bits=trained.recipe.data.bits,
        why_not_explained="Maps of where a network looked are made for classifiers; a mask itself shows what was "
        "recognised where.",
    )


def _while_wanted(events: Iterator[Rows | UnreadableImageError], is_wanted: IsWanted) -> Iterator[Rows]:
    for event in events:
        if isinstance(event, UnreadableImageError):  # pixels that were decoded before
            raise event
        if not is_wanted():
            raise AbandonedError
        yield event


def _answer(rows: Iterable[Rows], classes: ClassTable) -> Answer:
    """The mask of one image, encoded as its rows are completed."""
    png, pixels = io.BytesIO(), np.zeros(len(classes), np.int64)
    writer = None
    for part in rows:
        writer = writer or PngWriter(png, part.raster.width, part.raster.height, classes.colours)
        writer.rows(part.labels)
        pixels += np.bincount(part.labels.ravel(), minlength=len(pixels))
    assert writer is not None
    writer.close()
    shares = pixels / pixels.sum()
    listed = [
        {"name": classes.names[i], "value": int(i), "colour": list(classes.colours[i]), _MEASURE: float(shares[i])}
        for i in np.argsort(-shares, kind="stable")
    ]
    return Answer({"classes": listed}, png.getvalue())
