"""Seeded changes of files: of bytes, numbers, words and lines, and of checksums that would hide them."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random

_NUMBERS = (b"0", b"-1", b"1e999", b"nan", b"0.5", b"255", b"65536", b"2147483648", b"1" + 30 * b"0", 5000 * b"9")
_WORDS = (
    b"",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b"[",
    b"{",
    b'"',
    b"'",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"../../x",
    b"/",
)
_LONGEST = 1 << 17  # bytes; longer files take time and find nothing new


def mutated(content: bytes, others: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    """One to eight changes of a file. others: to copy parts from. words: that the format gives a meaning."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 4, 8))):
        changes = _TEXT_CHANGES if content.isascii() and b"\0" not in content else _CHANGES
        content = random.choice(changes)(content, others, words, random)[:_LONGEST]
    return content


Change = Callable[[bytes, Sequence[bytes], Sequence[bytes], Random], bytes]


def _place(content: bytes, random: Random) -> int:
    """A position, half of the time in the header, where sizes and offsets stand."""
    return random.randint(0, min(len(content), 200) if random.random() < 0.5 else len(content))


def _byte(content: bytes, others: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    start = _place(content, random)
    value = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    return content[:start] + bytes([value]) + content[start + 1 :]


def _integer(content: bytes, others: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    """A binary integer of two, four or eight bytes at a limit."""
    size, start = random.choice((2, 4, 8)), _place(content, random)
    value = random.choice((0, 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)) % 2 ** (8 * size)
    return content[:start] + value.to_bytes(size, random.choice(("little", "big"))) + content[start + size :]


def _cut(content: bytes, others: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    start = _place(content, random)
    return content[:start] if random.random() < 0.2 else content[:start] + content[start + random.randint(1, 40) :]


def _copy(content: bytes, others: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    """A part of another file, inserted or in place of what is there."""
    other, start = random.choice(others), _place(content, random)
    first = _place(other, random)
    part = other[first : first + random.randint(1, 100)]
    return content[:start] + part + content[start + random.choice((0, len(part))) :]


def _word(content: bytes, others: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    """A word of the format, or one that often means something, inserted or in place of a word or number."""
    new = random.choice(random.choice((words, _WORDS, _NUMBERS)) or _WORDS)
    old = list(re.finditer(rb"[\w.+-]+", content[:_LONGEST]))
    if not old or random.random() < 0.2:
        start = _place(content, random)
        return content[:start] + new + content[start:]
    start, end = random.choice(old).span()
    return content[:start] + new + content[end:]


def _line(content: bytes, others: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    """A line that is moved, repeated many times or left out."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    number = random.randrange(len(lines))
    line = lines.pop(number)
    target = random.randint(0, len(lines))
    lines[target:target] = [line] * random.choice((0, 1, 2, 2, 200))
    return b"".join(lines)


_CHANGES: tuple[Change, ...] = (_byte, _integer, _cut, _copy, _word, _word, _line)
_TEXT_CHANGES: tuple[Change, ...] = (_byte, _cut, _copy, _word, _word, _word, _word, _line, _line)  # most stay text


def with_png_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have the checksums that a reader expects."""
    result, start = bytearray(content[:8]), 8
    while start + 12 <= len(content):
        (length,) = struct.unpack(">I", content[start : start + 4])
        if start + 12 + length > len(content):
            break
        body = content[start + 4 : start + 8 + length]
        result += content[start : start + 4] + body + struct.pack(">I", zlib.crc32(body))
        start += 12 + length
    return bytes(result) + content[start:]


def with_zip_checksums(content: bytes) -> bytes:
    """A zip file whose stored members have the checksums that a reader expects; unchanged if it cannot be read."""
    result = bytearray(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            for member in file.infolist():
                name, extra = struct.unpack_from("<HH", content, member.header_offset + 26)
                start = member.header_offset + 30 + name + extra
                checksum = struct.pack("<I", zlib.crc32(content[start : start + member.file_size]))
                result[member.header_offset + 14 : member.header_offset + 18] = checksum
                old = struct.pack("<I", member.CRC)
                place = content.rfind(b"PK\1\2", 0, content.rfind(member.filename.encode()))
                if place >= 0 and content[place + 16 : place + 20] == old:
                    result[place + 16 : place + 20] = checksum
    except Exception:  # too damaged for it
        return content
    return bytes(result)


def with_header_length(content: bytes) -> bytes:
    """A safetensors file whose first number is the length of its JSON header; unchanged if there is none."""
    try:
        _, length = json.JSONDecoder().raw_decode(content[8:].decode("latin-1"))
    except (ValueError, RecursionError):
        return content
    return length.to_bytes(8, "little") + content[8:]
