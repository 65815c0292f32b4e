"""The HTTP interface as an OpenAPI document."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from snellen.serving.limits import Limits
from snellen.tasks.served import Served

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_TEXT: dict[str, Any] = {"type": "string"}
_BASE64 = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}
_NUMBER = {"name": "number", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}


def description(served: Served, limits: Limits, needs_token: bool, samples: int) -> dict[str, Any]:
    """OpenAPI 3.1 of what this server offers. Its title is that of the network."""
    paths = {
        "/predict": {"post": _predict(served, limits)},
        "/model": {"get": _get("The network and what can be asked of it", _json("Its classes", {"type": "object"}))},
        "/health": {"get": _get("Whether the server answers", {"description": "It does"}) | {"security": []}},
    }
    if served.explain is not None:
        paths["/saliency"] = {"post": _saliency(served, limits)}
    if samples:
        image = _get("A validation image", {"description": "The image", "content": {"image/*": _BINARY}})
        small = _get("The same, as a small JPEG", {"description": "The image", "content": {"image/jpeg": _BINARY}})
        missing = {"responses": image["responses"] | {"404": _error("No such image, or it is gone")}}
        paths["/samples/{number}"] = {"get": image | missing | {"parameters": [_NUMBER]}}
        paths["/samples/{number}/picture"] = {"get": small | {"parameters": [_NUMBER]}}
    components: dict[str, Any] = {
        "schemas": {"Error": {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]}}
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": served.title, "version": version("snellen")},
        "paths": paths,
        "components": components,
    }
    if needs_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _predict(served: Served, limits: Limits) -> dict[str, Any]:
    has_mask = served.calibration is None
    entry = {"type": "object", "properties": served.schema, "required": list(served.schema)}
    properties = {
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        **({"mask": _BASE64} if has_mask else {"calibration": {"const": served.calibration}}),
        "classes": {"type": "array", "items": entry},
    }
    answer = _json(
        f"Classes, that of the largest {served.measure} first", _object(properties), has_mask and "The mask, indexed"
    )
    top: dict[str, Any] = {"type": "integer", "minimum": 1}
    if served.top is not None:
        top["default"] = served.top
    return {
        "summary": "The mask of an image" if has_mask else "The most probable classes of an image",
        "parameters": [{"name": "top", "in": "query", "description": "Classes that are listed", "schema": top}],
        **_with_image(limits, answer),
    }


def _saliency(served: Served, limits: Limits) -> dict[str, Any]:
    properties = {
        "class": _TEXT,
        "layer": _TEXT,
        "positions": {"type": "integer"},
        "correlation": {"type": ["number", "null"], "minimum": -1, "maximum": 1},
        "view": _BASE64,
        "map": _BASE64,
    }
    answer = _json("The map over the image as the network sees it", _object(properties), "The map, in grey")
    of_class = {"type": "string", "enum": served.classes}
    about = "The class that is explained; by default the most probable one"
    return {
        "summary": "Where the network looked",
        "parameters": [{"name": "class", "in": "query", "description": about, "schema": of_class}],
        **_with_image(limits, answer),
    }


def _with_image(limits: Limits, answer: dict[str, Any]) -> dict[str, Any]:
    """The parts of a request that brings an image."""
    form = {"schema": {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}}
    refusals = {
        "400": "A damaged image or form, or none; or a parameter that is not possible",
        "401": "The token is missing or wrong",
        "408": f"The image took longer than {limits.seconds:g} s to arrive",
        "413": f"More than {limits.upload:,} bytes or {limits.pixels:,} pixels",
        "415": "Not an image, or one of 16 bits per channel",
        "503": "Too many requests are waiting, or no answer in time",
    }
    return {
        "requestBody": {"required": True, "content": {"image/*": _BINARY, "multipart/form-data": form}},
        "responses": {"200": answer, **{code: _error(text) for code, text in refusals.items()}},
    }


def _get(summary: str, response: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": response}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _error(text: str) -> dict[str, Any]:
    return _json(text, {"$ref": "#/components/schemas/Error"})


def _json(text: str, schema: dict[str, Any], png: str | bool = False) -> dict[str, Any]:
    """png: what a client gets that accepts image/png."""
    also = {"image/png": {"schema": {"description": png}}} if png else {}
    return {"description": text, "content": {"application/json": {"schema": schema}, **also}}
