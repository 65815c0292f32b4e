"""Every kind of mask file, good and bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.data import decode
from snellen.data.decode import UnreadableImageError
from snellen.data.masks.cache import decode_set
from snellen.data.masks.classes import IGNORE, LAND_COVER, MaskClass, build_table
from snellen.data.masks.decode import MaskReading, decode_mask
from snellen.data.masks.sources import read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.errors import UserError

Write = Callable[..., Path]
INDEX = build_table([MaskClass(name=n) for n in ("a", "b", "c")], "index", "")
COLOURS = ((10, 20, 30), (200, 40, 60), (90, 220, 130), (1, 1, 1))
COLOUR = build_table(
    [MaskClass(name=n, colour=c) for n, c in zip(("a", "b", "c", "void"), COLOURS, strict=True)], "colour", ""
)
LABELS = np.random.default_rng(0).integers(0, 3, (12, 9)).astype(np.uint8)
LABELS[0, 0] = IGNORE


def painted(labels: np.ndarray, colours: tuple[tuple[int, int, int], ...] = COLOURS) -> np.ndarray:
    lookup = np.zeros((256, 3), dtype=np.uint8)
    lookup[:3], lookup[IGNORE] = colours[:3], colours[3]
    return lookup[labels]


def blocks(count: int = 3, side: int = 32) -> np.ndarray:
    return np.arange(count, dtype=np.uint8).repeat(side)[None].repeat(side, 0)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("kind", ["L", "P", "RGB", "RGBA", "LA", "I;16", "I", "F"])
def test_index_masks_of_every_kind(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(LABELS)
    if kind == "P":
        image = Image.fromarray(LABELS, mode="P")
        image.putpalette(list(range(256)) * 3)
    elif kind in {"I;16", "I", "F"}:
        image = Image.fromarray(LABELS.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[kind]))
    else:
        image = image.convert(kind)
    path = save(tmp_path / ("a.tif" if kind in {"I", "F"} else "a.png"), image)
    result = decode_mask(path, MaskReading(INDEX), (12, 9))
    assert result.dtype == torch.uint8
    assert result.equal(torch.from_numpy(LABELS))


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P"])
def test_colour_masks_of_every_kind(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(painted(LABELS)).convert(kind, palette=Image.Palette.ADAPTIVE)
    assert decode_mask(save(tmp_path / "a.png", image), MaskReading(COLOUR)).equal(torch.from_numpy(LABELS))


def test_one_bit_masks(tmp_path: Path) -> None:
    bits = LABELS > 0
    path = save(tmp_path / "a.png", Image.fromarray(bits))
    assert decode_mask(path, MaskReading(INDEX)).equal(torch.from_numpy(bits.astype(np.uint8)))


def test_values_above_eight_bits_can_be_classes(tmp_path: Path) -> None:
    table = build_table([MaskClass(name="a", value=1000), MaskClass(name="b", value=40000)], "index", "")
    values = np.where(LABELS > 0, 40000, 1000).astype(np.uint16)
    path = save(tmp_path / "a.png", Image.fromarray(values))
    assert decode_mask(path, MaskReading(table)).equal(torch.from_numpy((LABELS > 0).astype(np.uint8)))


def test_a_mask_of_another_size_is_reported_with_both_sizes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(LABELS))
    with pytest.raises(UnreadableImageError, match=r"a.png: a mask of 9 x 12 px, but its image has 12 x 9"):
        decode_mask(path, MaskReading(INDEX), (9, 12))


def test_values_in_no_class_are_reported_or_ignored(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[3, :2], labels[4, 0] = 17, 99
    path = save(tmp_path / "a.png", Image.fromarray(labels))
    with pytest.raises(UnreadableImageError, match=r"values 17 \(2 pixels\), 99 \(1 pixels\) in no class"):
        decode_mask(path, MaskReading(INDEX))
    result = decode_mask(path, MaskReading(INDEX, unlisted="ignore")).numpy()
    assert (result[3, :2] == IGNORE).all()
    assert (result == np.where(labels > 2, IGNORE, labels)).all()


def test_colours_in_no_class_are_reported_ignored_or_within_tolerance(tmp_path: Path) -> None:
    pixels = painted(LABELS)
    pixels[5, 5] = np.add(COLOURS[LABELS[5, 5]], (7, -7, 7))
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    with pytest.raises(UnreadableImageError, match=r"colours in no class in 0.93% of the pixels: \d+,\d+,\d+ \(1 pix"):
        decode_mask(path, MaskReading(COLOUR))
    assert decode_mask(path, MaskReading(COLOUR, unlisted="ignore"))[5, 5] == IGNORE
    assert decode_mask(path, MaskReading(COLOUR, tolerance=7)).equal(torch.from_numpy(LABELS))
    with pytest.raises(UnreadableImageError):
        decode_mask(path, MaskReading(COLOUR, tolerance=6))


def test_colour_masks_saved_as_jpeg(tmp_path: Path) -> None:
    """Noise is within the tolerance; what is blurred at borders is right, not scored, or a neighbour in colour."""
    labels = blocks()
    image = Image.fromarray(painted(labels))
    result = decode_mask(save(tmp_path / "a.jpg", image, quality=85), MaskReading(COLOUR)).numpy()
    inner = np.ones_like(labels, dtype=bool)
    inner[:, [30, 31, 32, 33, 62, 63, 64, 65]] = False
    assert (result == labels)[inner].all()
    assert ((result == labels) | (result == IGNORE)).mean() > 0.98
    fine = Image.fromarray(painted(LABELS.repeat(3, 0).repeat(3, 1)))
    with pytest.raises(UnreadableImageError, match="a JPEG mask, blurred by its compression"):
        decode_mask(save(tmp_path / "b.jpg", fine, quality=30), MaskReading(COLOUR))


def test_land_cover_masks_saved_as_jpeg(tmp_path: Path) -> None:
    labels = blocks(6)
    image = Image.fromarray(np.array(LAND_COVER.colours, dtype=np.uint8)[labels])
    result = decode_mask(
        save(tmp_path / "a.jpg", image, quality=75), MaskReading(LAND_COVER, unlisted="ignore")
    ).numpy()
    inner = np.abs((np.arange(labels.shape[1]) % 32) - 15.5) < 12
    assert (result == labels)[:, inner].all()


def test_land_cover_is_binarised_but_not_guessed(tmp_path: Path) -> None:
    """Blurred borders are binarised; a grey copy of a colour mask is reported, or ignored if requested."""
    colours = np.array(LAND_COVER.colours, dtype=np.uint8)[blocks(6)]
    colours[:, 31] = 120
    colours[:, 63] = 140
    result = decode_mask(save(tmp_path / "a.png", Image.fromarray(colours)), MaskReading(LAND_COVER)).numpy()
    assert (result[:, 31] == IGNORE).all()  # black, which is unknown
    assert (result[:, 63] == 5).all()
    path = save(tmp_path / "b.png", Image.fromarray(colours).convert("L"))
    with pytest.raises(UnreadableImageError, match="in no class in"):
        decode_mask(path, MaskReading(LAND_COVER))
    hidden = decode_mask(path, MaskReading(LAND_COVER, unlisted="ignore")).numpy()
    grey = np.asarray(Image.open(path))
    assert (hidden == IGNORE)[(grey > 63) & (grey < 192)].all()


@pytest.mark.parametrize(
    ("image", "table", "message"),
    [
        (Image.fromarray(blocks()), INDEX, "a JPEG mask, whose compression corrupts class numbers. Save masks as PNG"),
        (Image.fromarray(painted(LABELS)), INDEX, "a colour mask, but the class table has indices"),
    ],
)
def test_masks_that_cannot_be_interpreted(tmp_path: Path, image: Image.Image, table: object, message: str) -> None:
    with pytest.raises(UnreadableImageError, match=message):
        decode_mask(save(tmp_path / "a.jpg", image), MaskReading(table))  # type: ignore[arg-type]


def test_a_mask_that_takes_more_memory_than_there_is_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes can claim any size; turning values into classes takes more of it than decoding them."""
    Image.new("L", (300, 200)).save(tmp_path / "mask.png")
    reading = MaskReading(INDEX)
    monkeypatch.setattr(decode, "_LARGE", 300 * 200 - 1)
    monkeypatch.setattr(decode, "free_memory", lambda: 300 * 200 * 48 * 4 // 3)
    assert decode_mask(tmp_path / "mask.png", reading).shape == (200, 300)
    monkeypatch.setattr(decode, "free_memory", lambda: 300 * 200 * 47 * 4 // 3)
    with pytest.raises(UnreadableImageError, match=r"mask\.png: decoding 300 x 200 pixels takes"):
        decode_mask(tmp_path / "mask.png", reading)


def test_fractions_and_damage_are_reported(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(LABELS / np.float32(2)))
    with pytest.raises(UnreadableImageError, match="a mask with fractions"):
        decode_mask(path, MaskReading(INDEX))
    complete = save(
        tmp_path / "b.png", Image.fromarray(np.random.default_rng(0).integers(0, 3, (90, 90)).astype("uint8"))
    )
    complete.write_bytes(complete.read_bytes()[:400])
    with pytest.raises(UnreadableImageError, match="damaged image"):
        decode_mask(complete, MaskReading(INDEX))


def test_unusable_pairs_are_an_error_or_skipped_and_listed(tmp_path: Path, write: Write) -> None:
    for side in ("train", "val"):
        for number in range(4):
            write(f"{side}/images/{number}.png", np.full((12, 9, 3), 40 * number, dtype=np.uint8))
            write(f"{side}/masks/{number}.png", LABELS)
    (tmp_path / "classes.txt").write_text("a\nb\nc\nnever\n")
    write("train/masks/1.png", LABELS.T.copy())
    write("train/masks/2.png", LABELS + np.uint8(40))
    (tmp_path / "val/images/0.png").write_bytes(b"")
    images = read_masked(tmp_path, MaskDataSpec())
    with pytest.raises(UserError) as error:
        decode_set(images, MaskDataSpec(), None, None)
    for part in ("1.png: a mask of 12 x 9 px", "2.png: values 39", "0.png: the file is empty", "unreadable=skip"):
        assert part in str(error.value)
    result = decode_set(images, MaskDataSpec(unreadable="skip"), None, None)
    assert [sample.path for sample in result.images.train] == ["train/images/0.png", "train/images/3.png"]
    assert len(result.train) == 2
    assert len(result.validation) == 3
    assert len(result.images.left_out) == 3
    assert result.notes == ("class 'never' occurs in no mask",)


def test_nothing_scored_in_training_is_an_error(tmp_path: Path, write: Write) -> None:
    for side, value in (("train", 255), ("val", 1)):
        for number in range(2):
            write(f"{side}/images/{number}.png", np.full((12, 9, 3), 40 * number, dtype=np.uint8))
            write(f"{side}/masks/{number}.png", np.full((12, 9), value, dtype=np.uint8))
    spec = MaskDataSpec(classes=(MaskClass(name="a"), MaskClass(name="b")))
    with pytest.raises(UserError, match=r"no pixel of the training masks is scored\. Ignored: value 255"):
        decode_set(read_masked(tmp_path, spec), spec, None, None)
