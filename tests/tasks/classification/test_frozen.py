"""A head on cached features: the same head as on a frozen network, and a rate that the scored images do not choose."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from tests.hardware import FP32, HARDWARE

from snellen.commands.pretrain import pretrain
from snellen.commands.train import train
from snellen.errors import UserError
from snellen.randomness import derive
from snellen.runs import Run
from snellen.tasks.classification.frozen import split_off_fifth
from snellen.tasks.kinds import load_recipe

QUIET = Console(quiet=True)
PLAIN: dict[str, Any] = {
    "batch_size": 16,
    "augmentation.size": 16,
    "evaluation.size": 16,
    "model.backbone": "airnet",
    "model.width": 0.125,
    "hardware": HARDWARE,
}


@pytest.fixture(scope="module")
def backbone(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    overrides = PLAIN | {"epochs": 2, "evaluation.collapse": "warn", "hardware": FP32}
    return pretrain(digits, "byol-small", overrides=overrides, out=tmp_path_factory.mktemp("p") / "run", console=QUIET)


def test_linear_probe_of_a_pretrained_run(backbone: Run, digits: Path, tmp_path: Path) -> None:
    output = io.StringIO()
    overrides = PLAIN | {"model.weights": str(backbone.path), "epochs": 30, "hardware": FP32}
    run = train(
        digits, "linear-probe", overrides=overrides, out=tmp_path / "run", console=Console(file=output, width=200)
    )
    assert "the best on a held-out fifth of the training images" in output.getvalue()
    assert run.recipe.optimizer.lr in load_recipe("linear-probe").sweep  # type: ignore[union-attr]
    pretrained_weights = load_file(backbone.path / "checkpoints" / "best.safetensors")
    probe_weights = load_file(run.path / "checkpoints" / "best.safetensors")
    assert all(probe_weights[f"backbone.{name}"].equal(tensor) for name, tensor in pretrained_weights.items()), (
        "frozen means frozen"
    )
    snapshot, samples = run.snapshots()[-1], run.samples()
    model = run.model()
    torch.testing.assert_close(
        model.head(torch.from_numpy(snapshot.features)).softmax(1).detach().numpy(), snapshot.probabilities
    )
    # in fp32: of 13 images, whose features are computed again here, bf16 can turn several round
    reference = LogisticRegression(max_iter=1000).fit(*_features(run, "train"))
    features, target = _features(run, "validation")
    assert run.status.score >= reference.score(features, target) - 2 / len(target)
    assert len(samples) == 120


def _features(run: Run, split: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from snellen.data.augment.pipeline import Augmentation, evaluation_view
    from snellen.data.decode import decode
    from snellen.data.normalization import Normalization

    recipe, normalization = run.recipe, run.data["normalization"]
    augmentation = Augmentation(
        recipe.augmentation,
        Normalization(tuple(normalization["mean"]), tuple(normalization["std"]), ""),
        torch.device("cpu"),
    )
    samples = run.samples()
    samples = samples[samples["split"] == split]
    images = augmentation.evaluate(
        torch.stack([evaluation_view(decode(run.image(path)), recipe.evaluation) for path in samples["path"]])
    )
    with torch.inference_mode():
        return run.model().features(images).numpy(), samples["target"].to_numpy()


def test_the_backbone_of_a_run_is_one_that_timm_loads(digits: Path, tmp_path: Path) -> None:
    import timm

    overrides = PLAIN | {"model.backbone": "test_resnet", "model.width": 1, "epochs": 1, "evaluation.collapse": "warn"}
    run = pretrain(digits, "byol-small", overrides=overrides, out=tmp_path / "run", console=QUIET)
    weights = run.path / "checkpoints" / "best.safetensors"
    model = timm.create_model("test_resnet", num_classes=0, checkpoint_path=str(weights))
    assert all(model.state_dict()[name].equal(tensor) for name, tensor in load_file(weights).items())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.freeze": False}, "model.cached needs model.freeze=true"),
        ({"model.cached": False}, "sweep needs model.cached=true"),
        ({"mix.mixup": 0.2, "loss.name": "soft_target"}, "no mix"),
        ({"sweep": [0.1, -1]}, "above 0"),
    ],
)
def test_incompatible_fields_are_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("linear-probe", overrides)


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([*"pqrstuvw", None])), min_size=1, max_size=40),
    seed=st.integers(0, 50),
)
def test_the_held_out_fifth_of_a_sweep_holds_whole_groups(rows: list[tuple[int, str | None]], seed: int) -> None:
    targets, groups = torch.tensor([label for label, _ in rows]), [group for _, group in rows]
    fit, held_out = (set(part.tolist()) for part in split_off_fifth(targets, groups, seed))
    assert fit | held_out == set(range(len(rows)))
    assert not fit & held_out
    named = [{groups[row] for row in part} - {None} for part in (fit, held_out)]
    assert not named[0] & named[1]
    assert set(targets[sorted(fit)].tolist()) == set(targets.tolist()), "every class is learnt"


@given(targets=st.lists(st.integers(0, 3), min_size=1, max_size=40), seed=st.integers(0, 9))
def test_the_held_out_fifth_without_groups_is_drawn_as_before(targets: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(derive(seed, "sweep"))
    expected: list[int] = []
    for label in sorted(set(targets)):
        rows = torch.tensor([row for row, other_label in enumerate(targets) if other_label == label])
        count = max(1, round(0.2 * len(rows))) if len(rows) > 1 else 0
        expected += rows[torch.randperm(len(rows), generator=generator)[:count]].tolist()
    assert split_off_fifth(torch.tensor(targets), [None] * len(targets), seed)[1].tolist() == expected
