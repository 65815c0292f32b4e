"""An exported file behind a page and an HTTP interface."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from snellen.errors import UserError
from snellen.exporting.extras import require
from snellen.exporting.onnx_file import OnnxFile, is_onnx_file
from snellen.serving.limits import Limits
from snellen.words import counted

_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_MOST_PIXELS = 170_000_000  # Pillow refuses to open files of more than 178 megapixels


def serve(
    file: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    allow_origin: Sequence[str] = (),
    max_upload: int = Limits.upload,
    max_pixels: int = Limits.pixels,
    max_queue: int = Limits.queue,
    timeout: float = Limits.seconds,
    console: Console | None = None,
    quiet: bool = False,
) -> None:
    """Serves an exported classifier: a page to try it with, and an HTTP interface. Returns when it is stopped.

    Parameters:
        file: an ONNX file that `export` wrote.
        host: the address to listen on. Any other than this machine's own needs a token.
        port: 0: a free one, which is printed.
        token: what requests must send as `Authorization: Bearer TOKEN`; at least 16 characters.
        allow_origin: sites, such as https://example.org, whose pages may call the interface (CORS).
        max_upload: bytes of a request.
        max_pixels: pixels of an image; 170,000,000 at most.
        max_queue: requests that are received, waiting or computed at the same time.
        timeout: seconds for a request to arrive, and again for its answer.
        console: the rich console that the address is printed on. None: standard error.
        quiet: print nothing (no effect if `console` is given).

    Raises UserError if the file is no exported classifier, if the port is taken, or for a host without a token.
    """
    require("starlette", "uvicorn", "python_multipart", "onnxruntime", what="serve", extra="serve")
    _check_access(host, token, max_pixels)
    opened = _opened(Path(file))
    limits = Limits(max_upload, max_pixels, max_queue, timeout)
    listening = _listening(host, port)
    address = f"[{host}]" if ":" in host else host
    url = f"http://{address}:{listening.getsockname()[1]}/" + ("" if token is None else "#token=TOKEN")
    console = console or Console(stderr=True, quiet=quiet)
    classes = counted(len(opened.metadata.classes), "class", "classes")
    console.print(f"{opened.path} ({classes}) at {url}; Ctrl-C stops", markup=False, highlight=False, soft_wrap=True)
    _run(opened, limits, token, allow_origin, listening)


def _check_access(host: str, token: str | None, max_pixels: int) -> None:
    if token is None and host not in _LOCAL_HOSTS:
        raise UserError(
            f"host={host}: other machines could use the server. Give a token that requests must send (--token), or "
            "leave host out to serve this machine alone."
        )
    if token is not None and (len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token):
        raise UserError(
            "token: expected 16 or more ASCII characters without spaces, such as from: openssl rand -hex 16"
        )
    if max_pixels > _MOST_PIXELS:
        raise UserError(f"max_pixels={max_pixels}: expected at most {_MOST_PIXELS:,}")


def _opened(path: Path) -> OnnxFile:
    """A file that classifies; its first prediction, which takes longer than others, is done."""
    if not is_onnx_file(path) or path.is_dir():
        raise UserError(
            f"{path}: expected an ONNX file. To serve a run, export it: snellen export {path} --out {path.name}.onnx"
        )
    file = OnnxFile(path)
    if file.run(np.zeros((1, 64, 64, 3), np.uint8)).ndim != 2:
        raise UserError(f"{path}: its output is not one probability per class; only classifiers are served.")
    return file


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(
            f"port {port} of {host}: {reason}. Choose another with --port; --port 0 takes one that is free."
        ) from error


def _run(
    file: OnnxFile, limits: Limits, token: str | None, allowed_origins: Sequence[str], listening: socket.socket
) -> None:
    """Until SIGINT or SIGTERM, which are raised again after the requests under way have been answered."""
    import uvicorn

    from snellen.serving.app import make_app

    config = uvicorn.Config(
        make_app(file, limits, token, allowed_origins),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(limits.seconds)),
    )
    uvicorn.Server(config).run(sockets=[listening])
