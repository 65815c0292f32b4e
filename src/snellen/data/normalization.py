"""Where the mean and deviation come from that pixels are normalised by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from snellen.spec import Spec

Triple = tuple[float, float, float]


class NormalizationSpec(Spec):
    """Pixels in [0, 1] become (pixel - mean) / std, by channel."""

    source: Literal["auto", "data", "backbone", "given"] = Field(
        "auto",
        description="data: measured on the training images. backbone: what the backbone's weights were trained with. "
        "auto: backbone when its weights are loaded, else data. given: `mean` and `std` below.",
    )
    mean: Triple = Field((0.5, 0.5, 0.5), description="Mean of red, green and blue in [0, 1], for source=given.")
    std: Triple = Field((0.25, 0.25, 0.25), description="Deviation of red, green and blue, for source=given.")


@dataclass(frozen=True)
class Normalization:
    """mean, std: of red, green, blue, pixels in [0, 1]; std is above zero. source: a phrase for the report."""

    mean: Triple
    std: Triple
    source: str

    @classmethod
    def recorded(cls, fields: Mapping[str, Any]) -> Normalization:
        """That of a run, as its data.json has it."""
        return cls(tuple(fields["mean"]), tuple(fields["std"]), fields["source"])


def floor_deviation(std: Triple) -> Triple:
    """Deviations of at least 1/255, one grey level: images of one flat colour must not divide by zero."""
    red, green, blue = (max(value, 1 / 255) for value in std)
    return red, green, blue
