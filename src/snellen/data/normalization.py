"""The mean and standard deviation that pixels are normalised with, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from snellen.spec import Spec

Triple = tuple[float, float, float]


class NormalizationSpec(Spec):
    """Pixels in [0, 1] become (pixel - mean) / std, per channel."""

    source: Literal["auto", "data", "backbone", "given"] = Field(
        "auto",
        description="data: measured on the training images. backbone: those that the backbone was trained with. "
        "auto: backbone if its weights are loaded, else data. given: `mean` and `std` below.",
    )
    mean: Triple = Field((0.5, 0.5, 0.5), description="Mean of red, green and blue in [0, 1], for source=given.")
    std: Triple = Field((0.25, 0.25, 0.25), description="Standard deviation of red, green and blue, for source=given.")


@dataclass(frozen=True)
class Normalization:
    """mean, std: of red, green and blue, with pixels in [0, 1]; std > 0. source: a phrase for the report."""

    mean: Triple
    std: Triple
    source: str

    @classmethod
    def recorded(cls, fields: Mapping[str, Any]) -> Normalization:
        """The normalisation of a run, from its data.json."""
        return cls(tuple(fields["mean"]), tuple(fields["std"]), fields["source"])


def floor_deviation(std: Triple) -> Triple:
    """Deviations of at least 1/255, one grey level, so that images of a single colour do not divide by zero."""
    red, green, blue = (max(value, 1 / 255) for value in std)
    return red, green, blue
