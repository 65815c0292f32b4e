"""The HTTP interface of an exported classifier, and the page that uses it."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from snellen.exporting.onnx_file import OnnxFile
from snellen.serving.description import description
from snellen.serving.limits import Limits, RefusedError
from snellen.serving.pictures import decoded

_LOCAL_NAMES = ["127.0.0.1", "localhost", "[::1]"]  # another site's name that points here (DNS rebinding) is refused
_POLICY = (
    "default-src 'none'; img-src blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TOP = 5


def make_app(
    file: OnnxFile, limits: Limits, token: str | None = None, allowed_origins: Sequence[str] = ()
) -> Starlette:
    """An ASGI application. token: what `Authorization: Bearer` must name; None: requests must be to this machine.

    allowed_origins: sites whose pages may call it (CORS).
    """
    service = _Service(file, limits, token)
    middleware = [] if token is not None else [Middleware(TrustedHostMiddleware, allowed_hosts=_LOCAL_NAMES)]
    if allowed_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(allowed_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
        middleware.insert(0, cors)
    return Starlette(
        routes=[
            Route("/", _page),
            Route("/health", _health),
            Route("/openapi.json", service.describe),
            Route("/predict", service.predict, methods=["POST"]),
        ],
        middleware=middleware,
        exception_handlers={RefusedError: _refusal, HTTPException: _http_error},
        lifespan=service.lifespan,
    )


class _Service:
    """One exported file and its threads. Each decodes an image and computes its classes, so that cores are shared by
    requests and not by the parts of one."""

    def __init__(self, file: OnnxFile, limits: Limits, token: str | None) -> None:
        self._file, self._limits, self._token = file, limits, token
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="predict")
        self._requests = 0

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self._threads.shutdown(cancel_futures=True)

    async def describe(self, request: Request) -> Response:
        self._check_token(request)
        return JSONResponse(description(self._file, self._limits, needs_token=self._token is not None))

    async def predict(self, request: Request) -> Response:
        self._check_token(request)
        if self._requests >= self._limits.queue:
            raise RefusedError(503, "Too many requests are waiting. Try again in a moment.")
        self._requests += 1
        try:
            top = _top(request)
            content = await self._received(request)
            return JSONResponse(await self._answered(content, top))
        finally:
            self._requests -= 1

    def _check_token(self, request: Request) -> None:
        if self._token is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise RefusedError(401, "The token is missing or wrong. Send it as: Authorization: Bearer TOKEN")

    async def _received(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self._limits.seconds):
                body = await _body(request, self._limits.upload)
                content = await _uploaded(request, body) if _is_form(request) else body
        except TimeoutError:
            raise RefusedError(408, f"The image did not arrive within {self._limits.seconds:g} seconds.") from None
        except ClientDisconnect:
            raise RefusedError(400, "The connection was closed before the image had arrived.") from None
        if not content:
            raise RefusedError(400, "The request has no image. Send one as the body, or as a file in a form.")
        return content

    async def _answered(self, content: bytes, top: int) -> dict[str, Any]:
        computing = asyncio.get_running_loop().run_in_executor(self._threads, self._classify, content, top)
        try:
            return await asyncio.wait_for(computing, self._limits.seconds)
        except TimeoutError:
            raise RefusedError(503, f"There was no answer within {self._limits.seconds:g} seconds.") from None

    def _classify(self, content: bytes, top: int) -> dict[str, Any]:
        image = decoded(content, self._limits.pixels)
        probabilities = self._file.run(image[None])[0]
        metadata = self._file.metadata
        best = np.argsort(-probabilities, kind="stable")[:top]
        return {
            "width": image.shape[1],
            "height": image.shape[0],
            "calibration": metadata.calibration,
            "classes": [{"name": metadata.classes[i], "probability": float(probabilities[i])} for i in best],
        }


def _top(request: Request) -> int:
    text = request.query_params.get("top", str(_TOP))
    if not (text.isascii() and text.isdigit() and int(text[:9]) >= 1 and len(text) < 9):
        raise RefusedError(400, "top is not a number of classes. Expected a whole number from 1 on.")
    return int(text)


async def _body(request: Request, most: int) -> bytes:
    refusal = RefusedError(413, f"The file is too large; at most {most / 1e6:g} MB are accepted.")
    if int(request.headers.get("content-length", "0")) > most:  # the server has checked that it is a number
        raise refusal
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise refusal
    return bytes(body)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _uploaded(request: Request, body: bytes) -> bytes:
    """The one file of a form."""

    async def chunks() -> AsyncIterator[bytes]:
        yield body
        yield b""

    try:
        form = await MultiPartParser(request.headers, chunks(), max_files=1, max_fields=10).parse()  # type: ignore[arg-type]
    except (MultiPartException, KeyError, ValueError):  # KeyError: no boundary
        raise RefusedError(400, "The form is damaged. Expected multipart/form-data with one file.") from None
    try:
        for value in form.values():
            if not isinstance(value, str):
                return await value.read()
        return b""
    finally:
        await form.close()


async def _page(request: Request) -> Response:
    page = files("snellen.serving").joinpath("page.html").read_text(encoding="utf-8")
    headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return HTMLResponse(page, headers=headers)


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(error.status)
    return JSONResponse({"error": str(error)}, error.status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {404: "There is no such address. /openapi.json lists those that exist.", 405: "Use POST."}
    sentence = sentences.get(error.status_code, f"{error.detail}.")
    return JSONResponse({"error": sentence}, error.status_code, error.headers)
