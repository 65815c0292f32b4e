"""The fields that the recipes of all tasks have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from snellen.data.normalization import NormalizationSpec
from snellen.engine.ema import EmaSpec
from snellen.engine.schedule import ScheduleSpec, choice_of_epoch
from snellen.engine.spec import MOMENTUM, HardwareSpec, OptimizerSpec
from snellen.spec import Spec

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Seconds in a duration such as '90s', '20m', '1.5h', '1h30m'. Raises ValueError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smh])", duration)
    if not parts or re.sub(r"(\d+(?:\.\d+)?)\s*([smh])", "", duration).strip():
        raise ValueError("expected a duration such as 90s, 20m or 1h30m")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total <= 0:
        raise ValueError("expected a duration above zero")
    return total


def _check_duration(value: str) -> str:
    seconds(value)
    return value


Duration = Annotated[str, AfterValidator(_check_duration)]


class SnapshotSpec(Spec):
    """Features of the same validation images, kept after several epochs."""

    images: int = Field(1000, ge=0, description="Validation images whose features are kept, drawn once; 0 for none.")
    epochs: tuple[int, ...] | None = Field(
        None, description="Epochs, counted from 1. None: the first, the middle and the last."
    )

    @property
    def enabled(self) -> bool:
        """Whether anything is kept at all."""
        return self.images > 0

    def due(self, total: int) -> set[int]:
        """The epochs, in a run of `total`, after which something is kept."""
        if not self.enabled:
            return set()
        return {1, (total + 1) // 2, total} if self.epochs is None else {e for e in self.epochs if e <= total}


class Evaluation(Protocol):
    """How often the network is scored, and which epoch is kept."""

    @property
    def every(self) -> int | None:
        """Epochs between two evaluations."""

    @property
    def choose(self) -> Literal["best", "last"] | None:
        """Which epoch is kept; None until the recipe is validated."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """A copy with other fields."""


class Reading(Protocol):
    """How the images of a recipe are found and read."""

    @property
    def bits(self) -> int | None:
        """The bit depth by which 16-bit images are read; None until it is measured."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other fields."""


class Network(Protocol):
    """The network of a recipe."""

    @property
    def weights(self) -> str | None:
        """Where its initial weights come from; None: from scratch."""

    def model_dump(self, *, mode: str = "python", exclude: set[str] | None = None) -> dict[str, Any]:
        """Its fields."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """A copy with other fields."""


class CommonRecipe(Spec):
    """The part of a recipe that all tasks share."""

    network_field: ClassVar[str] = "model.backbone"  # the field that names the network
    whole_batch: ClassVar[bool] = (
        False  # whether the loss needs all images of a batch at once, so that it cannot be split
    )

    if TYPE_CHECKING:  # every recipe has these, each in its own form

        @property
        def task(self) -> str: ...

        @property
        def accumulation(self) -> int: ...

        @property
        def drop_last(self) -> bool: ...

        @property
        def ema(self) -> EmaSpec | None: ...

        @property
        def data(self) -> Reading: ...

        @property
        def evaluation(self) -> Evaluation: ...

        @property
        def model(self) -> Network: ...

    name: str = Field("custom", min_length=1, description="Name of the run in folders and reports.")
    seed: int = Field(
        0, ge=0, lt=2**31, description="Determines initial weights, order of images, augmentation and dropout."
    )
    epochs: int = Field(10, ge=1, description="Passes over the training images; the schedule spans exactly these.")
    budget: Duration | None = Field(
        None, description="Time for training and scoring (20m, 1h30m). `epochs` is set by timing the first steps."
    )
    batch_size: int = Field(128, ge=2, description="Images in one optimiser step.")
    normalization: NormalizationSpec = Field(
        default_factory=NormalizationSpec, description="Mean and standard deviation that pixels are normalised with."
    )
    optimizer: OptimizerSpec = Field(default_factory=OptimizerSpec, description="The optimiser of the loss.")
    schedule: ScheduleSpec = Field(default_factory=ScheduleSpec, description="The learning rate over the run.")
    hardware: HardwareSpec = Field(
        default_factory=HardwareSpec, description="Device, precision and memory layout; measured unless given."
    )
    snapshots: SnapshotSpec = Field(
        default_factory=SnapshotSpec, description="When features of validation images are kept for the report."
    )

    trackers: tuple[Literal["mlflow", "wandb"], ...] = Field(
        (),
        description="Where a run is also recorded, beside TensorBoard: mlflow, wandb or both, at the addresses in "
        "their own environment variables.",
    )

    @field_validator("trackers", mode="before")
    @classmethod
    def _split_trackers(cls, value: object) -> object:
        """From the command line they come as text: trackers=mlflow,wandb."""
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("trackers")
    @classmethod
    def _each_tracker_once(cls, trackers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(trackers))

    @model_validator(mode="after")
    def _momentum_can_cycle(self) -> CommonRecipe:
        if self.schedule.momentum is not None and self.optimizer.name not in MOMENTUM:
            raise ValueError(f"schedule.momentum works with optimizer.name={', '.join(MOMENTUM)}; else: null")
        return self

    @model_validator(mode="after")
    def _parts_have_two_images(self) -> Self:
        if self.accumulation > self.batch_size // 2:
            raise ValueError(f"accumulation={self.accumulation} leaves parts of one image; at most batch_size / 2")
        return self

    @model_validator(mode="after")
    def _settle_choice(self) -> Self:
        """Fills in which epoch is kept if the recipe leaves it open; a recipe is immutable once built."""
        if self.evaluation.choose is None:
            choice = {"choose": choice_of_epoch(self.schedule)}
            self.__dict__["evaluation"] = self.evaluation.model_copy(update=choice)
        return self

    def with_part(self, part: str, **fields: Any) -> Self:
        """A copy with other fields in one of its parts, such as model."""
        return self.model_copy(update={part: getattr(self, part).model_copy(update=fields)})

    def scored_epochs(self) -> set[int]:
        """The epochs, counted from 1, that end with a score: every `evaluation.every`-th, and the last."""
        every = self.evaluation.every or 1
        return {*range(every, self.epochs + 1, every), self.epochs}

    def steps_in_epoch(self, images: int, batch_size: int) -> int:
        """Optimiser steps in an epoch of `images` training images."""
        from snellen.data.feed import steps_in_epoch

        return steps_in_epoch(images, batch_size, self.drop_last)

    @property
    def trains_on_features(self) -> bool:
        """Whether the backbone's features are extracted once, in a single pass through it."""
        return False

    @property
    def trains_head_only(self) -> bool:
        """Whether the backbone is frozen."""
        return False

    @property
    def network_name(self) -> str:
        """The value of `network_field`."""
        return str(self.model.model_dump()[self.network_field.removeprefix("model.")])

    def identity(self) -> dict[str, Any]:
        """The fields that identify a run."""
        return self.model_dump(mode="json")

    def scored_on(self, source: str) -> Self:
        """The recipe, scored on the labelled images of `source` if it needs such and names none of its own."""
        return self

    def network(self) -> dict[str, Any]:
        """The fields that determine the computation of a step, without the initial weights."""
        return self.model.model_dump(mode="json", exclude={"weights"})
