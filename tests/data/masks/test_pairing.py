"""The layouts that users have, and files without a partner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snellen.data.masks.classes import ClassTable, display_colour
from snellen.data.masks.pairing import find_pairs
from snellen.data.masks.sources import MaskedSet, is_masked, masks_to_score, read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.errors import UserError

Write = Callable[..., Path]
MASK = np.tile(np.arange(4, dtype=np.uint8).repeat(2), (8, 1))


def pairs(images: MaskedSet) -> dict[str, str]:
    return {sample.path: sample.mask for sample in (*images.train, *images.validation)}


SPLIT = [
    ("{s}/images/{n}.jpg", "{s}/masks/{n}.png"),
    ("images/{s}/{n}.jpg", "masks/{s}/{n}.png"),
    ("img_dir/{s}/{n}.jpg", "ann_dir/{s}/{n}.png"),
    ("{s}/{n}.jpg", "{s}_masks/{n}.png"),
    ("{s}/{n}.png", "{s}annot/{n}.png"),
    ("{s}/{n}_sat.jpg", "{s}/{n}_mask.png"),
    ("{s}/images/{n}.jpg", "{s}/masks/{n}_mask.png"),
    ("{s}/images/{n}_sat.jpg", "{s}/masks/{n}_mask.png"),
    ("images/{s}/city/deep/{n}.jpg", "labels/{s}/city/deep/{n}.png"),
    ("JPEGImages/{s}/{n}.jpg", "SegmentationClass/{s}/{n}.png"),
]


@pytest.mark.parametrize("sides", [("train", "val"), ("train", "validation"), ("Training", "test")])
@pytest.mark.parametrize(("image", "mask"), SPLIT)
def test_layouts_with_a_split(tmp_path: Path, write: Write, image: str, mask: str, sides: tuple[str, str]) -> None:
    expected = {}
    for side, count in zip(sides, (3, 2), strict=True):
        for number in range(count):
            name = f"{side[0]}a_{number}.b"
            expected[image.format(s=side, n=name)] = mask.format(s=side, n=name)
            write(image.format(s=side, n=name))
            write(mask.format(s=side, n=name), MASK)
    assert is_masked(tmp_path)
    images = read_masked(tmp_path, MaskDataSpec())
    assert pairs(images) == expected
    assert (len(images.train), len(images.validation)) == (3, 2)
    assert images.split == "split as given"
    assert images.classes.names == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{n}.jpg", "masks/{n}.png"),
        ("{n}.jpg", "{n}_mask.png"),
        ("{n}_sat.jpg", "{n}_mask.png"),
        ("deeper/{n}.jpg", "deeper/{n}_gt.png"),
        ("train/{n}_leftImg8bit.png", "train/{n}_labelIds.png"),
    ],
)
def test_layouts_without_a_split(tmp_path: Path, write: Write, image: str, mask: str) -> None:
    for number in range(40):
        write(image.format(n=f"p{number:02d}"))
        write(mask.format(n=f"p{number:02d}"), MASK)
    images = read_masked(tmp_path, MaskDataSpec(validation_share=0.3))
    assert len(pairs(images)) == 40
    assert 4 <= len(images.validation) <= 20
    assert images.split == "30% held out by content hash"
    grouped = read_masked(tmp_path, MaskDataSpec(group=r"p(\d)\d", validation_share=0.4))
    sides = [{sample.group for sample in side} for side in (grouped.train, grouped.validation)]
    assert sides[0] | sides[1] == {"0", "1", "2", "3"}
    assert not sides[0] & sides[1]


def test_endings_are_distinguished_from_names(tmp_path: Path, write: Write) -> None:
    """Another channel of each image has no mask of its own; the ending that pairs most is that of the images."""
    for number in range(4):
        write(f"a_{number}_rgb.png")
        write(f"a_{number}_mask.png", MASK)
        write(f"a_{number}_mask_old_nir.png")
    assert pairs(read_masked(tmp_path, MaskDataSpec())) == {f"a_{n}_rgb.png": f"a_{n}_mask.png" for n in range(4)}


def test_patterns_pair_files(tmp_path: Path, write: Write) -> None:
    for number in range(4):
        write(f"x/photo{number}.jpg")
        write(f"x/truth{number}.png", MASK)
    assert not is_masked(tmp_path)
    with pytest.raises(UserError, match=r"no images with masks.*data\.image_pattern"):
        read_masked(tmp_path, MaskDataSpec())
    spec = MaskDataSpec(image_pattern=r"photo(\d+)\.jpg", mask_pattern=r"truth(\d+)\.png")
    assert pairs(read_masked(tmp_path, spec)) == {f"x/photo{n}.jpg": f"x/truth{n}.png" for n in range(4)}
    for wrong, message in (
        ({"mask_pattern": None}, "belong together"),
        ({"mask_pattern": r"truth\d+"}, "exactly one pair of parentheses"),
        ({"mask_pattern": r"(.+)_nothing"}, "no file below .* has such a name. The first file there is 'x/photo0.jpg'"),
    ):
        with pytest.raises(UserError, match=message):
            read_masked(tmp_path, spec.model_copy(update=wrong))


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("train/images/alone.jpg", "alone.jpg: an image with no mask"),
        ("train/masks/alone.png", "alone.png: a mask with no image"),
        ("train/masks/0.tif", "2 masks with the same name: train/masks/0.png, train/masks/0.tif"),
        ("train/images/0.png", "2 images with the same name: train/images/0.jpg, train/images/0.png"),
    ],
)
def test_files_without_one_partner(tmp_path: Path, write: Write, extra: str, reason: str) -> None:
    for side in ("train", "val"):
        for number in range(3):
            write(f"{side}/images/{number}.jpg")
            write(f"{side}/masks/{number}.png", MASK)
    write(extra, MASK)
    with pytest.raises(UserError, match=f"{reason}\n.*data.unpaired=skip"):
        read_masked(tmp_path, MaskDataSpec())
    images = read_masked(tmp_path, MaskDataSpec(unpaired="skip"))
    assert len(pairs(images)) == (6 if "alone" in extra else 5)
    assert [reason in f"{entry.path}: {entry.reason}" for entry in images.left_out] == [True]


def test_a_test_part_is_kept_apart(tmp_path: Path, write: Write) -> None:
    for side in ("train", "val", "test"):
        for number in range(3):
            write(f"{side}/images/{number}.jpg")
            write(f"{side}/masks/{number}.png", MASK)
    write("test/images/extra.jpg")
    images = read_masked(tmp_path, MaskDataSpec())
    assert {path.split("/")[0] for path in pairs(images)} == {"train", "val"}
    assert [sample.path for sample in images.test] == [f"test/images/{number}.jpg" for number in range(3)]
    assert any("test/images/extra.jpg: an image with no mask" in note for note in images.notes)


def test_a_test_part_without_masks_is_skipped(tmp_path: Path, write: Write) -> None:
    for side in ("train", "test"):
        for number in range(3):
            write(f"{side}/images/{number}.jpg")
            if side == "train":
                write(f"{side}/masks/{number}.png", MASK)
    images = read_masked(tmp_path, MaskDataSpec())
    assert set(pairs(images)) == {f"train/images/{n}.jpg" for n in range(3)}
    assert any(note.startswith("3 images of the test part") for note in images.notes)


def test_class_folders_are_no_masked_set(tmp_path: Path, write: Write, digits: Path) -> None:
    for name in ("mask", "no mask", "with_mask"):
        for number in range(3):
            write(f"{name}/{name}_{number}.jpg")
    assert not is_masked(tmp_path)
    assert not is_masked(digits)
    assert not is_masked(tmp_path / "mask/mask_0.jpg")


def test_leaks_and_contents_are_reported(tmp_path: Path, write: Write) -> None:
    for side in ("train", "val"):
        for number in range(3):
            write(f"{side}/images/{number}.png")
            write(f"{side}/masks/{number}.png", MASK)
    (tmp_path / "val/images/0.png").write_bytes((tmp_path / "train/images/1.png").read_bytes())
    before = read_masked(tmp_path, MaskDataSpec())
    assert any("1 validation image is also among the training images" in note for note in before.notes)
    write("val/masks/2.png", MASK.T.copy())
    after = read_masked(tmp_path, MaskDataSpec())
    assert before.fingerprint != after.fingerprint


def test_scoring_takes_the_validation_part_and_the_runs_classes(tmp_path: Path, write: Write) -> None:
    for side in ("train", "val"):
        for number in range(2):
            write(f"{side}/images/{number}.png")
            write(f"{side}/masks/{number}.png", MASK)
    run = ClassTable(
        ("0", "1", "2", "3"), tuple(display_colour(n) for n in range(4)), values=tuple((n, n) for n in range(4))
    )
    to_score = masks_to_score(tmp_path, MaskDataSpec(), run)
    assert [sample.path for sample in to_score.validation] == ["val/images/0.png", "val/images/1.png"]
    write("val/masks/0.png", MASK * np.uint8(0))
    write("val/masks/1.png", MASK // np.uint8(2))
    assert masks_to_score(tmp_path, MaskDataSpec(), run).classes.names == ("0", "1", "2", "3")
    (tmp_path / "classes.txt").write_text("sky\nroad\nwater\nfield\n")
    with pytest.raises(UserError, match="not those of the run"):
        masks_to_score(tmp_path, MaskDataSpec(), run)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.from_regex(r"[a-z0-9][a-z0-9_. -]{0,8}[a-z0-9]", fullmatch=True), min_size=2, max_size=6, unique=True)
)
def test_any_names_pair_with_themselves(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = tmp_path_factory.mktemp("names")
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (root / folder).mkdir()
        for name in names:
            (root / folder / f"{name}.{suffix}").touch()
    result = find_pairs(root, None, None)
    assert result is not None
    assert {pair.image: pair.mask for pair in result.pairs} == {f"images/{n}.jpg": f"masks/{n}.png" for n in names}


def test_linked_folders_of_images_and_masks(tmp_path: Path, write: Write) -> None:
    for n in range(6):
        write(f"store/rgb/{n}.jpg")
        write(f"store/truth/{n}.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "store" / "rgb")
    (tmp_path / "data" / "masks").symlink_to(Path("..") / "store" / "truth")
    (tmp_path / "store" / "rgb" / "loop").symlink_to(tmp_path / "data")
    pairing = find_pairs(tmp_path / "data", None, None)
    assert pairing is not None
    assert [(pair.image, pair.mask) for pair in pairing.pairs] == [
        (f"images/{n}.jpg", f"masks/{n}.png") for n in range(6)
    ]
    assert not pairing.unpaired
