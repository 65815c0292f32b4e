"""The meaning of mask pixels: classes that are scored, and values and colours that are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from snellen.errors import UserError
from snellen.spec import Spec
from snellen.words import first_line

IGNORE = 255
"""The value of unscored pixels in every uint8 mask inside snellen."""
MOST_CLASSES = 255

Channel = Annotated[int, Field(ge=0, le=255)]
Rgb = tuple[Channel, Channel, Channel]
Coding = Literal["index", "colour", "binarised"]

_NEVER_SCORED = frozenset(
    (
        "void",
        "unknown",
        "ignore",
        "ignored",
        "unlabelled",
        "unlabeled",
        "undefined",
        "unclassified",
        "nodata",
        "no data",
    )
)
# Paul Tol's muted scheme, then his bright one: distinguishable with any colour vision, and in print.
_SERIES: tuple[Rgb, ...] = (
    (51, 34, 136),
    (136, 204, 238),
    (68, 170, 153),
    (17, 119, 51),
    (153, 153, 51),
    (221, 204, 119),
    (204, 102, 119),
    (136, 34, 85),
    (170, 68, 153),
    (68, 119, 170),
    (102, 204, 238),
    (34, 136, 51),
    (204, 187, 68),
    (238, 102, 119),
    (170, 51, 119),
    (187, 187, 187),
)


class MaskClass(Spec):
    """One line of a class table."""

    name: str = Field(min_length=1, description="Name of the class.")
    value: int | None = Field(
        None, ge=0, le=65535, description="Its value in an index mask. null: its index in the table."
    )
    colour: Rgb | None = Field(None, description="Its red, green and blue in a colour mask, each 0 to 255.")
    ignored: bool | None = Field(
        None,
        description="Whether it is excluded from loss and scores. null: by its name (void, unknown, unlabelled …).",
    )

    @property
    def is_ignored(self) -> bool:
        """Whether pixels of this class are not scored."""
        return self.name.strip().lower() in _NEVER_SCORED if self.ignored is None else self.ignored


@dataclass(frozen=True)
class ClassTable:
    """The scored classes, and how masks encode them.

    names, colours: of class 0 … C - 1; the colours are for display. coding: index: a pixel's value is looked up in
    `values`. colour: its colour is looked up in `keys`. binarised: the same, after each channel is rounded to 0 or
    255. values, keys: (value or colour, class or IGNORE). ignored: what is not scored, in words.
    """

    names: tuple[str, ...]
    colours: tuple[Rgb, ...]
    coding: Coding = "index"
    values: tuple[tuple[int, int], ...] = ()
    keys: tuple[tuple[Rgb, int], ...] = ()
    ignored: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def ignored_text(self) -> str:
        """What is not scored, in one phrase."""
        return ", ".join(self.ignored) or "nothing"

    def as_dict(self) -> dict[str, Any]:
        """For data.json: "classes", "colours" and how masks encode them."""
        fields = asdict(self)
        return {"classes": fields.pop("names"), **fields}

    @classmethod
    def recorded(cls, data: Mapping[str, Any]) -> ClassTable:
        """The table that `as_dict` wrote to data.json. Raises UserError if it holds another."""
        try:
            fields = {field.name: data[field.name] for field in fields_of(cls) if field.name != "names"}
            return TypeAdapter(cls).validate_python({"names": data["classes"], **fields})
        except (KeyError, ValidationError) as error:
            raise UserError(f"the classes in the run's data.json are damaged ({first_line(error)}).") from error


def build_table(entries: Sequence[MaskClass], coding: Coding, source: str) -> ClassTable:
    """A class table from its lines. In index masks 255 is ignored unless a line defines it.

    source: where the lines come from, for messages. Raises UserError for lines that contradict one another.
    """
    scored = [entry for entry in entries if not entry.is_ignored]
    _check(entries, scored, coding, source)
    number = {entry.name: index for index, entry in enumerate(scored)}
    colours = tuple(entry.colour or display_colour(index) for index, entry in enumerate(scored))
    classes = [number.get(entry.name, IGNORE) for entry in entries]
    values = dict(zip(entry_values(entries), classes, strict=True))
    keys = {entry.colour: label for entry, label in zip(entries, classes, strict=True) if entry.colour is not None}
    ignored = [
        f"{entry.name} ({'value ' + str(value) if coding == 'index' else 'colour ' + rgb_text(entry.colour)})"
        for entry, value in zip(entries, entry_values(entries), strict=True)
        if entry.is_ignored
    ]
    if coding == "index" and IGNORE not in values:
        values[IGNORE] = IGNORE
        ignored.append(f"value {IGNORE}")
    return ClassTable(
        names=tuple(entry.name for entry in scored),
        colours=colours,
        coding=coding,
        values=tuple(values.items()),
        keys=tuple(keys.items()),
        ignored=tuple(ignored),
    )


def entry_values(entries: Sequence[MaskClass]) -> list[int]:
    """The value of each line in an index mask: as given, else its index."""
    return [index if entry.value is None else entry.value for index, entry in enumerate(entries)]


def display_colour(label: int) -> Rgb:
    """A colour for class `label`, for masks that have none of their own."""
    red, green, blue = _SERIES[label % len(_SERIES)]
    dim = 1 / (1 + label // len(_SERIES) / 2)  # the series repeats, darker each time
    return round(red * dim), round(green * dim), round(blue * dim)


def rgb_text(colour: Rgb | None) -> str:
    """A colour for messages: '0,255,255'."""
    return "none" if colour is None else ",".join(map(str, colour))


def _check(entries: Sequence[MaskClass], scored: Sequence[MaskClass], coding: Coding, source: str) -> None:
    if len(scored) < 2:
        number = f"only one scored class ('{scored[0].name}')" if scored else "no scored class"
        raise UserError(f"{source}: {number}; expected at least two.")
    if len(scored) > MOST_CLASSES:
        raise UserError(f"{source}: {len(scored)} scored classes; at most {MOST_CLASSES} fit into a mask.")
    names = [entry.name for entry in entries]
    codes: list[int] | list[Rgb | None]
    if coding == "index":
        code_kind, codes = "value", entry_values(entries)
    else:
        code_kind, codes = "colour", [entry.colour for entry in entries]
        uncoloured = [entry.name for entry in entries if entry.colour is None]
        if uncoloured:
            raise UserError(
                f"{source}: the masks hold colours, but class '{uncoloured[0]}' has none. Add its red,green,blue."
            )
    for kind, values in (("name", names), (code_kind, codes)):
        counts = Counter[str | int | Rgb | None](values)
        duplicate = next((value for value in values if counts[value] > 1), None)
        if duplicate is not None:
            text = duplicate if not isinstance(duplicate, tuple) else rgb_text(duplicate)
            raise UserError(f"{source}: the {kind} {text!r} occurs twice. Each class needs its own.")


LAND_COVER_CLASSES = (
    MaskClass(name="urban", colour=(0, 255, 255)),
    MaskClass(name="agriculture", colour=(255, 255, 0)),
    MaskClass(name="rangeland", colour=(255, 0, 255)),
    MaskClass(name="forest", colour=(0, 255, 0)),
    MaskClass(name="water", colour=(0, 0, 255)),
    MaskClass(name="barren", colour=(255, 255, 255)),
    MaskClass(name="unknown", colour=(0, 0, 0)),
)
LAND_COVER = build_table(LAND_COVER_CLASSES, "binarised", "land-cover")
