"""Runs and files of both kinds that are served: the answers of `predict`, masks, saliency, samples."""

from __future__ import annotations

import io
import json
import shutil
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from benchmarks.bad_requests import GREEN, encoded
from PIL import Image
from rich.console import Console
from starlette.testclient import TestClient

import snellen
from snellen import Run, UserError, serve
from snellen.commands.serve import _loaded
from snellen.serving.app import make_app
from snellen.serving.limits import Limits
from snellen.tasks.classification.saliency import Explainer
from snellen.tasks.segmentation import serve as segmentation_serve

QUIET = Console(quiet=True)
LIMITS = Limits(upload=2_000_000, pixels=2_000_000, queue=4, seconds=120)


@contextmanager
def served(run: Run | Path) -> Iterator[TestClient]:
    network, samples = _loaded(run)
    with TestClient(make_app(network, LIMITS, samples=samples), base_url="http://127.0.0.1") as client:
        yield client


def test_a_run_gives_the_probabilities_of_predict(digits_run: Run) -> None:
    files = [digits_run.image(path) for path in digits_run.part("validation")["path"]][:6]
    table = digits_run.predict(files, quiet=True)
    with served(digits_run) as client:
        for file, row in zip(files, table.to_dict("records"), strict=True):
            answer = client.post("/predict", content=file.read_bytes()).json()
            assert (answer["width"], answer["height"], answer["calibration"]) == (16, 16, "uncalibrated")
            for entry in answer["classes"]:
                assert entry["probability"] == pytest.approx(row[f"probability_{entry['name']}"], abs=1e-5)
            assert answer["classes"][0]["name"] == row["class"]


def test_a_run_shows_where_it_looked(digits_run: Run) -> None:
    file = digits_run.image(digits_run.part("validation")["path"].iloc[3])
    with served(digits_run) as client:
        assert client.get("/model").json()["saliency"] is True
        best = client.post("/predict", content=file.read_bytes()).json()["classes"][0]["name"]
        explained = client.post("/saliency", content=file.read_bytes()).json()
        other = next(name for name in digits_run.classes if name != best)
        of_other = client.post(f"/saliency?class={other}", content=file.read_bytes()).json()
        png = client.post("/saliency", content=file.read_bytes(), headers={"Accept": "image/png"})
    assert (explained["class"], of_other["class"]) == (best, other)
    assert png.headers["content-type"] == "image/png"
    assert png.content == b64decode(explained["map"])
    view = np.asarray(Image.open(io.BytesIO(b64decode(explained["view"]))))
    assert (view == np.asarray(Image.open(file).convert("RGB"))).all()  # 16 px, as the network sees them
    import torch

    tensor = torch.from_numpy(view.copy()).permute(2, 0, 1)[None]
    explainer = Explainer(digits_run)
    for answer in (explained, of_other):
        maps, _ = explainer.maps(tensor, [digits_run.classes.index(answer["class"])])
        shown = np.asarray(Image.open(io.BytesIO(b64decode(answer["map"]))))
        assert np.abs(shown - 255 * maps[0]).max() <= 1
        assert answer["correlation"] is None or -1 <= answer["correlation"] <= 1
        assert answer["positions"] == explainer.layer.side**2


def test_samples_are_the_runs_own_and_named_by_number(digits_run: Run, tmp_path: Path) -> None:
    table = digits_run.predictions().set_index("path")
    with served(digits_run) as client:
        samples = client.get("/model").json()["samples"]
        assert [sample["number"] for sample in samples] == list(range(len(table)))
        paths = {(digits_run.image(path)).read_bytes(): path for path in table.index}
        for sample in samples[:3]:
            response = client.get(f"/samples/{sample['number']}")
            assert response.headers["content-type"] == "image/png"
            row = table.loc[paths[response.content]]
            assert row["class"] == sample["class"]
            answer = client.post("/predict", content=response.content).json()["classes"][0]
            assert answer["name"] == row["prediction"]
            assert answer["probability"] == pytest.approx(row["confidence"], abs=2e-6)
            picture = Image.open(io.BytesIO(client.get(f"/samples/{sample['number']}/picture").content))
            assert (picture.format, picture.size) == ("JPEG", (16, 16))
        for address in ("/samples/13", "/samples/13/picture", "/samples/-1", "/samples/x", "/samples/1/../../x"):
            assert client.get(address).status_code == 404
        document = client.get("/openapi.json").json()
    assert {"/saliency", "/samples/{number}", "/samples/{number}/picture"} <= document["paths"].keys()


def test_samples_that_are_gone_are_said(digits_run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(digits_run.path, copy)
    images = tmp_path / "images"
    shutil.copytree(digits_run.data["root"], images)
    data = json.loads((copy / "data.json").read_text())
    (copy / "data.json").write_text(json.dumps(data | {"root": str(images)}))
    with served(copy) as client:
        shutil.rmtree(images)
        response = client.get("/samples/0")
        assert response.status_code == 404
        assert "can no longer be read" in response.json()["error"]
        assert client.get("/samples/1/picture").status_code == 404
        assert client.post("/predict", content=GREEN).status_code == 200
    with served(copy) as client:
        assert client.get("/model").json()["samples"] == []


def test_samples_that_no_browser_shows_are_sent_as_png(scenes_run: Run, tmp_path: Path) -> None:
    from snellen.serving.samples import Samples

    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 64
    deep, tiff = tmp_path / "deep.png", tmp_path / "grey.tif"
    Image.fromarray(values).save(deep)
    Image.new("L", (5, 4), 77).save(tiff)
    samples = Samples((deep, tiff), (None, None), bits=12)
    content, media = samples.file(0, LIMITS)
    assert media == "image/png"
    assert (np.asarray(Image.open(io.BytesIO(content)))[..., 0] == values >> 4).all()
    content, media = samples.file(1, LIMITS)
    assert (media, Image.open(io.BytesIO(content)).getpixel((2, 2))) == ("image/png", (77, 77, 77))
    with pytest.raises(UserError, match="larger than what this server accepts"):
        samples.file(1, Limits(upload=10))


def check_mask(client: TestClient, run: Run, content: bytes, out: Path) -> None:
    """The mask is that of `predict` in tiles of 64 px, in its colours."""
    image = Image.open(io.BytesIO(content))
    snellen.predict(run, image, out, tile=64, overlap=32, force=True, quiet=True)
    (index,) = (out / "index").iterdir()
    expected = np.asarray(Image.open(index))
    answer = client.post("/predict", content=content).json()
    assert (answer["height"], answer["width"]) == expected.shape
    png = Image.open(io.BytesIO(b64decode(answer["mask"])))
    assert png.mode == "P"
    assert (np.asarray(png) == expected).mean() > 0.9999
    palette = np.asarray(png.getpalette()).reshape(-1, 3)
    counts = np.bincount(np.asarray(png).ravel(), minlength=len(run.classes))
    for entry in answer["classes"]:
        assert run.classes[entry["value"]] == entry["name"]
        assert palette[entry["value"]].tolist() == entry["colour"] == list(run.data["colours"][entry["value"]])
        assert entry["share"] == pytest.approx(counts[entry["value"]] / counts.sum())
    assert len(answer["classes"]) == len(run.classes)
    assert "calibration" not in answer
    alone = client.post("/predict", content=content, headers={"Accept": "image/png"})
    assert alone.content == b64decode(answer["mask"])


@pytest.mark.parametrize("exported", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_segmenter_gives_the_masks_of_predict(
    exported: bool, scenes_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation_serve, "TILE", 64)
    monkeypatch.setattr(segmentation_serve, "OVERLAP", 32)
    small = scenes_run.image(scenes_run.part("validation")["path"].iloc[0]).read_bytes()
    odd = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (1, 9, 3), np.uint8)))
    noise = np.random.default_rng(1).integers(0, 256, (9, 11, 3), np.uint8)
    large = encoded(Image.fromarray(noise).resize((130, 100)))
    source = snellen.export(scenes_run, tmp_path / "scenes.onnx", console=QUIET).path if exported else scenes_run
    with served(source) as client:
        for content in (small, odd, large):
            check_mask(client, scenes_run, content, tmp_path / "masks")
        assert len(client.post("/predict?top=1", content=small).json()["classes"]) == 1
        model = client.get("/model").json()
        assert (model["measure"], model["saliency"], model["calibration"]) == ("share", False, None)
        assert len(model["samples"]) == (0 if exported else scenes_run.count("validation"))
        refused = client.post("/saliency", content=small)
        assert (refused.status_code, " " in refused.json()["error"]) == (404, True)
        assert client.get("/openapi.json").json()["paths"].keys() >= {"/predict", "/model", "/health"}


def test_what_cannot_be_served_is_said(digits_run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(digits_run.path, copy)
    status = json.loads((copy / "status.json").read_text())
    (copy / "status.json").write_text(json.dumps(status | {"state": "interrupted", "epochs_done": 1}))
    with pytest.raises(UserError, match=r"only a finished run is served\. Resume it with: snellen train --resume"):
        serve(copy, port=0, console=QUIET)
    (copy / "status.json").write_text(json.dumps(status))
    data = json.loads((copy / "data.json").read_text())
    for classes, message in (
        ([*data["classes"], "another"], r"best\.safetensors: does not fit"),
        (
            data["classes"][:2],
            "data.json: class 2 was '2' when the run was trained .* and now no class has this number",
        ),
        (["0", "one", "2"], "data.json: class 1 was '1' when the run was trained .* and now it is called 'one'"),
    ):
        (copy / "data.json").write_text(json.dumps(data | {"classes": classes}))
        with pytest.raises(UserError, match=message):
            serve(copy, port=0, console=QUIET)
    (tmp_path / "other.onnx").write_bytes(b"not a network")
    with pytest.raises(UserError, match=r"other\.onnx: not an ONNX file"):
        serve(tmp_path / "other.onnx", port=0, console=QUIET)
