"""A server while things around it break: what it has loaded is all that it needs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.bad_requests import GREEN, encoded, part
from PIL import Image
from tests.images import write_digits
from tests.recipes import DIGITS
from tests.serving.test_serve import write_colours

import snellen

pytestmark = pytest.mark.slow
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
LARGE = part(encoded(Image.effect_noise((1500, 1500), 90))) + b"--b--\r\n"  # more than fits into memory by default


@contextmanager
def started(source: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server whose home, working and temporary folders are in `folder`, and its port; killed at the end."""
    for name in ("home", "tmp", "work"):
        (folder / name).mkdir(parents=True)
    environment = os.environ | {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "COLUMNS": "1000"}
    server = subprocess.Popen(
        [sys.executable, "-m", "snellen", "serve", str(source), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder / "work",
        env=environment,
    )
    assert server.stderr is not None
    try:
        said = server.stderr.readline()
        assert "127.0.0.1:" in said, said + server.stderr.read()
        yield server, int(said.split("127.0.0.1:")[1].split("/")[0])
    finally:
        server.kill()
        server.wait()


def best_class(port: int, body: bytes = GREEN, headers: dict[str, str] | None = None) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, headers or {})
    with urllib.request.urlopen(request, timeout=120) as response:
        name: str = json.load(response)["classes"][0]["name"]
    return name


def stopped(server: subprocess.Popen[str]) -> None:
    server.terminate()
    said = server.communicate(timeout=60)[1]
    assert "Traceback" not in said, said
    assert server.returncode == 130


def test_a_file_and_every_folder_may_vanish(tmp_path: Path) -> None:
    """So a full or read-only disk does not matter either: nothing is written."""
    file, folder = tmp_path / "colours.onnx", tmp_path / "folder"
    write_colours(file)
    with started(file, folder) as (server, port):
        assert best_class(port) == "green"
        file.unlink()
        shutil.rmtree(folder)
        assert best_class(port) == "green"
        assert best_class(port, LARGE, FORM) in {"red", "green", "blue"}
        stopped(server)
        assert not folder.exists(), "nothing was written"


def test_a_file_may_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / "colours.onnx"
    write_colours(file)
    with started(file, tmp_path / "folder") as (server, port):
        file.write_bytes(b"another")
        assert best_class(port) == "green"
        stopped(server)


def test_a_run_and_its_images_may_vanish(tmp_path: Path) -> None:
    images = write_digits(tmp_path / "digits")
    run = snellen.train(images, DIGITS | {"epochs": 1}, out=tmp_path / "run", quiet=True)
    with started(run.path, tmp_path / "folder") as (server, port):
        before = best_class(port)
        shutil.rmtree(run.path)
        shutil.rmtree(images)
        assert best_class(port) == before
        request = urllib.request.Request(f"http://127.0.0.1:{port}/saliency", GREEN)
        with urllib.request.urlopen(request, timeout=120) as response:
            assert json.load(response)["class"] == before
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/samples/0")
        stopped(server)


def test_clients_that_die_do_not_stop_it_and_a_stop_waits_for_the_others(tmp_path: Path) -> None:
    file = tmp_path / "colours.onnx"
    write_colours(file)
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(GREEN)}\r\n\r\n".encode()
    with started(file, tmp_path / "folder") as (server, port):
        for sent in (head, head + GREEN, head[:20]):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(sent)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close resets the connection
            client.close()
        assert best_class(port) == "green"
        with socket.create_connection(("127.0.0.1", port)) as waiting:
            waiting.sendall(head + GREEN[:-10])
            assert best_class(port) == "green"  # so its head has been read
            server.send_signal(signal.SIGTERM)
            waiting.sendall(GREEN[-10:])
            assert waiting.recv(1000).startswith(b"HTTP/1.1 200")
        said = server.communicate(timeout=60)[1]
        assert (server.returncode, "Traceback" in said) == (130, False)
