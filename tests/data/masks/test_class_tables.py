"""Class tables as people write them, and classes found in the masks themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snellen.data.masks.class_files import read_class_file
from snellen.data.masks.classes import IGNORE, LAND_COVER, ClassTable, MaskClass, build_table, display_colour
from snellen.data.masks.find_classes import find_classes
from snellen.errors import UserError

Write = Callable[..., Path]


def entries(tmp_path: Path, text: str) -> list[tuple[str, int | None, tuple[int, int, int] | None, bool]]:
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    return [(e.name, e.value, e.colour, e.is_ignored) for e in read_class_file(path)]


SKY = (0, 128, 255)
NINE = (9, 9, 9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 sky\n1 pole\n11 void\n", [("sky", 0, None, False), ("pole", 1, None, False), ("void", 11, None, True)]),
        ("sky\nroad side\n", [("sky", None, None, False), ("road side", None, None, False)]),
        ("# a comment\n\nclass 1\nclass 2\n", [("class 1", None, None, False), ("class 2", None, None, False)]),
        ("sky,0\nroad,7\n", [("sky", 0, None, False), ("road", 7, None, False)]),
        ("0: sky\n7: road ignored\n", [("sky", 0, None, False), ("road", 7, None, True)]),
        ("0 128 255\tsky\n9 9 9 side walk", [("sky", None, SKY, False), ("side walk", None, NINE, False)]),
        ("sky:0,128,255::\nroad:9,9,9::", [("sky", None, SKY, False), ("road", None, NINE, False)]),
        ("sky #0080ff\nroad #090909", [("sky", None, SKY, False), ("road", None, NINE, False)]),
        ("3 0 128 255 sky", [("sky", 3, SKY, False)]),
        ("3 sky 0 128 255\n5 side walk 9 9 9", [("sky", 3, SKY, False), ("side walk", 5, NINE, False)]),
        ("sky 3 0 128 255 ignored", [("sky", 3, SKY, True)]),
        ("class 1\n2 area 51", [("class 1", None, None, False), ("area 51", 2, None, False)]),
        ("\ufeffname,r,g,b\nsky,0,128,255\nVoid,9,9,9", [("sky", None, SKY, False), ("Void", None, NINE, True)]),
        ("id;class;color;ignored\n4;sky;#0080ff;\n5;edge;9 9 9;yes", [("sky", 4, SKY, False), ("edge", 5, NINE, True)]),
    ],
)
def test_class_files(tmp_path: Path, text: str, expected: list[object]) -> None:
    assert entries(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no classes; expected one per line"),
        ("1 2 sky", "line 1: '1 2 sky': expected a name"),
        ("0 sky\n64 128", "line 2: the class has no name|line 2: '64 128'"),
        ("300 0 0 sky", "colour of three numbers from 0 to 255"),
        ("name,ignored\nsky,maybe", "line 2: ignored='maybe'; expected true or false"),
        ("name,color\nsky,12 13", "line 2: expected three numbers from 0 to 255 or #rrggbb, got"),
    ],
)
def test_class_files_with_mistakes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        entries(tmp_path, text)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([MaskClass(name="a"), MaskClass(name="void")], r"only one scored class \('a'\)"),
        ([MaskClass(name="a"), MaskClass(name="b"), MaskClass(name="a", value=7)], "the name 'a' occurs twice"),
        ([MaskClass(name="a", value=1), MaskClass(name="b")], "the value 1 occurs twice"),
        ([MaskClass(name=str(n)) for n in range(256)], "256 scored classes; at most 255"),
    ],
)
def test_tables_that_contradict_themselves(lines: list[MaskClass], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_table(lines, "index", "classes.txt")


def test_scored_classes_are_numbered_in_order_whatever_is_ignored() -> None:
    lines = [MaskClass(name="void", value=0), MaskClass(name="a", value=9), MaskClass(name="b", value=4, ignored=True)]
    table = build_table([*lines, MaskClass(name="c", value=255)], "index", "")
    assert table.names == ("a", "c")
    assert dict(table.values) == {0: IGNORE, 9: 0, 4: IGNORE, 255: 1}
    assert table.ignored == ("void (value 0)", "b (value 4)")
    assert dict(build_table([MaskClass(name="a"), MaskClass(name="b")], "index", "").values)[255] == IGNORE


def test_display_colours_differ() -> None:
    assert len({display_colour(label) for label in range(40)}) == 40


def result(tmp_path: Path, table: str | None = None) -> tuple[ClassTable, list[str]]:
    return find_classes(sorted(tmp_path.glob("*.png")), (), table, [tmp_path])


def test_land_cover_is_recognised_only_where_it_fits(tmp_path: Path, write: Write) -> None:
    """Within a quarter of the range from pure colours; and not where a colour is none of its seven."""
    rng = np.random.default_rng(0)
    pure = np.array([*LAND_COVER.colours, (0, 0, 0)], dtype=np.int64)[rng.integers(0, 7, (16, 16))]
    noisy = np.where(pure == 0, rng.integers(0, 50, pure.shape), 255 - rng.integers(0, 50, pure.shape))
    write("a.png", noisy.astype(np.uint8))
    table, notes = result(tmp_path)
    assert table == LAND_COVER
    assert "land-cover colours" in notes[0]
    assert result(tmp_path, "land-cover")[0] == LAND_COVER
    pure[:4] = (255, 0, 0)
    write("a.png", pure.astype(np.uint8))
    with pytest.raises(UserError, match=r"a.png: a colour mask, but there is no class table(.|\n)*class\d,255,0,0"):
        result(tmp_path)


def test_land_cover_with_a_palette(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 2], [6, 3]], dtype=np.uint8), mode="P")
    image.putpalette([channel for colour in (*LAND_COVER.colours, (0, 0, 0)) for channel in colour])
    image.save(tmp_path / "a.png")
    assert result(tmp_path)[0] == LAND_COVER


def test_classes_are_named_by_value_where_there_is_no_table(tmp_path: Path, write: Write) -> None:
    mask = np.array([[0, 3], [3, 255]], dtype=np.uint8)
    write("a.png", mask)
    write("b.png", np.where(mask == 0, 7, mask).astype(np.uint8))
    table, notes = result(tmp_path)
    assert table.names == ("0", "3", "7")
    assert dict(table.values) == {0: 0, 3: 1, 7: 2, 255: IGNORE}
    assert "named by their values, 0, 3, 7" in notes[0]
    assert "255 are not scored" in notes[1]


def test_a_palette_gives_the_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 2], [2, 0]], dtype=np.uint8), mode="P")
    image.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9])
    image.save(tmp_path / "a.png")
    assert result(tmp_path)[0].colours == ((1, 2, 3), (7, 8, 9))
    (tmp_path / "classes.txt").write_text("field,1,2,3\nwood,7,8,9\n")
    table, _ = result(tmp_path)
    assert (table.names, table.coding) == (("field", "wood"), "colour")
    (tmp_path / "classes.txt").write_text("0 field\n2 wood\n")
    assert (result(tmp_path)[0].names, result(tmp_path)[0].coding) == (("field", "wood"), "index")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1"])
def test_black_and_white_masks_are_two_classes(tmp_path: Path, write: Write, mode: str) -> None:
    write("a.png", np.array([[0, 255], [255, 0]], dtype=np.uint8), mode)
    table, _ = result(tmp_path)
    assert len(table) == 2
    (tmp_path / "classes.txt").write_text("ground\nhouse\n")
    table, _ = result(tmp_path)
    assert table.names == ("ground", "house")


def test_more_values_than_possible_classes(tmp_path: Path) -> None:
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="1599 different values, 0 to 1599; at most 255"):
        result(tmp_path)


def test_grey_jpegs_are_refused_unless_black_and_white(tmp_path: Path) -> None:
    grey = np.kron(np.array([[0, 60], [120, 200]], dtype=np.uint8), np.ones((16, 16), dtype=np.uint8))
    for name, pixels in (("a.png", grey), ("b.png", (grey > 100).astype(np.uint8) * 255)):
        Image.fromarray(pixels).save(tmp_path / name, format="JPEG")
        if name == "a.png":
            with pytest.raises(UserError, match="a grey JPEG mask, whose compression corrupts class numbers"):
                result(tmp_path)
            (tmp_path / name).unlink()
    table, _ = result(tmp_path)
    assert (table.names, table.coding) == (("0", "255"), "binarised")
    (tmp_path / "classes.txt").write_text("1 house\n0 ground\n")
    table, _ = result(tmp_path)
    assert dict(table.keys) == {(255, 255, 255): table.names.index("house"), (0, 0, 0): table.names.index("ground")}


def test_values_above_eight_bits_are_named_too(tmp_path: Path) -> None:
    Image.fromarray(np.array([[1000, 40000]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert result(tmp_path)[0].names == ("1000", "40000")


def test_two_tables_are_one_too_many(tmp_path: Path, write: Write) -> None:
    write("a.png", np.array([[0, 1]], dtype=np.uint8))
    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "classes.csv").write_text("name\na\nb\n")
    with pytest.raises(UserError, match="several class tables"):
        result(tmp_path)
    assert result(tmp_path, str(tmp_path / "classes.txt"))[0].names == ("a", "b")
    with pytest.raises(UserError, match=r"nothing\.txt: no such file, nor one of land-cover"):
        result(tmp_path, "nothing.txt")
