"""The image of a request: its body, or the one file of a form."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from snellen.serving.limits import Limits, RefusedError

logging.getLogger("python_multipart").addHandler(logging.NullHandler())  # else it prints a line for each damaged form


async def image_of(request: Request, limits: Limits) -> bytes:
    """The bytes of the image. Raises RefusedError if they are too many, do not arrive in time, or are none."""
    try:
        async with asyncio.timeout(limits.seconds):
            body = await _body(request, limits.upload)
            content = await _uploaded(request, body) if _is_form(request) else body
    except TimeoutError:
        raise RefusedError(408, f"The image did not arrive within {limits.seconds:g} seconds.") from None
    except ClientDisconnect:
        raise RefusedError(400, "The connection was closed before the image had arrived.") from None
    if not content:
        raise RefusedError(400, "The request has no image. Send one as the body, or as a file in a form.")
    return content


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
        parser = MultiPartParser(request.headers, chunks(), max_files=1, max_fields=10)  # type: ignore[arg-type]
        parser.spool_max_size = len(body) + 1  # in memory, so that a full disk does not matter
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError):  # KeyError: no boundary
        raise RefusedError(400, "The form is damaged. Expected multipart/form-data with one file.") from None
    try:
        for value in form.values():
            if not isinstance(value, str):
                return await value.read()
        return b""
    finally:
        await form.close()
