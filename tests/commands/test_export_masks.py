"""`snellen export` of a segmentation run: a file whose masks are those of the run, in tiles too; or no file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from rich.console import Console
from tests.commands.test_export import wrong_normalisation as wrong_normalisation
from tests.commands.test_predict_masks import scenes as scenes
from tests.recipes import SCENES
from tests.reporting.fake_masks import Scenes

import snellen
from snellen import Run, UserError
from snellen.exporting.agreement import MaskAgreement
from snellen.insight.mask_words import named_test
from snellen.insight.segmentation import counts_of

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def run(scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that also scores mirror images, and pads to a multiple that its network pads further."""
    recipe = SCENES | {"epochs": 1, "evaluation": {"flip": True, "multiple": 24}}
    return snellen.train(scenes.root, recipe, out=tmp_path_factory.mktemp("runs") / "run", console=QUIET)


@pytest.fixture(scope="module")
def file(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exported = snellen.export(run, tmp_path_factory.mktemp("files") / "scenes.onnx", console=QUIET)
    found = exported.agreement
    assert (found.images, found.odd) == (run.count("validation"), 6)
    assert found.different <= 1e-5 * found.pixels
    assert str(found) in str(exported)
    return exported.path


def test_tiles_of_any_size_are_scored_without_snellen(run: Run, file: Path) -> None:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["snellen.classes"]) == run.classes
    for count, height, width in ((2, 45, 70), (1, 1, 9), (3, 64, 32)):
        images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
        (scores,) = session.run(["scores"], {"images": images})
        assert scores.shape == (count, len(run.classes), height, width)
        masks = np.stack(run.predict(images, quiet=True)["mask"].tolist())
        assert (scores.argmax(1) == masks).mean() > 0.999


def test_predict_and_evaluate_give_the_figures_of_the_run(run: Run, file: Path, scenes: Scenes, tmp_path: Path) -> None:
    large = Image.fromarray(np.random.default_rng(1).integers(0, 256, (15, 20, 3), np.uint8)).resize((200, 150))
    images = [scenes.root / "validation", large]
    for source, out in ((run, tmp_path / "run"), (file, tmp_path / "file")):
        predicted = snellen.predict(source, images, out, tile=96, overlap=0, console=QUIET)
        assert (predicted.predicted, predicted.unreadable) == (5, 0), "the masks next to the images are skipped"
    names = sorted(path.relative_to(tmp_path / "run") for path in (tmp_path / "run").rglob("*.png"))
    for name in names:
        pair = [np.asarray(Image.open(tmp_path / side / name)) for side in ("run", "file")]
        assert (pair[0] == pair[1]).mean() > 0.999, name
    assert len(names) == 10
    scored = [snellen.evaluate(source, scenes.root, console=QUIET) for source in (run, str(file))]
    assert np.abs(scored[0].scores.confusion - scored[1].scores.confusion).sum() <= 4
    assert scored[0].scores.loss == pytest.approx(scored[1].scores.loss, rel=1e-5)
    with pytest.raises(UserError, match=r"scenes\.onnx: its predictions are masks, which have no top_k"):
        snellen.predict(file, images, top_k=3, console=QUIET)


def test_a_network_that_onnxruntime_cannot_run_is_named(file: Path, scenes: Scenes, tmp_path: Path) -> None:
    model = onnx.load(file)
    broken = onnx.helper.make_node("Reshape", [model.graph.output[0].name, "wrong"], ["other"])
    model.graph.node.append(broken)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([7, 6, 1, 1]), "wrong"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, [7, 6, 1, 1]))
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(UserError, match=r"x\.onnx: onnxruntime cannot run it \(.*Reshape"):
        snellen.predict(tmp_path / "x.onnx", scenes.root, tmp_path / "out", console=QUIET)


def test_damaged_metadata_are_named(file: Path, scenes: Scenes, tmp_path: Path) -> None:
    model = onnx.load(file)
    (data,) = [json.loads(entry.value) for entry in model.metadata_props if entry.key == "snellen.data"]
    endless = json.dumps(data | {"training_sizes": data["training_sizes"] | {"median": [float("inf"), 9]}})
    for number, text in enumerate(("{}", "[]", '{"masks": 3}', endless)):
        properties = {entry.key: entry.value for entry in model.metadata_props}
        onnx.helper.set_model_props(model, properties | {"snellen.data": text})
        onnx.save(model, tmp_path / f"{number}.onnx")
        with pytest.raises(UserError, match=rf"{number}\.onnx: its metadata snellen\.data is damaged"):
            snellen.predict(tmp_path / f"{number}.onnx", scenes.root, tmp_path / "out", console=QUIET)


@pytest.mark.slow
def test_int8_says_what_it_changes(run: Run, scenes: Scenes, tmp_path: Path) -> None:
    exported = snellen.export(run, tmp_path / "x.onnx", int8=True, force=True, console=QUIET)
    assert exported.int8 is not None
    model = onnx.load(exported.path)
    assert "DequantizeLinear" in {node.op_type for node in model.graph.node}
    precision = {entry.key: entry.value for entry in model.metadata_props}["snellen.precision"]
    assert precision == f"int8. {exported.int8}"
    # The change that it names is the one that scoring the same images with the file and with the run gives.
    counts = [
        counts_of(snellen.evaluate(source, scenes.root, console=QUIET).scores.confusion)
        for source in (exported.path, run)
    ]
    test = named_test(*counts, None, run.classes)
    named = re.match(
        r"int8 changes (mIoU.*) by ([+-][\d.]+) points \(.*; 4 validation images\) and takes", exported.int8
    )
    assert named is not None, exported.int8
    assert named[1] == test.measure
    assert float(named[2]) == pytest.approx(100 * test.difference, abs=0.02)


@pytest.mark.slow
def test_a_torch_program_gives_the_masks_of_the_run(run: Run, tmp_path: Path) -> None:
    exported = snellen.export(run, tmp_path / "x.pt2", format="torch", console=QUIET)
    assert isinstance(exported.agreement, MaskAgreement)
    assert exported.agreement.different <= 1e-5 * exported.agreement.pixels
    network = torch.export.load(tmp_path / "x.pt2").module()
    for count, height, width in ((2, 45, 70), (1, 1, 9), (3, 64, 32), (1, 24, 48)):
        images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
        with torch.inference_mode():
            scores = network(torch.from_numpy(images), 0, 0)
        assert scores.shape == (count, len(run.classes), height, width)
        masks = np.stack(run.predict(images, quiet=True)["mask"].tolist())
        assert (scores.argmax(1).numpy() == masks).mean() > 0.999


@pytest.mark.slow
@pytest.mark.usefixtures("wrong_normalisation")
def test_a_file_that_disagrees_is_not_written(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.onnx: not written.*another class in [\d,]+ of.*Expected: at most 0\.01%"):
        snellen.export(run, tmp_path / "x.onnx", console=QUIET)
    assert list(tmp_path.iterdir()) == []
