"""`snellen serve`: right answers for images, sentences for everything else."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from benchmarks.bad_requests import BAD, GREEN, encoded, png_of
from onnx import TensorProto, helper
from PIL import Image
from rich.console import Console
from starlette.testclient import TestClient
from tests.serving.stub import stub

from snellen import UserError, serve
from snellen.exporting.agreement import Agreement
from snellen.exporting.metadata import Metadata
from snellen.exporting.onnx_file import OnnxFile
from snellen.serving.app import make_app
from snellen.serving.limits import Limits
from snellen.tasks.classification.serve import serve_file

QUIET = Console(quiet=True)
LIMITS = Limits(upload=100_000, pixels=1_000_000, queue=2, seconds=5)
BASE = "http://127.0.0.1"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose probabilities are the shares of red, green and blue in an image."""
    path = tmp_path_factory.mktemp("served") / "colours.onnx"
    write_colours(path)
    return path


def write_colours(path: Path) -> None:
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])
    shares = helper.make_tensor_value_info("shares", TensorProto.FLOAT, ["N", 3])
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("Add", ["means", "little"], ["positive"]),
        helper.make_node("ReduceSum", ["positive", "last"], ["sum"]),
        helper.make_node("Div", ["positive", "sum"], ["shares"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
        helper.make_tensor("little", TensorProto.FLOAT, [], [1e-6]),
    ]
    graph = helper.make_graph(nodes, "colours", [images], [shares], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    texts = dict.fromkeys(("recipe", "input", "output", "weights", "licence", "runtime", "precision", "version"), "-")
    metadata = Metadata(
        task="classification",
        classes=["red", "green", "blue"],
        opset=18,
        calibration="uncalibrated",
        agreement=Agreement(1, 0, 0, 0, 0, 0.0),
        data={},
        **texts,
    )
    helper.set_model_props(model, metadata.properties())
    onnx.save(model, path)


@pytest.fixture
def client(file: Path) -> Iterator[TestClient]:
    with TestClient(
        make_app(serve_file(OnnxFile(file)), LIMITS), base_url=BASE, raise_server_exceptions=True
    ) as client:
        yield client


def form(content: bytes, name: str = "x.png") -> dict[str, object]:
    boundary = b'--b\r\nContent-Disposition: form-data; name="image"; filename="' + name.encode() + b'"\r\n\r\n'
    return {
        "content": boundary + content + b"\r\n--b--\r\n",
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
    }


def test_an_image_is_classified_as_a_body_and_in_a_form(client: TestClient) -> None:
    for request in ({"content": GREEN}, {"files": {"image": ("../a.png", GREEN)}}, form(GREEN)):
        response = client.post("/predict", **request)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert (answer["width"], answer["height"], answer["calibration"]) == (8, 6, "uncalibrated")
        assert [entry["name"] for entry in answer["classes"]] == ["green", "blue", "red"]
        assert [entry["probability"] for entry in answer["classes"]] == pytest.approx([0.8, 0.2, 0], abs=1e-5)
    assert len(client.post("/predict?top=1", content=GREEN).json()["classes"]) == 1


def test_images_are_upright_and_composited_over_white(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.new("RGB", (8, 6), (250, 0, 0)), "JPEG", exif=exif)
    answer = client.post("/predict", content=turned).json()
    assert (answer["width"], answer["height"], answer["classes"][0]["name"]) == (6, 8, "red")
    clear = encoded(Image.new("RGBA", (4, 4), (250, 0, 0, 0)))
    shares = [entry["probability"] for entry in client.post("/predict", content=clear).json()["classes"]]
    assert shares == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "status"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD]
)
def test_a_bad_request_is_refused_with_a_sentence(
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    client: TestClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = client.request(method, target, content=body, headers=headers)
    assert response.status_code == (404 if target.startswith("/saliency") else status), response.text
    sentence = response.text if "Invalid host" in response.text else response.json()["error"]
    assert " " in sentence
    assert "Traceback" not in response.text + caplog.text
    assert client.post("/predict", content=GREEN).status_code == 200


def test_a_bad_request_to_explain_is_refused_where_there_is_saliency() -> None:
    with TestClient(make_app(stub(), LIMITS), base_url=BASE) as client:
        for name, method, target, headers, body, status in BAD:
            if target.startswith("/saliency"):
                response = client.request(method, target, content=body, headers=headers)
                assert (response.status_code, " " in response.json()["error"]) == (status, True), name
        answer = client.post("/saliency?class=blue", content=GREEN).json()
        assert (answer["class"], answer["positions"], answer["correlation"]) == ("blue", 48, None)


def test_more_than_the_limits_is_refused(client: TestClient) -> None:
    for content in (bytes(100_001), iter([bytes(60_000)] * 2), png_of(1000, 1001)):
        response = client.post("/predict", content=content)
        assert response.status_code == 413, response.text
        assert client.post("/predict", content=GREEN).status_code == 200


def test_a_token_is_needed_where_one_is_set(file: Path) -> None:
    token = "0123456789abcdef"
    with TestClient(make_app(serve_file(OnnxFile(file)), LIMITS, token), base_url="http://example.org") as client:
        for header in ({}, {"Authorization": token}, {"Authorization": "Bearer 0123456789abcdeF"}):
            for response in (client.post("/predict", content=GREEN, headers=header), client.get("/openapi.json")):
                assert response.status_code == 401
                assert "Authorization: Bearer" in response.json()["error"]
        assert client.get("/").status_code == client.get("/health").status_code == 200
        allowed = {"Authorization": f"Bearer {token}"}
        assert client.post("/predict", content=GREEN, headers=allowed).status_code == 200
        assert client.get("/openapi.json", headers=allowed).json()["security"] == [{"token": []}]


def test_other_sites_may_call_only_if_they_are_named(file: Path) -> None:
    for allowed in ([], ["https://a.example"]):
        with TestClient(make_app(serve_file(OnnxFile(file)), LIMITS, None, allowed), base_url=BASE) as client:
            for origin in ("https://a.example", "https://b.example"):
                response = client.post("/predict", content=GREEN, headers={"Origin": origin})
                expected = origin if origin in allowed else None
                assert response.headers.get("access-control-allow-origin") == expected


def test_a_full_queue_is_said(file: Path) -> None:
    limits = Limits(upload=100_000, pixels=1_000_000, queue=0, seconds=5)
    with TestClient(make_app(serve_file(OnnxFile(file)), limits), base_url=BASE) as client:
        response = client.post("/predict", content=GREEN)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_the_description_and_the_page_name_only_what_exists(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["info"]["title"] == "colours.onnx"
    assert client.get("/health").json() == {"status": "ok"}
    for path, methods in document["paths"].items():
        for method in methods:
            assert client.request(method, path).status_code not in {404, 405}
    for address in ("/", "/page.css", "/page.js"):
        page = client.get(address)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "://" not in page.text
    model = client.get("/model").json()
    assert (model["title"], model["classes"], model["samples"]) == ("colours.onnx", ["red", "green", "blue"], [])
    assert not model["saliency"]
    assert "serve the run itself" in model["why_no_saliency"]


def test_what_cannot_be_served(file: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of 127\.0\.0\.1: .*in use.*--port 0"):
            serve(file, port=port, console=QUIET)
    with pytest.raises(UserError, match="Give a token"):
        serve(file, host="0.0.0.0", console=QUIET)
    with pytest.raises(UserError, match="16 or more"):
        serve(file, token="short", console=QUIET)
    with pytest.raises(UserError, match=r"run: no such folder|run: not a run directory"):
        serve(tmp_path / "run", port=0, console=QUIET)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_server_answers_after_slow_and_broken_connections_and_stops(file: Path, stop: signal.Signals) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "snellen", "serve", str(file), "--port", "0", "--timeout", "1"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        said = []
        while not (said and "; Ctrl-C stops" in said[-1]):
            said.append(server.stderr.readline())
            assert said[-1], "".join(said)
        assert not any(line.split("|")[-1].strip() == "torch" for line in said)
        port = int(said[-1].split("http://127.0.0.1:")[1].split("/")[0])
        start = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nabc"
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(start)
            assert b" 408 " in slow.recv(1000)
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(start)
            half.shutdown(socket.SHUT_WR)
            half.recv(1000)
        with socket.create_connection(("127.0.0.1", port)) as large:
            large.sendall(start.replace(b"100", b"100000000"))
            assert b" 413 " in large.recv(1000)
        with socket.create_connection(("127.0.0.1", port)) as wrong:
            wrong.sendall(start.replace(b"100", b"many"))
            assert b" 400 " in wrong.recv(1000)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/predict", GREEN) as response:
            assert json.load(response)["classes"][0]["name"] == "green"
        server.send_signal(stop)
        rest = server.communicate(timeout=60)[1]
        assert server.returncode == 130
        assert "Traceback" not in rest
    finally:
        server.kill()
        server.wait()
