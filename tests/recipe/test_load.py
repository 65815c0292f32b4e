"""Recipes: the shipped ones are what DESIGN says, and nothing wrong passes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.data.masks.spec import MaskAugmentationSpec
from snellen.engine.recipe import seconds
from snellen.engine.schedule import factor
from snellen.errors import UserError
from snellen.recipe.fields import field_paths
from snellen.recipe.load import dump, load_as, parse_overrides, read_resolved
from snellen.recipe.text import RECIPES, headline
from snellen.tasks.kinds import load_recipe
from snellen.tasks.segmentation.recipe import SegmentationRecipe


@pytest.mark.parametrize("name", RECIPES.names())
def test_shipped_recipes_survive_being_resolved(tmp_path: Path, name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    assert read_resolved(tmp_path / "recipe.yaml", type(recipe)) == recipe
    assert len(headline(RECIPES.text(name))) > 20


def test_reference_recipes_are_the_references() -> None:
    vgg = load_recipe("vgg13-scratch")
    assert (vgg.epochs, vgg.batch_size, vgg.optimizer.name, vgg.optimizer.lr) == (500, 128, "adamw", 1e-3)
    assert (vgg.augmentation.size, vgg.augmentation.padding, vgg.augmentation.rotation) == (32, 4, 10)
    assert (vgg.model.head.hidden, vgg.model.head.dropout, vgg.optimizer.clip_norm) == ((512, 512), 0.4, 10)
    assert vgg.snapshots.due(500) == {1, 250, 500}
    resnet = load_recipe("resnet152-mixup")
    assert (resnet.epochs, resnet.batch_size, resnet.optimizer.name, resnet.optimizer.lr) == (20, 32, "sgd", 3e-3)
    assert (resnet.optimizer.momentum, resnet.optimizer.weight_decay, resnet.optimizer.clip_norm) == (0, 0, 10)
    assert (resnet.mix.mixup, resnet.mix.cutmix, resnet.loss.smoothing) == (0.1, 1.0, 0.1)
    assert (resnet.augmentation.resize, resnet.augmentation.size, resnet.evaluation.size) == (256, 224, 224)


def test_reference_recipes_for_masks_are_the_references() -> None:
    fcn, deeplab = (load_as(SegmentationRecipe, name, {}) for name in ("fcn32s-vgg16", "deeplabv3-resnet50-poly1"))
    for recipe in (fcn, deeplab):  # normalised, nothing else
        assert recipe.augmentation == MaskAugmentationSpec(flip=0)
        assert recipe.evaluation.resize is None
        assert (recipe.ema, recipe.loss.smoothing, recipe.loss.class_weights) == (None, 0, None)
    assert (fcn.epochs, fcn.batch_size, fcn.schedule.name) == (50, 4, "constant")
    assert (fcn.model.architecture, fcn.model.weights, fcn.model.width) == ("fcn32s/torchvision/vgg16", "imagenet", 512)
    assert (fcn.optimizer.name, fcn.optimizer.lr, fcn.optimizer.weight_decay) == ("adam", 1e-3, 1e-5)
    assert fcn.loss.terms == {"cross_entropy": 1}
    assert (deeplab.epochs, deeplab.batch_size) == (80, 12)
    assert (deeplab.model.architecture, deeplab.model.weights) == ("torchvision/deeplabv3_resnet50", "coco")
    assert (deeplab.optimizer.name, deeplab.optimizer.lr, deeplab.optimizer.weight_decay) == ("adam", 1e-2, 0)
    assert (deeplab.loss.terms, deeplab.loss.epsilon, deeplab.loss.auxiliary) == ({"poly1": 1}, 2, 1)
    assert fcn.snapshots.due(50) == {1, 25, 50}


def test_one_cycle_is_pytorchs() -> None:
    steps = 200
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    recipe = load_recipe("deeplabv3-resnet50-poly1")
    for step in range(steps):
        rate = recipe.optimizer.lr * factor(recipe.schedule, step, steps)
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=3e-4), step
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize(
    ("schedule", "choice"),
    [
        ({"name": "constant"}, "best"),
        ({"name": "cosine"}, "last"),
        ({"name": "linear", "final": 0.1}, "last"),
        ({"name": "poly", "final": 0.11}, "best"),
        ({"name": "onecycle", "final": 1.0}, "best"),
    ],
)
def test_the_last_epoch_is_kept_where_the_rate_ends_near_zero(
    task: str, schedule: dict[str, Any], choice: str, tmp_path: Path
) -> None:
    recipe = load_recipe({"task": task, "schedule": schedule})
    assert recipe.evaluation.choose == choice
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    assert f"choose: {choice}" in (tmp_path / "recipe.yaml").read_text(), "the resolved recipe says which"
    assert read_resolved(tmp_path / "recipe.yaml", type(recipe)) == recipe
    for explicit in ("best", "last"):
        explicit_recipe = load_recipe({"task": task, "schedule": schedule, "evaluation": {"choose": explicit}})
        assert explicit_recipe.evaluation.choose == explicit


def test_overrides() -> None:
    recipe = load_recipe("vgg13-scratch", parse_overrides(["epochs=20", "optimizer.lr=1e-2", "model.weights=null"]))
    assert recipe.epochs == 20
    assert recipe.optimizer.lr == 0.01
    assert recipe.optimizer.name == "adamw"
    assert recipe.model.weights is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lrr=1"], "optimizer.lrr: no such field. Did you mean 'optimizer.lr'"),
        (["epoch=3"], "epoch: no such field. Did you mean 'epochs'"),
        (["epochs=0"], r"epochs: expected at least 1 \(got 0\)"),
        (["epochs=many"], r"epochs: expected a whole number \(got 'many'\)"),
        (["epochs=1.5"], r"epochs: expected a whole number \(got 1\.5\)"),
        (["epochs=[1]"], "epochs: expected a whole number"),
        (["drop_last=perhaps"], "drop_last: expected true or false"),
        (["sweep=0.1x"], "sweep: expected a list, such as 1,2"),
        (["sweep={a: 1}"], "sweep: expected a list, in which '- ' begins each entry"),
        (["optimizer.lr=.inf"], "optimizer.lr: expected a finite number"),
        (["data.validation_share=0.9"], "data.validation_share: expected at most 0.5"),
        (["hardware.device=tpu"], r"hardware.device: expected auto, cpu, mps or cuda \(or cuda:1 …\) \(got 'tpu'\)"),
        (["optimizer=sgd"], "Write optimizer.name=sgd"),
        (["normalization.mean=[1]"], r"normalization\.mean\.1: missing"),
        (["name="], "expected text"),
        (["name=''"], "name: expected non-empty text"),
        (["optimizer.lr=nan"], "optimizer.lr"),
        (["loss.name=crossentropy"], "is not one of .* Did you mean 'cross_entropy'"),
        (["epochs.more=3"], "'epochs' is a single value"),
        (["=3"], "expected key=value"),
        (["a..b=3"], "expected key=value"),
        (["epochs=[1"], "not valid YAML"),
        (["budget=soon"], "expected a duration"),
        (["mix.mixup=0.2"], "use loss.name=soft_target"),
        (["data.name_pattern=("], "not a regular expression"),
    ],
)
def test_bad_overrides_are_explained(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("vgg13-scratch", parse_overrides(overrides))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3\nepochs: 4\n", "line 2: 'epochs' is given twice"),
        ("- a list\n", "expected 'field: value' lines"),
        ("epochs: [1\n", "line"),
        ("", "expected 'field: value' lines"),
        ("!!python/object/apply:os.system ['true']\n", "line 1"),
        ("optimizer: 3\n", "optimizer: it has fields of its own. Write optimizer.FIELD=VALUE, with one of: name, lr"),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_recipe(path)
    assert "mine.yaml" in str(error.value)


def test_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'vgg13-scratch'"):
        load_recipe("vgg13-scrach")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "epochs",
        "model",
        "optimizer",
        "augmentation",
        "mix",
        "data",
        "schedule",
        "ema",
        "snapshots",
        "loss",
        "evaluation",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(KEYS | st.text(max_size=6), JSON, max_size=4),
    st.sampled_from([{}, {"task": "pretraining"}, {"task": "segmentation"}]),
)
def test_any_dictionary_is_a_recipe_or_a_clear_error(fields: dict[str, Any], task: dict[str, str]) -> None:
    fields = task | fields
    try:
        recipe = load_recipe(fields)
    except UserError as error:
        message = str(error)
    else:
        message = "recipe, "
        assert load_recipe(yaml.safe_load(dump(recipe))) == recipe
    assert message.startswith("recipe, ")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60).filter(lambda text: ":" not in text))
def test_text_without_fields_is_a_clear_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "r.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=r"r\.yaml"):
        load_recipe(path)


def test_durations() -> None:
    assert [seconds(text) for text in ("90s", "20m", "1.5h", "1h30m")] == [90, 1200, 5400, 5400]


def test_no_wording_of_pydantic_shows_through() -> None:
    """Every field of every kind of recipe is given values that hardly any field takes."""
    messages = []
    for name in ("vgg13-scratch", "byol-small", "segment-lite"):
        for path in field_paths(type(load_recipe(name))):
            for value in ({"a": {"b": 1}}, [[1]], "no such thing", -1e9):
                try:
                    load_recipe(name, {path: value})
                except UserError as error:
                    messages.append(str(error))
    assert len(messages) > 300
    pydantic_wording = re.compile("[Ii]nput should|valid (integer|number|tuple|dict)|pydantic|should match")
    assert not [message for message in messages if pydantic_wording.search(message)]
