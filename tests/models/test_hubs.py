"""Without a way to the hubs: an error at once, that says where a file can be given; with one, no word about it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, hf_hub_download
from rich.console import Console
from tests.hardware import HARDWARE

from snellen import UserError, compare
from snellen.models.backbones import build_backbone
from snellen.models.hubs import hugging_face, reachable
from snellen.models.segmenters.build import build_segmenter
from snellen.models.spec import BackboneSpec, SegmenterSpec


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """A port where nobody listens, in the place of the hubs; the caches are empty."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # taken and not listened on: connections are refused
        port = server.getsockname()[1]
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
        yield port


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "torchvision/resnet18"])
def test_a_backbones_weights_that_cannot_be_fetched(
    backbone: str, closed_port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"no connection to .*model\.weights=FILE"):
        build_backbone(BackboneSpec(backbone=backbone), 64, download=True)
    assert "".join(capfd.readouterr()) == "", "no word of retries"
    assert not constants.HF_HUB_OFFLINE, "as it was"


@pytest.mark.parametrize(
    ("architecture", "weights"),
    [("unet/mit_b0", "imagenet"), ("unet/resnet18", "imagenet"), ("torchvision/deeplabv3_resnet50", "coco")],
)
def test_a_segmenters_weights_that_cannot_be_fetched(architecture: str, weights: str, closed_port: int) -> None:
    with pytest.raises(UserError, match=r"no connection to .*model\.weights=FILE"):
        build_segmenter(SegmenterSpec(architecture=architecture, weights=weights), 3, 0)


def test_a_file_in_the_cache_needs_no_connection(closed_port: int, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    reference = snapshot.parents[1] / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("0123")
    with hugging_face():
        path = hf_hub_download("a/b", "model.safetensors", cache_dir=tmp_path / "hub")
    assert Path(path).read_bytes() == b"weights"


def test_a_port_that_listens_is_reachable(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not reachable("https://nowhere.invalid")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not reachable(f"http://127.0.0.1:{port}"), "the proxy is the way"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert reachable(f"http://127.0.0.1:{port}")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert reachable("https://nowhere.invalid"), "the proxy looks the name up"


def test_the_clients_log_is_as_loud_as_before(closed_port: int) -> None:
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    with hugging_face():
        assert logger.level == logging.CRITICAL
    assert logger.level == level


def test_a_dry_run_fetches_nothing(
    closed_port: int, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(digits.parent)
    small = {"augmentation.size": 32, "evaluation.size": 32, "augmentation.resize": None, "batch_size": 16}
    study = {"settings": [{"name": "B", "start": "supervised"}], "recipe": "finetune-lite", "seeds": [0]}
    fields = {f"changes.{key}": value for key, value in small.items()}
    fields |= {f"changes.hardware.{key}": value for key, value in HARDWARE.items()}
    console = Console(quiet=True)
    assert compare(study, digits.name, overrides=fields, dry_run=True, out=tmp_path / "s", console=console) is None
    with pytest.raises(UserError, match=r"no connection to .*supervised=FILE"):
        compare(study, digits.name, overrides=fields, out=tmp_path / "s", console=console)
    assert "".join(capfd.readouterr()) == ""
    assert not (tmp_path / "s").exists()
