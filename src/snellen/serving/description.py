"""The HTTP interface as an OpenAPI document."""

from __future__ import annotations

from typing import Any

from snellen.exporting.onnx_file import OnnxFile
from snellen.serving.limits import Limits


def description(file: OnnxFile, limits: Limits, needs_token: bool) -> dict[str, Any]:
    """OpenAPI 3.1. Its title is the name of the file."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {"schema": {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}}
    refusals = {
        "400": "A damaged image or form, or none",
        "401": "The token is missing or wrong",
        "408": f"The image took longer than {limits.seconds:g} s to arrive",
        "413": f"More than {limits.upload:,} bytes or {limits.pixels:,} pixels",
        "415": "Not an image, or one of 16 bits per channel",
        "503": "Too many requests are waiting, or no answer in time",
    }
    predict = {
        "summary": "The most probable classes of an image",
        "parameters": [
            {"name": "top", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": 5}},
        ],
        "requestBody": {"required": True, "content": {"image/*": binary, "multipart/form-data": form}},
        "responses": {
            "200": _json("Classes, the most probable first", _prediction(file)),
            **{code: _json(text, {"$ref": "#/components/schemas/Error"}) for code, text in refusals.items()},
        },
    }
    health: dict[str, Any] = {
        "summary": "Whether the server answers",
        "security": [],
        "responses": {"200": {"description": "It does"}},
    }
    components: dict[str, Any] = {
        "schemas": {"Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}}
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": file.path.name, "version": file.metadata.version},
        "paths": {"/predict": {"post": predict}, "/health": {"get": health}},
        "components": components,
    }
    if needs_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _json(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _prediction(file: OnnxFile) -> dict[str, Any]:
    entry = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "enum": file.metadata.classes},
            "probability": {"type": "number", "minimum": 0, "maximum": 1},
        },
    }
    properties = {
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "calibration": {"const": file.metadata.calibration},
        "classes": {"type": "array", "items": entry},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}
