"""What is sent to a server: images, and whole requests."""

from __future__ import annotations

import asyncio
import atexit
import io
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_sample_image
from tests.fuzz.harness import Parser
from tests.fuzz.mutate import with_png_checksums
from tests.serving.stub import stub
from tests.serving.wire import exchange

from snellen.errors import UserError
from snellen.serving import app, body, protocol, upload
from snellen.serving.app import make_app
from snellen.serving.limits import Limits
from snellen.serving.samples import Samples

Files = dict[str, bytes]
PHOTO = Image.fromarray(load_sample_image("china.jpg")).resize((24, 16))
_HTTP = (
    b"GET POST HEAD OPTIONS HTTP/1.0 HTTP/2.0 Host: Content-Length: Transfer-Encoding: chunked Connection: close "
    b"keep-alive upgrade Expect: 100-continue Accept: image/png Authorization: Bearer Content-Type: "
    b"multipart/form-data; boundary= filename= \r\n \r\n\r\n --b --b--"
)


def _uploads() -> Files:
    formats = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
    return {f"photo.{kind.lower()}": _as_file(PHOTO, kind) for kind in formats} | {
        "alpha.png": _as_file(PHOTO.convert("RGBA"), "PNG"),
        "palette.png": _as_file(PHOTO.convert("P"), "PNG"),
    }


def _as_file(image: Image.Image, kind: str) -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


def _read_upload(folder: Path, name: str) -> None:
    pixels = upload.Upload((folder / name).read_bytes(), 1_000_000).pixels()
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.size <= 3_000_000


def _requests() -> Files:
    _server()  # before anything is watched
    png, host = _as_file(PHOTO, "PNG"), b"Host: 127.0.0.1\r\n"
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n' + png + b"\r\n--b--\r\n"
    sized = b"POST %s HTTP/1.1\r\n" + host + b"Content-Length: %d\r\n%s\r\n%s"
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (png[:100], png[100:]))
    get = b"GET %s HTTP/1.1\r\n" + host + b"\r\n"
    return {
        "body": sized % (b"/predict?top=2", len(png), b"", png),
        "form": sized % (b"/predict", len(form), b"Content-Type: multipart/form-data; boundary=b\r\n", form),
        "chunks": b"POST /predict HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n",
        "saliency": sized % (b"/saliency?class=green", len(png), b"Accept: image/png\r\n", png),
        "map": sized % (b"/saliency", len(png), b"", png),
        "expecting": sized % (b"/predict", len(png), b"Expect: 100-continue\r\nConnection: close\r\n", png),
        "several": get % b"/model" + get % b"/samples/0/picture" + get % b"/openapi.json" + get % b"/samples/0",
        "page": get % b"/" + sized % (b"/predict", len(png), b"", png) + get % b"/page.js",
    }


@cache
def _server() -> tuple[Any, asyncio.AbstractEventLoop]:
    file = Path(tempfile.mkdtemp(prefix="snellen-sample-")) / "sample.png"
    atexit.register(shutil.rmtree, file.parent, ignore_errors=True)
    file.write_bytes(_as_file(PHOTO, "PNG"))
    limits = Limits(upload=100_000, pixels=1_000_000, queue=4, seconds=10)
    application = make_app(stub(), limits, samples=Samples((file,), ("china",)))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return application, loop


def _read_request(folder: Path, name: str) -> None:
    """Raises UserError for what the server refuses; exchange raises RuntimeError for a bug."""
    application, loop = _server()
    content = (folder / name).read_bytes()
    half = len(content) // 2
    sent = exchange(application, [content[:half], content[half:]], loop)
    refused = [status for status in re.findall(rb"HTTP/1\.1 (\d{3})", sent) if status >= b"300"]
    if refused or not sent:
        raise UserError(f"refused: {refused}")


UPLOAD = Parser(
    _uploads, _read_upload, [upload], (b"IHDR", b"IDAT", b"tRNS", b"Exif\0\0"), {".png": with_png_checksums}
)
REQUEST = Parser(_requests, _read_request, [app, body, protocol], (_HTTP + b" /predict /samples/0 %2f ../").split(b" "))
