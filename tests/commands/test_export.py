"""`snellen export`: a file that gives the run's answers, with onnxruntime and NumPy alone; or no file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from rich.console import Console
from tests.hardware import FP32
from tests.recipes import DIGITS

import snellen
from snellen import Run, UserError
from snellen.exporting.agreement import Agreement

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that scores images together with their mirror images, by a squash with the cubic filter."""
    evaluation = {"size": 16, "squash": True, "interpolation": "bicubic", "flip": True}
    recipe = DIGITS | {"evaluation": evaluation, "hardware": FP32}
    return snellen.train(digits, recipe, out=tmp_path_factory.mktemp("runs") / "run", console=QUIET)


@pytest.fixture(scope="module")
def file(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exported = snellen.export(run, tmp_path_factory.mktemp("files") / "digits.onnx", console=QUIET)
    found = exported.agreement
    assert (found.images, found.odd, found.different) == (run.count("validation"), 200, 0)
    assert found.largest < 1e-4
    assert str(found) in str(exported)
    return exported.path


def test_a_batch_of_any_size_is_predicted_without_snellen(run: Run, file: Path) -> None:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["snellen.classes"]) == run.classes
    assert metadata["snellen.calibration"] == "uncalibrated"
    for count, height, width in ((3, 16, 16), (1, 90, 41), (2, 7, 200)):
        images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
        probabilities = session.run(["probabilities"], {"images": images})[0]
        frame = run.predict(images, quiet=True)
        np.testing.assert_allclose(probabilities, frame[[f"probability_{name}" for name in run.classes]], atol=1e-5)


def test_predict_and_evaluate_give_the_figures_of_the_run(run: Run, file: Path, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    images = [digits / "0", tmp_path / "broken.jpg", Image.new("CMYK", (30, 20), (9, 99, 0, 0))]
    tables = [
        snellen.predict(source, images, tmp_path / f"{number}.csv", console=QUIET).table()
        for number, source in enumerate((run, file))
    ]
    pd.testing.assert_frame_equal(*tables, atol=1e-5)
    assert (tables[1]["error"] != "").sum() == 1
    scored = [snellen.evaluate(source, digits, console=QUIET) for source in (run, str(file))]
    np.testing.assert_allclose(scored[0].probabilities, scored[1].probabilities, atol=1e-5)
    assert scored[0].as_dict()["top1"] == scored[1].as_dict()["top1"]
    with pytest.raises(UserError, match=r"digits\.onnx: a classifier writes a table; it has no overlays"):
        snellen.predict(file, images, overlays=True, console=QUIET)


def test_the_file_names_no_path_of_this_machine(file: Path) -> None:
    assert str(Path(snellen.__file__).parents[1]).encode() not in file.read_bytes()


@pytest.fixture
def wrong_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another normalisation than the run's is what a wrong preprocessing looks like."""

    def wrong(graph: object, views: str, normalization: object) -> str:
        return str(graph.cast(views, np.float32))  # type: ignore[attr-defined]

    for module in ("classification.export", "segmentation.exported_network"):
        monkeypatch.setattr(f"snellen.tasks.{module}.add_normalisation", wrong)


@pytest.mark.slow
@pytest.mark.usefixtures("wrong_normalisation")
def test_a_file_that_disagrees_is_not_written(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.onnx: not written.*another top-1 in \d+ of.*Expected"):
        snellen.export(run, tmp_path / "x.onnx", console=QUIET)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_int8_says_what_it_changes(run: Run, tmp_path: Path) -> None:
    exported = snellen.export(run, tmp_path / "x.onnx", int8=True, force=True, console=QUIET)
    assert exported.int8 is not None
    assert exported.int8.startswith("int8 changes top-1 by ")
    model = onnx.load(exported.path)
    kinds = [node.op_type for node in model.graph.node]
    assert "DequantizeLinear" in kinds
    assert kinds.index("DequantizeLinear") > kinds.index("MatMulInteger")  # the preprocessing comes first, as it was
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["snellen.precision"] == f"int8. {exported.int8}"
    frame = snellen.predict(exported.path, np.zeros((20, 20, 3), np.uint8), tmp_path / "x.csv", console=QUIET).table()
    assert frame["probability"].iloc[0] <= 1


@pytest.mark.slow
def test_a_torch_program_gives_the_answers_of_the_run(run: Run, tmp_path: Path) -> None:
    exported = snellen.export(run, tmp_path / "x.pt2", format="torch", console=QUIET)
    assert (exported.agreement.different, exported.agreement.odd) == (0, 200)
    assert isinstance(exported.agreement, Agreement)
    assert exported.agreement.largest < 1e-4
    metadata = dict.fromkeys(("snellen.classes", "snellen.task", "snellen.agreement", "snellen.opset"), "")
    network = torch.export.load(tmp_path / "x.pt2", extra_files=metadata).module()
    assert json.loads(metadata["snellen.classes"]) == run.classes
    assert json.loads(metadata["snellen.agreement"])["odd"] == 200
    assert metadata["snellen.opset"] == "null"
    for count, height, width in ((3, 16, 16), (1, 90, 41), (2, 7, 200), (1, 1, 1)):
        images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
        with torch.inference_mode():
            probabilities = network(torch.from_numpy(images)).numpy()
        frame = run.predict(images, quiet=True)
        np.testing.assert_allclose(probabilities, frame[[f"probability_{name}" for name in run.classes]], atol=1e-5)
    assert str(Path(snellen.__file__).parents[1]).encode() not in (tmp_path / "x.pt2").read_bytes()
    with pytest.raises(UserError, match=r"x\.pt2: a program of torch.*ONNX"):
        snellen.predict(tmp_path / "x.pt2", images, tmp_path / "x.csv", console=QUIET)


def plain_file(path: Path, properties: dict[str, str], name: str = "images") -> Path:
    """An ONNX file that someone else made: the mean of each channel. name: of its input."""
    images = helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", "H", "W", 3])
    means = helper.make_tensor_value_info("means", TensorProto.FLOAT, ["N", 3])
    nodes = [
        helper.make_node("Cast", [name], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
    ]
    axes = [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])]
    graph = helper.make_graph(nodes, "plain", [images], [means], axes)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, properties)
    onnx.save(model, path)
    return path


def test_files_of_others_and_damaged_ones_are_named(file: Path, digits: Path, tmp_path: Path) -> None:
    properties = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    (tmp_path / "text.onnx").write_text("no model", encoding="utf-8")
    for path, message in (
        (
            plain_file(tmp_path / "other.onnx", {}),
            r"not a file of `snellen export`.*lacks snellen\.format, snellen\.task",
        ),
        (
            plain_file(tmp_path / "less.onnx", {k: v for k, v in properties.items() if "classes" not in k}),
            r"less\.onnx: .*lacks snellen\.classes, without",
        ),
        (plain_file(tmp_path / "new.onnx", properties | {"snellen.format": "9"}), "in format 9.*reads format 1"),
        (plain_file(tmp_path / "bad.onnx", properties | {"snellen.classes": "[3"}), "is damaged"),
        (
            plain_file(tmp_path / "worse.onnx", properties | {"snellen.agreement": "{}"}),
            r"snellen\.agreement is damaged",
        ),
        (plain_file(tmp_path / "task.onnx", properties | {"snellen.task": "depth"}), "'depth'"),
        (plain_file(tmp_path / "recipe.onnx", properties | {"snellen.recipe": "epochs: x"}), "recipe in.*epochs"),
        (plain_file(tmp_path / "graph.onnx", properties, "x"), r"graph\.onnx: .*its input is x.*images"),
        (tmp_path / "text.onnx", "not an ONNX file"),
        (tmp_path / "missing.onnx", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            snellen.predict(path, digits / "0", tmp_path / "out.csv", console=QUIET)
        assert not (tmp_path / "out.csv").exists()


def test_runs_that_cannot_be_exported(run: Run, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    status = json.loads((copy / "status.json").read_text())
    (copy / "status.json").write_text(json.dumps(status | {"state": "interrupted", "epochs_done": 1}))
    with pytest.raises(UserError, match=r"interrupted after 1 of 2 epochs.*snellen train --resume"):
        snellen.export(copy, tmp_path / "x.onnx", console=QUIET)
    (copy / "status.json").write_text(json.dumps(status))
    data = json.loads((copy / "data.json").read_text())
    (copy / "data.json").write_text(json.dumps(data | {"classes": [*run.classes, "3"]}))
    with pytest.raises(UserError, match=r"the layer head.*in the file and"):
        snellen.export(copy, tmp_path / "x.onnx", console=QUIET)
    with pytest.raises(UserError, match=r"x\.pt: expected a name that ends in \.onnx, such as .*x\.onnx"):
        snellen.export(run, tmp_path / "x.pt", console=QUIET)
    with pytest.raises(UserError, match=r"x\.onnx: expected a name that ends in \.pt2"):
        snellen.export(run, tmp_path / "x.onnx", format="torch", console=QUIET)
    with pytest.raises(UserError, match=r"format='pickle': expected onnx or torch"):
        snellen.export(run, tmp_path / "x.onnx", format="pickle", console=QUIET)
    with pytest.raises(UserError, match=r"int8 is only written as ONNX"):
        snellen.export(run, tmp_path / "x.pt2", format="torch", int8=True, console=QUIET)
    (tmp_path / "x.onnx").touch()
    with pytest.raises(UserError, match=r"already exists"):
        snellen.export(run, tmp_path / "x.onnx", console=QUIET)
    with pytest.raises(UserError, match=r"y\.onnx: cannot be written into .*x\.onnx"):
        snellen.export(run, tmp_path / "x.onnx" / "y.onnx", console=QUIET)
