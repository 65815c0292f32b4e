"""The HTTP interface of a network, and the page that uses it."""

from __future__ import annotations

import asyncio
import hmac
import io
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from snellen.serving.body import image_of
from snellen.serving.description import description
from snellen.serving.limits import Limits, RefusedError
from snellen.serving.queue import JobQueue
from snellen.serving.samples import Samples
from snellen.serving.upload import Upload
from snellen.tasks.served import Answer, Explanation, Served

_LOCAL_NAMES = ["127.0.0.1", "localhost", "[::1]"]  # another site's name that points here (DNS rebinding) is refused
_POLICY = (
    "default-src 'none'; img-src blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_PNG = "image/png"


def make_app(
    served: Served,
    limits: Limits,
    token: str | None = None,
    allowed_origins: Sequence[str] = (),
    samples: Samples | None = None,
) -> Starlette:
    """An ASGI application. token: what `Authorization: Bearer` must name; None: requests must be to this machine.

    allowed_origins: sites whose pages may call it (CORS). samples: images to try it with.
    """
    service = _Service(served, limits, token, samples or Samples())
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
            *(Route(path, partial(_asset, name, media)) for path, (name, media) in _ASSETS.items()),
            Route("/health", _health),
            Route("/openapi.json", service.describe),
            Route("/model", service.model),
            Route("/predict", service.predict, methods=["POST"]),
            Route("/saliency", service.saliency, methods=["POST"]),
            Route("/samples/{number}", service.sample),
            Route("/samples/{number}/picture", service.picture),
        ],
        middleware=middleware,
        exception_handlers={RefusedError: _refusal, HTTPException: _http_error, Exception: _failure},
        lifespan=service.lifespan,
    )


class _Service:
    """One network, its queue, and what may be asked of it."""

    def __init__(self, served: Served, limits: Limits, token: str | None, samples: Samples) -> None:
        self._served, self._limits, self._token, self._samples = served, limits, token, samples
        self._queue = JobQueue(served.most_together, served.at_once)
        self._requests = 0

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self._queue.close()

    async def describe(self, request: Request) -> Response:
        self._check_token(request)
        needs_token = self._token is not None
        return JSONResponse(description(self._served, self._limits, needs_token, len(self._samples.paths)))

    async def model(self, request: Request) -> Response:
        self._check_token(request)
        served = self._served
        return JSONResponse(
            {
                "title": served.title,
                "classes": served.classes,
                "measure": served.measure,
                "calibration": served.calibration,
                "saliency": served.explain is not None,
                "why_no_saliency": served.why_not_explained,
                "samples": self._samples.listed(),
            }
        )

    async def predict(self, request: Request) -> Response:
        self._check_token(request)
        with self._one_of_the_queue():
            top = _top(request)
            content = await image_of(request, self._limits)
            answer, upright = await self._answered(content, self._served.answers)
            assert isinstance(answer, Answer)
        if answer.mask is not None and _wants_png(request):
            return Response(answer.mask, media_type=_PNG)
        fields = {"height": upright[0], "width": upright[1], "calibration": self._served.calibration, **answer.fields}
        fields["classes"] = fields["classes"][: top or self._served.top]
        if answer.mask is not None:
            fields["mask"] = b64encode(answer.mask).decode()
        return JSONResponse({key: value for key, value in fields.items() if value is not None})

    async def saliency(self, request: Request) -> Response:
        self._check_token(request)
        explain, name = self._served.explain, request.query_params.get("class")
        if explain is None:
            raise RefusedError(404, self._served.why_not_explained)
        if name is not None and name not in self._served.classes:
            raise RefusedError(400, "class is none of this network's classes; /model lists them.")
        with self._one_of_the_queue():
            content = await image_of(request, self._limits)
            explanation, _ = await self._answered(content, lambda images, _: [explain(images[0], name)])
        if _wants_png(request):
            return Response(_png(_grey(explanation)), media_type=_PNG)
        return JSONResponse(
            {
                "class": explanation.name,
                "layer": explanation.layer,
                "positions": explanation.positions,
                "correlation": explanation.correlation,
                "view": b64encode(_png(explanation.view)).decode(),
                "map": b64encode(_png(_grey(explanation))).decode(),
            }
        )

    async def sample(self, request: Request) -> Response:
        self._check_token(request)
        number = _number(request)
        content, media = await self._within(self._queue.call(lambda: self._samples.file(number, self._limits)))
        return Response(content, media_type=media, headers={"X-Content-Type-Options": "nosniff"})

    async def picture(self, request: Request) -> Response:
        self._check_token(request)
        number = _number(request)
        content = await self._within(self._queue.call(lambda: self._samples.picture(number)))
        return Response(content, media_type="image/jpeg", headers={"X-Content-Type-Options": "nosniff"})

    def _check_token(self, request: Request) -> None:
        if self._token is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise RefusedError(401, "The token is missing or wrong. Send it as: Authorization: Bearer TOKEN")

    @contextmanager
    def _one_of_the_queue(self) -> Any:
        if self._requests >= self._limits.queue:
            raise RefusedError(503, "Too many requests are waiting. Try again in a moment.")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _answered(self, content: bytes, compute: Callable[..., Any]) -> tuple[Any, tuple[int, int]]:
        """The answer for an image, and its height and width."""
        upload, shape = Upload(content, self._limits.pixels), [(0, 0)]

        def read() -> Any:
            pixels = upload.pixels()
            shape[0] = pixels.shape[0], pixels.shape[1]
            return self._served.read(pixels)

        answer = await self._within(self._queue.add(read, upload.size, compute))
        return answer, shape[0]

    async def _within(self, computing: Future[Any]) -> Any:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(computing), self._limits.seconds)
        except TimeoutError:
            raise RefusedError(503, f"There was no answer within {self._limits.seconds:g} seconds.") from None


def _top(request: Request) -> int | None:
    text = request.query_params.get("top")
    if text is None:
        return None
    if not _is_number(text) or int(text) < 1:
        raise RefusedError(400, "top is not a number of classes. Expected a whole number from 1 on.")
    return int(text)


def _number(request: Request) -> int:
    text = request.path_params["number"]
    if not _is_number(text):
        raise RefusedError(404, "That is not the number of a sample; /model lists them.")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 9  # Python refuses to convert thousands of digits


def _wants_png(request: Request) -> bool:
    return request.headers.get("accept", "").partition(";")[0].strip().lower() == _PNG


def _grey(explanation: Explanation) -> Any:
    return np.round(255 * explanation.heat).astype(np.uint8)


def _png(pixels: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


async def _asset(name: str, media: str, request: Request) -> Response:
    content = files("snellen.serving").joinpath(name).read_text(encoding="utf-8")
    headers = {
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, media_type=media, headers=headers)


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(error.status)
    return JSONResponse({"error": str(error)}, error.status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {
        404: "There is no such address. /openapi.json lists those that exist.",
        405: f"This address does not take {request.method} requests. /openapi.json lists what it takes.",
    }
    sentence = sentences.get(error.status_code, f"{error.detail}.")
    return JSONResponse({"error": sentence}, error.status_code, error.headers)


async def _failure(request: Request, error: Exception) -> Response:
    """A bug, whose traceback the server prints."""
    return JSONResponse({"error": "The server failed on this request; its log says why."}, 500)
