"""Shards over HTTP and from S3: the same images, in spite of errors that pass; for others, one that names the URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.data.shards.server import Server, serving
from tests.faults.kinds import CASES, QUIET, assert_same_bits

from snellen import UserError, shard
from snellen.data.listing import DataSpec, ImageSet
from snellen.data.shards import remote
from snellen.data.shards.remote import shard_folder
from snellen.data.shards.sources import _at_url
from snellen.data.sources import read_images


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty cache, as in a new process, and no pauses between tries."""
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_FIRST_PAUSE", 0.0)
    _at_url.cache_clear()
    yield
    _at_url.cache_clear()


@pytest.fixture
def server(digits: Path, tmp_path: Path) -> Iterator[Server]:
    """The digits' shards."""
    shard(digits, tmp_path / "shards", console=QUIET)
    with serving(tmp_path / "shards") as server:
        yield server


def contents(images: ImageSet) -> list[bytes]:
    return [path.read_bytes() for path in images.files([*images.train, *images.validation])]


def listed_anew(server: Server) -> ImageSet:
    """The images, of which nothing is kept: listing them looks at some."""
    images = read_images(server.url, DataSpec())
    for block in shard_folder().rglob("blocks/*-*"):
        block.unlink()
    return images


def test_the_images_are_those_of_the_folder(server: Server, digits: Path) -> None:
    images, folder = read_images(server.url, DataSpec()), read_images(digits, DataSpec())
    assert images.fingerprint == folder.fingerprint
    assert images.train == folder.train
    assert contents(images) == contents(folder)


def test_nothing_is_sent_twice(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, in order and then in any order, in this process and in the next."""
    monkeypatch.setattr(remote, "_BLOCK", 10_000)
    first = contents(read_images(server.url, DataSpec()))
    size = (server.folder / "shard-00000.tar").stat().st_size
    assert size - 10_000 < server.sent(".tar") <= size
    _at_url.cache_clear()
    assert contents(read_images(server.url, DataSpec())) == first
    assert server.sent(".tar") <= size
    assert server.sent(".safetensors") == (server.folder / "index.safetensors").stat().st_size


def test_errors_that_pass_are_waited_out(server: Server, digits: Path) -> None:
    server.failures = [503, 503, 0, 0, 429, 429]  # fsspec asks with HEAD, then with GET
    images = listed_anew(server)
    server.failures = [0, 500, 0, 502]
    assert contents(images) == contents(read_images(digits, DataSpec()))


@pytest.mark.parametrize(
    ("failures", "message"),
    [([404], "there is no such file"), ([403], "no permission"), ([500] * 9, "cannot be read after 5 tries")],
)
def test_other_errors_name_the_url(server: Server, failures: list[int], message: str) -> None:
    images = listed_anew(server)
    server.failures = failures
    with pytest.raises(UserError, match=rf"{server.url}/shard-00000.tar: {message}"):
        contents(images)


def test_no_server_and_no_shards_are_said(server: Server, tmp_path: Path) -> None:
    unreachable = remote.Location("http://127.0.0.1:9")
    for tries in ("5 tries", "1 try"):
        with pytest.raises(UserError, match=rf"http://127.0.0.1:9/x: cannot be read after {tries} \("):
            unreachable.info("x")
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/x/index.safetensors: cannot be read after 5 tries"):
        read_images("http://127.0.0.1:9/x", DataSpec())
    with pytest.raises(UserError, match=rf"{server.url}/nothing/index.safetensors: there is no such file.*\.tar'"):
        read_images(f"{server.url}/nothing/", DataSpec())
    with pytest.raises(UserError, match=r"expected a URL that begins with http://, https://, s3://"):
        read_images("file:///etc", DataSpec())


def test_a_server_without_ranges_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_BLOCK", 10_000)
    images = listed_anew(server)
    server.ranges = False
    with pytest.raises(UserError, match=rf"{server.url}/shard-00000.tar: cannot be read .*it needs HTTP Range"):
        contents(images)


def test_shards_that_changed_are_noticed(server: Server) -> None:
    images = listed_anew(server)
    file = server.folder / "shard-00000.tar"
    content = bytearray(file.read_bytes())
    content[600] ^= 1
    file.write_bytes(content)
    with pytest.raises(OSError, match=r"shard-00000.tar has changed since its index was written"):
        contents(images)


def test_a_damaged_block_is_requested_again(server: Server) -> None:
    images = read_images(server.url, DataSpec())
    expected = contents(images)
    (block,) = shard_folder().rglob("blocks/*-*")
    content = bytearray(block.read_bytes())
    content[600] ^= 1
    block.write_bytes(content)
    assert contents(images) == expected
    block.write_bytes(content[:700])
    assert contents(images) == expected


def test_without_room_single_images_are_requested(
    server: Server, digits: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "_freed", lambda folder, before, wanted: 0)
    images = read_images(server.url, DataSpec())
    assert contents(images) == contents(read_images(digits, DataSpec()))
    assert not list(shard_folder().rglob("blocks/*"))
    assert capfd.readouterr().err.count("is kept in") == 1
    largest = max(path.stat().st_size for path in digits.rglob("*.png"))
    assert all(size <= largest for path, size in server.requests[-100:] if path.endswith(".tar"))


def test_old_blocks_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of earlier processes, oldest first; an index stays."""
    blocks = tmp_path / "shards" / "0" / "blocks"
    blocks.mkdir(parents=True)
    for number, file in enumerate([blocks / "0", blocks / "1", blocks / "2", blocks.parent / "index"]):
        file.write_bytes(bytes(1000))
        os.utime(file, (number, number))

    def usage(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=6000 - sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))

    monkeypatch.setattr(remote.shutil, "disk_usage", usage)  # the limit is 3,000 bytes
    assert remote._freed(tmp_path / "shards", 2, 500) == 500
    assert sorted(path.name for path in blocks.iterdir()) == ["2"]
    assert remote._freed(tmp_path / "shards", 2, 500) == 500


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A bucket called "bucket", to be written with boto3, on a server of this machine."""
    moto, boto3, s3fs = (pytest.importorskip(name) for name in ("moto.server", "boto3", "s3fs"))
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        s3fs.S3FileSystem.clear_instance_cache()
        bucket = boto3.resource("s3").Bucket("bucket")
        bucket.create()
        yield bucket
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_a_run_from_s3_is_the_run_on_the_folder(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, bucket: Any
) -> None:
    data: Path = request.getfixturevalue(CASES[kind].images)
    shard(data, tmp_path / "shards", shard_mib=1, console=QUIET)
    for file in (tmp_path / "shards").iterdir():
        bucket.upload_file(str(file), f"{kind}/{file.name}")
    on_shards = CASES[kind].start(f"s3://bucket/{kind}/", tmp_path / "on shards")  # type: ignore[arg-type]
    on_folder = CASES[kind].start(data, tmp_path / "on folder")
    assert on_shards.data["source"] == f"s3://bucket/{kind}/"
    assert on_shards.data["fingerprint"] == on_folder.data["fingerprint"]
    for run in (on_shards, on_folder):
        for file in (run.path / "samples.csv", run.path / "predictions" / "validation.csv"):
            if file.exists():  # they hold absolute paths of pretraining's labelled images
                file.write_text(file.read_text().replace(run.data["root"], "ROOT"))
    assert_same_bits(on_shards, on_folder)


@pytest.mark.slow
def test_a_bucket_without_an_index_is_indexed(digits: Path, tmp_path: Path, bucket: Any) -> None:
    shard(digits, tmp_path / "shards", console=QUIET)
    bucket.upload_file(str(tmp_path / "shards" / "shard-00000.tar"), "tars/a.tar")
    images = read_images("s3://bucket/tars", DataSpec())
    assert images.class_count == "3 classes"
    assert sorted(contents(images)) == sorted(path.read_bytes() for path in digits.rglob("*.png"))
    with pytest.raises(UserError, match=r"s3://bucket/other/index.safetensors: there is no such file"):
        read_images("s3://bucket/other", DataSpec())
