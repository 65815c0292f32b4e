"""ONNX's file format, a protobuf message, read as far as it says what an exported file may hold; onnx is not needed.

Numbers are those of the fields in onnx.proto. Source of the encoding: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _LONG, _BYTES, _SHORT = 0, 1, 2, 5  # wire types
# The messages inside each kind of message that can hold tensors, by field.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "tensor": {},
}
_METADATA, _KEY, _VALUE = 14, 1, 2  # of a model; of an entry
_DOMAIN = 7  # of a node
_EXTERNAL_DATA, _LOCATION = 13, 14  # of a tensor
_STANDARD = ("", "ai.onnx")  # domains of operators
_DEEPEST = 100  # messages inside each other, as protobuf's own limit


class NotExportedError(ValueError):
    """Why a file cannot be one that snellen has written, as text."""


def properties_of(content: bytes) -> dict[str, str]:
    """The metadata of an ONNX file, by key.

    Raises NotExportedError for a file that is damaged, that keeps tensors in other files, which onnxruntime would read
    from wherever the file says, or that uses operators beside ONNX's own.
    """
    view = memoryview(content)
    properties = {}
    for field, value in _fields(view):
        if field == _METADATA and isinstance(value, memoryview):
            entry = {key: bytes(part) for key, part in _fields(value) if isinstance(part, memoryview)}
            properties[_text(entry.get(_KEY, b""))] = _text(entry.get(_VALUE, b""))
    waiting = [(view, "model", 0)]
    while waiting:
        message, kind, depth = waiting.pop()
        if depth > _DEEPEST:
            raise NotExportedError("its graphs are nested too deeply")
        for field, value in _fields(message):
            if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _LOCATION and value != 0)):
                raise NotExportedError("it keeps tensors in other files, which are not read")
            if not isinstance(value, memoryview):
                continue
            if kind == "node" and field == _DOMAIN and _text(bytes(value)) not in _STANDARD:
                raise NotExportedError(f"it uses operators of {_text(bytes(value))!r:.60}, expected ONNX's own")
            if field in _INSIDE[kind]:
                waiting.append((value, _INSIDE[kind][field], depth + 1))
    return properties


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message in their order: number, and value or content."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        field, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, place = _varint(message, place)
            yield field, value
            continue
        if wire_type == _BYTES:
            size, place = _varint(message, place)
        elif wire_type in (_LONG, _SHORT):
            size = 8 if wire_type == _LONG else 4
        else:
            raise NotExportedError("it is damaged")
        if place + size > len(message):
            raise NotExportedError("it is damaged or cut off")
        yield field, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the place after it."""
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise NotExportedError("it is damaged or cut off")


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
