"""Near copies: what is a copy is found, what is different is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from snellen.data.copies import found, kept
from snellen.data.copies.align import Pairs, _sampled, _values, align
from snellen.data.copies.hamming import bit_counts, near
from snellen.data.copies.kept import KeptPair
from snellen.data.copies.search import near_pairs
from snellen.data.copies.small import CENTRE, WHOLE, reduced, small_pictures
from snellen.data.copies.views import describe_copy
from snellen.insight.chance_pairs import dimension, expected_nearer, significant

SIDE = 64  # px of the photographs


def photographs(count: int, seed: int = 0) -> list[Image.Image]:
    """Noise with amplitudes of 1 / frequency, as natural images have: no two are alike."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE))
    frequency[0, 0] = 1
    images = []
    for _ in range(count):
        noise = np.fft.irfft2(np.fft.rfft2(generator.normal(size=(SIDE, SIDE))) / frequency)
        grey = 128 + 40 * (noise - noise.mean()) / noise.std()
        images.append(Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB"))
    return images


def crop(image: Image.Image) -> Image.Image:
    return image.crop((10, 3, 10 + round(0.8 * image.width), 3 + round(0.8 * image.height)))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half": lambda image: image.resize((SIDE // 2, SIDE // 2)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "cropped": crop,
    "rotated": lambda image: image.rotate(25),
}


def test_copies_are_found_and_nothing_else() -> None:
    originals = photographs(60)
    copies = [copy(image) for copy in COPIES.values() for image in originals[:5]]
    pictures = np.stack([small_pictures(np.asarray(image)) for image in (*originals, *copies)])
    pairs = {(pair.first, pair.second) for pair in near_pairs(pictures)}
    source = [*range(60), *(number for _ in COPIES for number in range(5))]
    assert all(source[first] == source[second] for first, second in pairs)
    for number, way in enumerate(COPIES):
        assert sum((row, 60 + 5 * number + row) in pairs for row in range(5)) >= 4, way


def test_copies_are_described_by_what_was_done_to_them() -> None:
    """Also if the pair was found by a view that shows something else, such as a rotated one of a cropped copy."""
    words = {"half": "same view", "darker": "same view", "brighter": "same view", "mirrored": "mirrored"}
    words |= {"cropped": "cropped", "rotated": "rotated"}
    ways = COPIES | {"brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.5)}
    originals = photographs(120, seed=4)
    copies = [(way, row, ways[way](originals[row])) for number, way in enumerate(words) for row in range(number, 60, 6)]
    pictures = np.stack([small_pictures(np.asarray(image)) for image in (*originals, *(copy for _, _, copy in copies))])
    described = {(pair.first, pair.second): pair.words for pair in near_pairs(pictures)}
    given = [(way, described.get((row, 120 + number))) for number, (way, row, _) in enumerate(copies)]
    assert sum(text is not None for _, text in given) >= 50
    assert [(way, text) for way, text in given if text not in (None, words[way])] == []


def test_an_alignment_in_words() -> None:
    def text(picture: int, angle: float, scale: float, mirror: int = 1, shift: float = 0.0) -> str:
        cosine, sine = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
        return describe_copy(
            picture, np.array([[mirror * cosine, -sine, shift], [mirror * sine, cosine, 0]], "float32")
        )

    assert text(WHOLE, 0, 1) == text(CENTRE, 0, 1.01) == "same view"
    assert text(WHOLE, 0, 0.8) == text(WHOLE, 0, 1, shift=0.1) == text(CENTRE, 0.5, 0.8, shift=-0.2) == "cropped"
    assert text(WHOLE, 0, 1, mirror=-1) == "mirrored"
    assert text(WHOLE, 0, 0.9, mirror=-1) == "mirrored, cropped"
    assert text(CENTRE, 12, 0.7) == text(CENTRE, -25, 1) == "rotated"


def test_different_images_and_blank_ones_are_no_pairs() -> None:
    blank = [Image.new("RGB", (SIDE, SIDE), (200, 200, 200))] * 3
    pictures = np.stack([small_pictures(np.asarray(image)) for image in (*photographs(80, seed=1), *blank)])
    assert near_pairs(pictures) == []
    assert near_pairs(pictures[:0]) == []
    assert near_pairs(pictures[:1]) == []


def test_every_pair_within_the_radius_is_found_with_its_view() -> None:
    generator = np.random.default_rng(0)
    base = generator.integers(1 << 63, size=40, dtype=np.uint64)
    views = np.stack([base, generator.integers(1 << 63, size=40, dtype=np.uint64)])
    base[7] = views[1, 3] ^ np.uint64(0b101)
    pairs = near(base, views, radius=24, most=10_000)
    expected = {}
    for seen in range(40):
        for other in range(40):
            bits = min((bin(int(views[view, seen]) ^ int(base[other])).count("1"), view) for view in (0, 1))
            key = (min(seen, other), max(seen, other))
            if seen != other and bits[0] <= 24:
                expected[key] = min(expected.get(key, (99, 0)), bits)
    rows = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True)
    assert {(a, b): distance for a, b, distance in rows} == {key: bits for key, (bits, _) in expected.items()}
    assert (pairs.first[0], pairs.second[0], pairs.seen[0], pairs.view[0], pairs.distance[0]) == (3, 7, 3, 1, 2)
    assert len(near(base, views, radius=24, most=5)) == 5


def test_pairs_are_found_without_comparing_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snellen.data.copies.hamming._ALL_PAIRS", 0)
    generator = np.random.default_rng(0)
    base = generator.integers(1 << 63, size=2000, dtype=np.uint64)
    for row in range(100):
        base[1000 + row] = base[row] ^ np.bitwise_or.reduce(
            np.uint64(1) << generator.choice(64, 5, replace=False).astype(np.uint64)
        )
    pairs = near(base, base[None], radius=5, most=1000)
    found_ones = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(found_ones & {(row, 1000 + row) for row in range(100)}) >= 97


def test_bits_are_counted_as_by_python() -> None:
    words = np.random.default_rng(0).integers(1 << 63, size=(3, 50), dtype=np.uint64)
    assert bit_counts(words).tolist() == [[int(word).bit_count() for word in row] for row in words]


def test_the_alignment_finds_a_shift() -> None:
    image = photographs(1, seed=3)[0]
    shifted = image.transform(image.size, Image.Transform.AFFINE, (1, 0, 3, 0, 1, -2), Image.Resampling.BILINEAR)
    inner = (12, 12, SIDE - 12, SIDE - 12)
    pictures = np.stack([small_pictures(np.asarray(picture.crop(inner))) for picture in (image, shifted)])
    start = np.array([[[1, 0, 0], [0, 1, 0]]], dtype=np.float32)
    distance, matrices = align(pictures, Pairs(WHOLE, np.array([0]), np.array([1]), start))
    assert matrices[0, :, 2] == pytest.approx([3 / 20, -2 / 20], abs=0.02)  # the window's half side is 20 px
    assert distance[0] < 0.35


def test_both_ways_to_sample_a_view_agree() -> None:
    """The one with derivatives and the one without, also where the view leaves the picture."""
    source = np.random.default_rng(0).random((5, 32, 32), dtype=np.float32)
    matrices = np.random.default_rng(1).uniform(-1, 1, (5, 2, 3)).astype(np.float32)
    with_slopes, _, _, inside = _sampled(source, matrices, np.arange(32 * 32))
    values, also_inside = _values(source, matrices)
    assert values == pytest.approx(with_slopes, abs=2e-3)  # the first stops 0.001 px before the border
    assert (inside == also_inside).mean() > 0.999
    assert 0 < inside.mean() < 1


def test_large_pictures_are_reduced_to_the_small_ones() -> None:
    image = np.asarray(photographs(1)[0])
    large, small = small_pictures(image, SIDE)[None], small_pictures(image)
    assert np.abs(reduced(large)[0].astype(int) - small.astype(int)).mean() < 6


def test_points_in_a_cube_have_their_dimension_and_their_expected_neighbours() -> None:
    generator = np.random.default_rng(0)
    for power in (1, 2, 4):
        points = generator.random((3000, power)) % 1.0
        gaps = np.abs(points[:300, None] - points[None, 300:])
        distances = np.sort(np.sqrt((np.minimum(gaps, 1 - gaps) ** 2).sum(-1)), axis=1)  # on a torus: no borders
        assert dimension(distances[:, :12]) == pytest.approx(power, rel=0.1)
        radius = distances[:, 3].mean()
        expected = expected_nearer(np.full(300, radius), distances[:, :12], power, 1.0).mean()
        assert expected == pytest.approx((distances < radius).sum(1).mean(), rel=0.2)


def test_chance_pairs_are_rarely_significant() -> None:
    """If the expected number of nearer pictures is right, the nearest pair of a set is one in 2% of the sets."""
    generator = np.random.default_rng(0)
    false = sum(significant(2 * np.cumsum(generator.exponential(size=50)) / 500, 500).any() for _ in range(2000))
    assert 0.01 < false / 2000 < 0.035
    assert significant(np.array([1e-9, 1e-8, 3.0]), 500).tolist() == [True, True, False]
    assert not significant(np.empty(0), 10).any()


def kept_pair(first: str, second: str) -> KeptPair:
    return KeptPair(first * 64, second * 64, 0.1, 1e-9, "mirrored")


def test_leaks_by_equal_and_by_near_contents() -> None:
    contents = {"train": ["a" * 64, "b" * 64], "validation": ["a" * 64, "c" * 64, "d" * 64], "test": ["e" * 64]}
    near_ones = [kept_pair("b", "d"), kept_pair("c", "e")]
    assert found.leaked_rows(contents, near_ones) == {"validation": [0, 2], "test": [0]}
    assert found.leaked_rows({"train": ["a"]}, []) == {}


def test_kept_pairs_are_those_of_their_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path))
    digests = [letter * 64 for letter in "abcd"]
    assert kept.of_set(digests) is None
    kept.keep(digests, [kept_pair("a", "c")])
    assert kept.of_set([*digests[::-1], digests[0]]) == [kept_pair("a", "c")]
    assert kept.of_set(digests[:3]) is None
    assert kept.of_any(digests[:3]) == [kept_pair("a", "c")]
    assert kept.of_any(digests[1:]) == []
    (tmp_path / "copies" / "index.sqlite").write_bytes(b"no database" * 1000)
    assert kept.of_set(digests) is None


def saved(images: list[Image.Image], folder: Path, part: str) -> list[Path]:
    (folder / part).mkdir(parents=True)
    files = [folder / part / f"{number}.png" for number in range(len(images))]
    for image, file in zip(images, files, strict=True):
        image.save(file)
    return files


def test_a_second_search_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    originals = photographs(40)
    train = saved(originals, tmp_path, "train")
    scored = saved([originals[0], crop(originals[1]), *photographs(3, seed=9)], tmp_path, "validation")
    (tmp_path / "validation" / "damaged.png").write_bytes(b"no image")
    files = {"train": train, "validation": [*scored, tmp_path / "validation" / "damaged.png"]}
    names = {part: [file.name for file in of_part] for part, of_part in files.items()}
    steps: list[str] = []
    first = found.copies_among(files, names, None, steps.append)
    assert [(pair.first, pair.second, pair.is_exact, pair.is_leak) for pair in first.pairs] == [
        ("0.png", "0.png", True, True),
        ("1.png", "1.png", False, True),
    ]
    assert first.leaked == {"validation": [0, 1]}
    assert first.leaks == ["2 validation images are copies of training images, which inflates the scores"]
    assert steps
    steps.clear()
    assert found.copies_among(files, names, None, steps.append) == first
    assert not steps
    leaked, (note,) = found.known_leaks(files)
    assert leaked == first.leaked
    assert note.startswith("2 validation images are copies of training images")
