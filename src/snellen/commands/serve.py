"""A network behind a page and an HTTP interface."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from snellen.errors import UserError
from snellen.exporting.extras import require
from snellen.runs import Run, exported_file, kind_of_file, load
from snellen.serving.limits import Limits
from snellen.serving.samples import Samples
from snellen.tasks.served import Served
from snellen.words import counted

if TYPE_CHECKING:
    from starlette.applications import Starlette

_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_MOST_PIXELS = 170_000_000  # Pillow refuses to open files of more than 178 megapixels


def serve(
    run: str | Path | Run,
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
    """Serves a trained network: a page to try it with, and an HTTP interface. Returns when it is stopped.

    A run also offers its validation images, if they are still where it was trained, and shows where a classifier
    looked.

    Parameters:
        run: a finished run, its folder, or an ONNX file that `export` wrote.
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

    Raises UserError if the run is not finished, for a file that `export` did not write, if the port is taken, or for a
    host without a token.
    """
    require("starlette", "uvicorn", "python_multipart", what="serve", extra="serve")
    _check_access(host, token, max_pixels)
    limits = Limits(max_upload, max_pixels, max_queue, timeout)
    listening = _listening(host, port)  # first: loading a network takes longer
    with listening:
        from snellen.serving.app import make_app

        served, samples = _loaded(run)
        address = f"[{host}]" if ":" in host else host
        url = f"http://{address}:{listening.getsockname()[1]}/" + ("" if token is None else "#token=TOKEN")
        console = console or Console(stderr=True, quiet=quiet)
        classes = counted(len(served.classes), "class", "classes")
        line = f"{served.title} ({classes}) at {url}; Ctrl-C stops"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        app = make_app(served, limits, token, allow_origin, samples)
        _run(app, limits, listening)


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


def _loaded(run: str | Path | Run) -> tuple[Served, Samples]:
    """A network whose first answer, which takes longer than others, is done; and images to try it with."""
    if (file := exported_file(run)) is not None:
        served, samples = kind_of_file(file).serve.serve_file(file), Samples()
    else:
        opened = load(run)
        opened.require_finished("served")
        served = opened.kind.serve.serve_run(opened)
        samples = Samples.of(opened, served.bits)
    served.answers([served.read(np.zeros((64, 64, 3), np.uint8))], lambda: True)
    return served, samples


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(
            f"port {port} of {host}: {reason}. Choose another with --port; --port 0 takes one that is free."
        ) from error


def _run(app: Starlette, limits: Limits, listening: socket.socket) -> None:
    """Until SIGINT or SIGTERM, which are raised again after the requests under way have been answered."""
    import uvicorn

    from snellen.serving.protocol import limited

    config = uvicorn.Config(
        app,
        http=limited(limits.seconds),
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(limits.seconds)),
    )
    uvicorn.Server(config).run(sockets=[listening])
