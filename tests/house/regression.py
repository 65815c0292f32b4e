"""A fourth kind of task, which no file of src/ knows: images with a number, told from names such as 0.25_0003.png.

Its files are the classes below, each with the functions of one step; a kind of the package has a module for each.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch.nn import functional as F

from snellen.data.augment.pipeline import Augmentation, evaluation_view
from snellen.data.augment.spec import AugmentationSpec, EvaluationTransformSpec, MixSpec
from snellen.data.decode import decode
from snellen.data.feed import Feed
from snellen.data.fingerprint import combined, content_hashes
from snellen.data.listing import DataSpec, Sample, images_below
from snellen.data.store import CacheBudget
from snellen.engine.recipe import CommonRecipe
from snellen.models.classifier import build_classifier, load_trained
from snellen.models.spec import ModelSpec
from snellen.recipe.load import read_resolved
from snellen.reporting.headline import EpochChoice
from snellen.reporting.runs import RunView
from snellen.reporting.shared import Curve, cost, curves
from snellen.reporting.template import Page
from snellen.run.writer import RunWriter
from snellen.tasks.arithmetic import arithmetic_of
from snellen.tasks.decoding import decode_paths
from snellen.tasks.kind import Facts, Predicted
from snellen.tasks.setup import Prepared, begin, normalization_of, set_up


class Scoring(EvaluationTransformSpec):
    """When the network is scored; the last epoch is kept."""

    every: int = Field(1, ge=1, description="Epochs between two evaluations.")
    choose: Literal["best", "last"] | None = Field("last", description="Which epoch is kept.")


class NumberRecipe(CommonRecipe):
    """Everything that decides what a run computes."""

    task: Literal["regression"] = Field("regression", description="A number for each image.")
    accumulation: int = Field(1, description="Parts of a batch.")
    drop_last: bool = Field(False, description="Leave out a smaller last batch.")
    ema: None = Field(None, description="None.")
    data: DataSpec = Field(default_factory=DataSpec, description="How images are found.")
    augmentation: AugmentationSpec = Field(default_factory=AugmentationSpec, description="In training.")
    evaluation: Scoring = Field(default_factory=Scoring, description="Where they are scored.")
    model: ModelSpec = Field(default_factory=ModelSpec, description="The network.")


def recipe_of(run: Any) -> NumberRecipe:
    return read_resolved(run.path / "recipe.yaml", NumberRecipe)


def load_model(run: Any, which: str) -> Any:
    recipe = recipe_of(run)
    return load_trained(run, recipe.model, recipe.augmentation.size, which)


def read(data: Any, recipe: Any) -> Any:
    from pathlib import Path

    paths = [Path(data) / name for name in images_below(Path(data))]
    rows = [Sample(str(path.relative_to(data)), index) for index, path in enumerate(paths)]
    hashes = combined(content_hashes(paths))
    return SimpleNamespace(root=Path(data), train=rows[::2], validation=rows[1::2], fingerprint=hashes)


DATA = SimpleNamespace(
    recognises=lambda data: False,
    read=read,
    read_again=lambda run, recipe: read(run.data["root"], recipe),
    keep_source=lambda data, writer: data,
    portable=lambda recipe: recipe,
    announce=lambda images, console: None,
)


@dataclasses.dataclass(frozen=True)
class Scores:
    """prediction, target: (N,) float32."""

    prediction: np.ndarray[Any, Any]
    target: np.ndarray[Any, Any]
    fatal: ClassVar[None] = None  # no score stops the run

    @property
    def quality(self) -> float:
        """The coefficient of determination, R²."""
        return float(1 - ((self.prediction - self.target) ** 2).sum() / ((self.target - self.target.mean()) ** 2).sum())

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.prediction).all())

    @property
    def images(self) -> int:
        return len(self.target)

    @property
    def per_image(self) -> tuple[np.ndarray[Any, Any]]:
        return (self.prediction.astype("<f4"),)

    def row(self) -> dict[str, float]:
        return {"validation_r2": self.quality}

    def text(self) -> str:
        return f"R² {self.quality:.3f}"


class Regression:
    """Mean squared error. The task as the loop knows it."""

    train_metric = "absolute_error"
    columns = ("validation_r2",)
    records = ("predictions/numbers.f4",)
    measure = "R²"
    uses_all_parameters = True

    def __init__(self, writer: RunWriter, scored: Feed) -> None:
        self._writer, self._scored = writer, scored
        self.evaluated_images = scored.count

    def loss(self, model: Any, batch: Any) -> Any:
        prediction = model(batch.images).float()[:, 0]
        return F.mse_loss(prediction, batch.target), (prediction.detach() - batch.target).abs().sum()

    def weight(self, batch: Any) -> float:
        return len(batch)

    def after_step(self, model: Any, done: int, total: int) -> None: ...

    @torch.inference_mode()
    def evaluate(self, model: Any, autocast: Any, limit: int | None = None) -> Scores:
        model.eval()
        rows = None if limit is None else np.arange(min(limit, self.evaluated_images))
        batches = [(model(batch.images)[:, 0], batch.target) for batch in self._scored.evaluate(rows)]
        prediction, target = (torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True))
        return Scores(prediction, target)

    def weights(self, model: Any) -> Any:
        return model

    def keep(self, model: Any, evaluation: Scores, epoch: int) -> None:
        self._writer.weights("checkpoints/best.safetensors", model, {"epoch": str(epoch)})
        arrays = {"prediction": evaluation.prediction, "target": evaluation.target}
        self._writer.arrays("predictions/validation.npz", arrays)

    def snapshot(self, model: Any, autocast: Any, epoch: int) -> None: ...


def prepare(path: Any, recipe: Any, images: Any, console: Any, recorded: Any) -> Any:
    device = begin(recipe, recorded)
    model, weights = build_classifier(recipe.model, 1, recipe.augmentation.size, recipe.seed)
    parts = {}
    for name, samples in (("train", images.train), ("validation", images.validation)):
        files = [images.root / sample.path for sample in samples]
        numbers = torch.tensor([float(file.name.split("_")[0]) for file in files])
        parts[name] = decode_paths(files, recipe, recipe.data, CacheBudget(64), console, name == "train"), numbers
    normalization = normalization_of(recipe, weights, parts["train"][0].pixels, recorded)
    augmentation = Augmentation(recipe.augmentation, normalization, device)

    def feed(part: str, channels_last: bool = False) -> Feed:
        decoded, targets = parts[part]
        options = recipe.batch_size, recipe.drop_last, recipe.seed, device, channels_last
        return Feed(decoded.pixels, decoded.views, targets, 1, augmentation, MixSpec(), *options)

    def build(recipe: Any, mode: Any, fabric: Any) -> Any:
        last = mode.channels_last
        return Regression(RunWriter(path), feed("validation", last)), feed("train", last)

    timed = feed("train")
    job, timings = set_up(
        RunWriter(path), recipe, model, timed, lambda network, x: network(x).square().mean(), build, console, recorded
    )
    size = recipe.evaluation.size
    return Prepared(job, recipe, images, normalization, weights, timings, (size, size))


def facts(prepared: Any, source: str, console: Any) -> Facts:
    images = prepared.images
    parts = {"train": images.train, "validation": images.validation}
    rows = [
        {"row": 0, "split": name, "path": sample.path, "group": ""} for name, part in parts.items() for sample in part
    ]
    data = {
        "source": source,
        "root": str(images.root),
        "layout": "numbers in names",
        "classes": ["number"],
        "counts": {name: len(part) for name, part in parts.items()},
        "split": "every second image",
        "fingerprint": images.fingerprint,
        "normalization": dataclasses.asdict(prepared.normalization),
        "notes": [],
        "left_out": [],
        "group": False,
    }
    return Facts(pd.DataFrame(rows).assign(row=range(len(rows))).to_csv(index=False), data)


def prediction_table(run: Any, part: str) -> pd.DataFrame:
    with run.arrays(f"predictions/{part}.npz") as arrays:
        return run.part(part)[["path"]].assign(prediction=arrays["prediction"])  # type: ignore[no-any-return]


RECORD = SimpleNamespace(
    SAMPLE_COLUMNS=(),
    EPOCH_COLUMNS=("train_absolute_error", "validation_r2"),
    recipe_of=recipe_of,
    load_model=load_model,
    prediction_table=prediction_table,
    read_predictions=lambda run, part: prediction_table(run, part)["prediction"].to_numpy(),
)


@torch.inference_mode()
def predict(run: Any, images: Any, out: Any, options: Any, console: Any) -> Predicted:
    recipe, model = recipe_of(run), load_model(run, "best")
    run_arithmetic = arithmetic_of(run, recipe)
    augmentation = Augmentation(recipe.augmentation, run_arithmetic.normalization, run_arithmetic.device)
    views = torch.stack([evaluation_view(decode(image), recipe.evaluation) for image in images])
    numbers = model(augmentation.evaluate(views))[:, 0].numpy()
    pd.DataFrame({"path": [str(image) for image in images], "number": numbers}).to_csv(out, index=False)
    return Predicted(out, len(images), 0)


class View(RunView):
    """A run's figures."""

    recipe = property(lambda self: recipe_of(self.run))
    classes_in_loss = why_not_learnt = property(lambda self: None)
    kept_score = property(lambda self: self.headline_figure[1])
    epoch_choice = property(lambda self: EpochChoice(False, False))

    sentence = property(lambda self: f"R² {self.headline_figure[1]:.2f}")

    def bits(self, part: str = "validation") -> None: ...

    @property
    def headline_figure(self) -> Any:
        return "R²", float(self.metrics["validation_r2"].iloc[-1]), None


def page(runs: Any) -> Page:
    views = [View(run.path.name, run, index) for index, run in enumerate(runs)]
    collected = {"runs": views, "scored": views, "comparisons": [], "differing": [], "same_images": True}
    headline = [f"{view.label}: R² {view.headline_figure[1]:.3f}" for view in views]
    charts = curves(views, [("R²", False, [Curve("validation_r2", "")]), ("loss", False, [Curve("train_loss", "")])])
    return Page(
        template="base.html.j2",
        styles=("report.css",),
        scripts=("report.js",),
        variables={
            "collected": collected | {"headline": headline, "measure": "R²"},
            "title": "numbers",
            "curves": charts,
            "cost": [cost(view) for view in views],
            "measure_chart": None,
            "difference_chart": None,
        },
        numbers={"headline": headline},
        rows=[{"run": view.label} for view in views],
    )


KIND: Any = SimpleNamespace(
    task="regression",
    command="train",
    measure="R²",
    is_comparable=False,
    recipe=NumberRecipe,
    data=DATA,
    prepare=SimpleNamespace(prepare=prepare, facts=facts),
    record=RECORD,
    predict=SimpleNamespace(predict=predict),
    check=SimpleNamespace(FIELDS=frozenset()),
    report=SimpleNamespace(view=View, page=page),
)
