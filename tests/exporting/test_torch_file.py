"""Programs of torch.export compute what snellen does, at any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from snellen.data.augment.pipeline import evaluation_view
from snellen.data.augment.spec import EvaluationTransformSpec
from snellen.data.batch import Normalizer
from snellen.data.normalization import Normalization
from snellen.exporting.torch_file import DYNAMIC, Normalised, Views, program_bytes, program_of, running

SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (16, 16), (31, 33), (64, 200), (150, 111), (1, 6000), (6000, 1), (60, 6000)]


@pytest.mark.parametrize(
    "spec",
    [
        EvaluationTransformSpec(size=16),
        EvaluationTransformSpec(size=32, resize=37, interpolation="bicubic"),
        pytest.param(EvaluationTransformSpec(size=24, squash=True, interpolation="bicubic"), marks=pytest.mark.slow),
        pytest.param(EvaluationTransformSpec(size=224, resize=255), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_views_are_those_of_scoring(spec: EvaluationTransformSpec) -> None:
    example = torch.zeros(2, spec.size + 3, spec.size + 5, 3, dtype=torch.uint8)
    run = running(program_of(Views(spec).eval(), (example,), (dict.fromkeys((0, 1, 2), DYNAMIC),)))
    generator = np.random.default_rng(0)
    for count, (height, width) in enumerate(SIZES):
        images = generator.integers(0, 256, (1 + count % 3, height, width, 3), np.uint8)
        views = torch.stack([evaluation_view(torch.from_numpy(image).permute(2, 0, 1), spec) for image in images])
        apart = np.abs(run(images).astype(int) - views.numpy().astype(int))
        assert apart.max() <= 1, (height, width)  # a strip's sums may be rounded the other way
        assert (apart > 0).mean() <= 0.001, (height, width)


def test_pixels_are_normalised_as_in_training() -> None:
    normalization = Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "made up")
    pixels = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert Normalised(normalization)(pixels).equal(Normalizer(normalization, torch.device("cpu"))(pixels, 255))


def test_a_file_names_no_path_of_this_machine() -> None:
    program = program_of(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), (torch.ones(2, 3),), ({0: DYNAMIC},))
    content = program_bytes(program, {"snellen.task": "made up"})
    assert b"made up" in content
    assert b"site-packages" not in content
    assert __file__.encode() not in content
