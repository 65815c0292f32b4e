"""Tar files of other programs, as the webdataset package writes them: read once, from end to end, to index them."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from snellen.data.shards.index import Index, Member, Shard, is_inside
from snellen.data.suffixes import IMAGE_SUFFIXES
from snellen.errors import UserError
from snellen.words import first_line

_LONGEST_HEADER = 2**20  # bytes; names and attributes are far shorter
_PIECE = 2**20  # bytes that are read at a time
_LONGEST_LABEL = 100  # characters; longer texts are captions
_LABELS = ("cls", "class", "label", "txt", "json")
_JSON_KEYS = ("cls", "class", "class_name", "label", "category")
_MASKS = frozenset({"mask", "masks", "seg", "segmentation", "label", "labels", "annotation", "gt"})
_KEY_AND_EXTENSION = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")  # as webdataset takes a name apart
_PART = re.compile(r"(train(?:ing)?|val(?:id(?:ation)?)?|dev|test(?:ing)?)(?=[^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class _Sample:
    """The files of one key. members: by extension. labels: the class that a file names, by its extension."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str | None:
        """Its class, if there is one."""
        return next((self.labels[extension] for extension in _LABELS if extension in self.labels), None)


def scan(shards: Sequence[tuple[Shard, BinaryIO]]) -> Index:
    """The index of tar files, as a folder in a layout that can be trained on.

    Samples with a class become KEY in a folder of its name, images with masks images/KEY and masks/KEY, others stay
    where they are; below train/, val/ or test/ if the name of their tar file begins so. Raises UserError for a file
    that is no plain tar file, and for a member that is anything but a file below the root.
    """
    samples: list[tuple[int, _Sample]] = []
    for number, (shard, file) in enumerate(shards):
        samples += [(number, sample) for sample in _samples(number, shard, file)]
    _drop_captions([sample for _, sample in samples])
    members, taken = list[Member](), set[str]()
    for number, sample in samples:
        match = _PART.match(shards[number][0].name)
        part = f"{match[1]}/" if match else ""
        image, mask = _image_and_mask(shards[number][0].name, sample)
        if image is None:
            continue
        key = sample.key
        while (place := f"{part}{sample.label or ''}/{key}") in taken:
            key += f"-{number}"
        taken.add(place)
        folder = "images/" if mask else f"{sample.label}/" if sample.label is not None else ""
        members.append(replace(sample.members[image], name=f"{part}{folder}{key}.{image.rpartition('.')[2]}"))
        if mask:
            members.append(replace(sample.members[mask], name=f"{part}masks/{key}.{mask.rpartition('.')[2]}"))
    if not members:
        names = ", ".join(shard.name for shard, _ in shards[:3])
        raise UserError(f"{names}: no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in these tar files.")
    try:
        return Index.of([shard for shard, _ in shards], members)
    except ValueError as error:
        raise UserError(f"{shards[0][0].name}: cannot be indexed ({error}).") from error


class _Headers:
    """A file whose headers tarfile reads; it refuses longer reads, so that no header fills the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def _samples(number: int, shard: Shard, file: BinaryIO) -> Iterator[_Sample]:
    """The samples of a tar file: neighbouring files of one key."""
    sample = _Sample("")
    for name, member, content in _files(number, shard, file):
        match = _KEY_AND_EXTENSION.fullmatch(name)
        if match is None or match[1].startswith("__"):  # webdataset's notes on the whole tar file
            continue
        key, extension = match[1], match[2].lower()
        if key != sample.key or extension in sample.members:
            yield sample
            sample = _Sample(key)
        sample.members[extension] = member
        if extension in _LABELS and (label := _label(f"{shard.name}: {name}", extension, content)) is not None:
            sample.labels[extension] = label
    yield sample


def _files(number: int, shard: Shard, file: BinaryIO) -> Iterator[tuple[str, Member, bytes]]:
    """Name, place and first MiB of each file. Nothing is written anywhere."""
    try:
        with tarfile.open(fileobj=_Headers(file), mode="r:") as tar:  # type: ignore[call-overload]
            end = -1
            while (info := tar.next()) is not None:
                tar.members = []  # which would grow with the file
                name = info.name.removeprefix("./")
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    raise UserError(
                        f"{shard.name}: '{info.name}' is a link, a device or a sparse file; expected files only."
                    )
                if not is_inside(name):
                    raise UserError(f"{shard.name}: the name '{info.name}' leads out of the folder.")
                if info.offset_data <= end or info.size < 0 or info.offset_data + info.size > shard.size:
                    raise tarfile.ReadError(f"'{name}' ends behind the end of the file")
                end = info.offset_data
                file.seek(info.offset_data)
                start, digest = file.read(min(info.size, _PIECE)), hashlib.sha256()
                digest.update(start)
                for left in range(info.size - len(start), 0, -_PIECE):
                    digest.update(file.read(min(left, _PIECE)))
                yield name, Member(name, number, info.offset_data, info.size, digest.digest()), start
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # where tarfile ends as if the file did
                raise tarfile.ReadError(f"damaged at byte {tar.offset:,}")
    except (tarfile.TarError, RecursionError, ValueError, OverflowError, EOFError) as error:
        raise UserError(f"{shard.name}: not a plain tar file ({first_line(error)}).") from error


def _label(place: str, extension: str, content: bytes) -> str | None:
    """The class that a file of a sample names, None if it names none. Raises UserError if it cannot be a folder."""
    try:
        text = content.decode()
        if extension == "json":
            text = _from_json(json.loads(text))
    except (ValueError, RecursionError):
        return None
    text = text.strip()
    if not text or len(text) > _LONGEST_LABEL or "\n" in text:
        return None
    name = re.sub(r"[/\\\0]", "-", text)
    if not is_inside(name) or name.startswith("."):
        raise UserError(f"{place}: '{text}' cannot be the name of a class.")
    return name


def _from_json(value: Any) -> str:
    if isinstance(value, dict):
        value = next((value[key] for key in _JSON_KEYS if key in value), "")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _drop_captions(samples: Sequence[_Sample]) -> None:
    """Removes the texts as classes if most of them differ, which describe one image each."""
    texts = [sample.labels["txt"] for sample in samples if "txt" in sample.labels]
    if len(set(texts)) > len(texts) / 2:
        for sample in samples:
            sample.labels.pop("txt", None)


def _image_and_mask(place: str, sample: _Sample) -> tuple[str | None, str | None]:
    """The extensions of the image and of its mask, None without one. Raises UserError for several images."""
    extensions = [extension for extension in sample.members if f".{extension.rpartition('.')[2]}" in IMAGE_SUFFIXES]
    masks = [extension for extension in extensions if _MASKS & set(extension.split(".")[:-1])]
    images = [extension for extension in extensions if extension not in masks]
    if not masks and len(images) == 2 and "png" in images:  # 0001.jpg and 0001.png
        masks = ["png"]
        images.remove("png")
    if len(images) > 1 or len(masks) > 1:
        listed = ", ".join(f".{extension}" for extension in extensions)
        raise UserError(
            f"{place}: the sample '{sample.key}' has several images ({listed}); expected one, and its mask."
        )
    return next(iter(images), None), next(iter(masks), None) if images else None
