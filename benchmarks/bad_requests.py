"""Bad requests to `snellen serve FILE.onnx|RUN`: what each gets, whether a good one is answered after it, and memory.

Each request of the list goes to a server of its own over a connection of its own, followed by a good one; after each
round come 100 MB of zeros, a body that does not end, and connections that are closed half-way.

    python benchmarks/bad_requests.py FILE.onnx photo.jpg --rounds 3
"""

from __future__ import annotations

import argparse
import http.client
import io
import re
import socket
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

_FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """An image as a file."""
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises many pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def zipped(content: bytes) -> bytes:
    """A ZIP file with a name that leads elsewhere."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../evil.png", content)
    return file.getvalue()


def part(content: bytes, name: bytes = b'name="image"; filename="x.png"') -> bytes:
    """A file in a form."""
    return b"--b\r\nContent-Disposition: form-data; " + name + b"\r\n\r\n" + content + b"\r\n"


GREEN = encoded(Image.new("RGB", (8, 6), (0, 200, 50)))
JPEG = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)), "JPEG")

BAD: list[tuple[str, str, str, dict[str, str], bytes, int]] = [
    ("no body", "POST", "/predict", {}, b"", 400),
    ("text", "POST", "/predict", {}, b"hello", 415),
    ("HTML", "POST", "/predict", {}, b"<html><script>1</script></html>", 415),
    ("SVG", "POST", "/predict", {}, b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
    ("PDF", "POST", "/predict", {}, b"%PDF-1.7\n", 415),
    ("EPS", "POST", "/predict", {}, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415),
    ("pickle", "POST", "/predict", {}, b"\x80\x04K\x01.", 415),
    ("TIFF", "POST", "/predict", {}, encoded(Image.new("RGB", (4, 4)), "TIFF"), 415),
    ("ZIP", "POST", "/predict", {}, zipped(GREEN), 415),
    ("ZIP in PNG", "POST", "/predict", {}, GREEN[:8] + zipped(GREEN), 415),
    ("ZIP in a PNG's pixels", "POST", "/predict", {}, GREEN[:41] + zipped(GREEN) + GREEN[60:], 400),
    ("zeros", "POST", "/predict", {}, bytes(5000), 415),
    ("start of a JPEG", "POST", "/predict", {}, b"\xff\xd8\xff", 415),
    ("truncated JPEG", "POST", "/predict", {}, JPEG[:-2000], 400),
    ("truncated PNG", "POST", "/predict", {}, GREEN[:50], 400),
    ("50,000 x 50,000", "POST", "/predict", {}, png_of(50_000, 50_000), 413),
    ("promised pixels are missing", "POST", "/predict", {}, png_of(900, 900), 400),
    ("16 bits", "POST", "/predict", {}, encoded(Image.fromarray(np.zeros((4, 4), np.uint16))), 415),
    ("form with text", "POST", "/predict", _FORM, part(b"hello") + b"--b--\r\n", 415),
    ("form without a file", "POST", "/predict", _FORM, part(b"text", b'name="image"') + b"--b--\r\n", 400),
    ("form without a boundary", "POST", "/predict", {"Content-Type": "multipart/form-data"}, b"x", 400),
    ("cut form", "POST", "/predict", _FORM, b"--b\r\nContent", 400),
    ("two files", "POST", "/predict", _FORM, part(GREEN) + part(GREEN) + b"--b--\r\n", 400),
    ("top=0", "POST", "/predict?top=0", {}, GREEN, 400),
    ("top=²", "POST", "/predict?top=%C2%B2", {}, GREEN, 400),
    ("path", "POST", "/predict/..%2f..%2fetc/passwd", {}, GREEN, 404),
    ("another path", "GET", "/%2e%2e/%2e%2e/etc/passwd", {}, b"", 404),
    ("path of a sample", "GET", "/samples/..%2f..%2fetc%2fpasswd", {}, b"", 404),
    ("number of a sample", "GET", f"/samples/{10**7}", {}, b"", 404),
    ("5,000 digits", "GET", f"/samples/{5000 * '9'}", {}, b"", 404),
    ("method of a page", "POST", "/health", {}, GREEN, 405),
    ("another host", "POST", "/predict", {"Host": "evil.example"}, GREEN, 400),
    ("truncated JPEG to explain", "POST", "/saliency", {}, JPEG[:-2000], 400),  # 404 where nothing is explained
    ("unknown class to explain", "POST", "/saliency?class=../x", {}, GREEN, 400),
]
"""name, method, target, headers, body, expected status."""


def ask(port: int, method: str, target: str, headers: dict[str, str], body: bytes | Iterator[bytes]) -> tuple[int, str]:
    """The status and the text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def broken(port: int) -> None:
    """Connections that end half-way."""
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nabc"
    for sent in (b"", b"POST /pre", head):
        for how in (socket.SHUT_WR, None):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(sent)
                if how is not None:
                    connection.shutdown(how)


def memory(pid: int) -> float:
    """MB in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="an ONNX file or a run")
    parser.add_argument("image", type=Path, help="a good image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", type=int, default=60, help="good requests before memory is measured")
    arguments = parser.parse_args()
    good = arguments.image.read_bytes()
    command = [sys.executable, "-m", "snellen", "serve", arguments.file, "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        port = int(re.findall(r"127\.0\.0\.1:(\d+)/", server.stderr.readline())[0])
        explains = '"saliency":true' in ask(port, "GET", "/model", {}, b"")[1]
        with ThreadPoolExecutor(4) as clients:  # so that every thread of the server has computed
            warm = clients.map(lambda _: ask(port, "POST", "/predict", {}, good)[0], range(arguments.warm))
            assert set(warm) == {200}
        if explains:
            assert ask(port, "POST", "/saliency", {}, good)[0] == 200
        first, wrong = memory(server.pid), 0
        for number in range(arguments.rounds):
            for name, method, target, headers, body, expected in BAD:
                status, text = ask(port, method, target, headers, body)
                expected = 404 if target.startswith("/saliency") and not explains else expected
                fits = status == expected and " " in text and "Traceback" not in text
                wrong += not (fits and ask(port, "POST", "/predict", {}, good)[0] == 200)
                if number == 0 or not fits:
                    print(f"{status} {name}: {text[:100]}")
            zeros = ask(port, "POST", "/predict", {}, iter([bytes(1_000_000)] * 100))
            wrong += zeros[0] != 413
            broken(port)
            wrong += ask(port, "POST", "/predict", {}, good)[0] != 200
            print(f"round {number + 1}: {memory(server.pid):.0f} MB; before the first one {first:.0f} MB")
        print(f"{len(BAD) + 1} bad requests, {arguments.rounds} rounds: {wrong} with another answer than expected")
    finally:
        server.terminate()
        time.sleep(0.1)
        rest = server.communicate()[1]
    print("traceback!" if "Traceback" in rest else "no traceback", rest[-2000:])


if __name__ == "__main__":
    main()
