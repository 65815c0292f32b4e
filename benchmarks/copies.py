"""How well near copies are found, and how fast.

planted FOLDER: copies of 600 photographs in nine ways, all in one set: precision, and recall by way. --imagededup adds
the figures of the package imagededup (its four hashes, default distance) on the same files, if it is installed.
drawn: pairs that are found among 2,000 drawn pictures, of five kinds; no two are the same, so that all pairs are false.
parts FOLDER: near copies between train/ and val/, as a table, with the first 100 as a contact sheet (--sheet).
speed FOLDER: the time to decode all images and to find their copies, in processor and clock seconds.
many: time, memory and recall of the search among a million simulated descriptors in eight orientations.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from snellen.data.copies.hamming import near, radius_for
from snellen.data.copies.search import NearPair, near_pairs
from snellen.data.copies.small import side_for, small_pictures
from snellen.data.decode import decode, kind_and_size
from snellen.data.listing import images_below

PHOTOGRAPHS = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("planted", "parts", "speed"):
        commands.add_parser(name).add_argument("folder", type=Path)
    commands.choices["planted"].add_argument("--count", type=int, default=PHOTOGRAPHS)
    commands.choices["planted"].add_argument("--imagededup", action="store_true")
    commands.choices["parts"].add_argument("--sheet", type=Path, help="PNG file of the first 100 pairs")
    commands.choices["parts"].add_argument("--table", type=Path, help="CSV file of all pairs")
    commands.add_parser("drawn").add_argument("--count", type=int, default=2_000)
    commands.add_parser("many").add_argument("--count", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.command == "planted":
        planted(options.folder, options.count, options.imagededup)
    elif options.command == "drawn":
        drawn(options.count)
    elif options.command == "parts":
        parts(options.folder, options.sheet, options.table)
    elif options.command == "speed":
        speed(options.folder)
    else:
        many(options.count)


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=quality)
    return Image.open(io.BytesIO(data.getvalue())).convert("RGB")


def cropped(image: Image.Image, draw: random.Random) -> Image.Image:
    width, height = round(0.8 * image.width), round(0.8 * image.height)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


Copy = Callable[[Image.Image, random.Random], Image.Image]
COPIES: dict[str, Copy] = {
    "half size": lambda image, _: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "JPEG quality 30": lambda image, _: as_jpeg(image, 30),
    "grey": lambda image, _: image.convert("L").convert("RGB"),
    "brightness +30%": lambda image, _: ImageEnhance.Brightness(image).enhance(1.3),
    "brightness -30%": lambda image, _: ImageEnhance.Brightness(image).enhance(0.7),
    "mirrored": lambda image, _: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image, _: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "crop to 80%": cropped,
    "rotated by 25°": lambda image, draw: image.rotate(
        draw.choice((-25, 25)), Image.Resampling.BICUBIC, expand=draw.random() < 0.5
    ),
}


def planted(folder: Path, count: int, with_imagededup: bool) -> None:
    names = images_below(folder)
    random.Random(0).shuffle(names)
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        for number, name in enumerate(names[:count]):
            image = Image.fromarray(decode(folder / name).permute(1, 2, 0).numpy())
            image.save(out / f"{number}_original.png")
            for way, copy in COPIES.items():
                copy(image, draw).save(out / f"{number}_{way}.png")
        files = sorted(out.iterdir())
        found = near_pairs(_small(files))
        pairs = {(files[pair.first].stem, files[pair.second].stem) for pair in found}
        print_recall("snellen", pairs, count)
        if with_imagededup:
            for method in ("PHash", "DHash", "WHash", "AHash"):
                print_recall(f"imagededup {method}", _by_imagededup(out, method), count)


def print_recall(tool: str, pairs: set[tuple[str, str]], count: int) -> None:
    """Recall is that of the pairs of a photograph and its copy; precision that of all pairs.

    A pair of different photographs is false unless the originals are a pair too: the set has copies of its own.
    """
    split = [tuple(name.split("_") for name in pair) for pair in pairs]
    own = {frozenset((a[0], b[0])) for a, b in split if a[1] == b[1] == "original"}
    false = [(a, b) for a, b in split if a[0] != b[0] and frozenset((a[0], b[0])) not in own]
    print(
        f"{tool}: {len(pairs):,} pairs, precision {1 - len(false) / max(1, len(pairs)):.4f}; "
        f"{len(own)} pairs of originals"
    )
    ways = Counter(
        way
        for a, b in split
        if a[0] == b[0] and "original" in (a[1], b[1])
        for way in (a[1], b[1])
        if way != "original"
    )
    for way in COPIES:
        print(f"  {way}: {ways[way]} of {count}, {ways[way] / count:.3f}")
    for (a, b), number in Counter((a[1], b[1]) for a, b in false).most_common(5):
        print(f"  false: {a} and {b}, {number}")


def _by_imagededup(folder: Path, method: str) -> set[tuple[str, str]]:
    import imagededup.methods

    found = getattr(imagededup.methods, method)().find_duplicates(image_dir=str(folder), max_distance_threshold=10)
    return {
        (min(Path(a).stem, Path(b).stem), max(Path(a).stem, Path(b).stem))
        for a, copies in found.items()
        for b in copies
    }


def _small(files: list[Path]) -> NDArray[np.uint8]:
    shorter = float(np.median([min(kind_and_size(file)[1:]) for file in files[:: max(1, len(files) // 50)]]))
    side = side_for(len(files), shorter)

    def read(file: Path) -> NDArray[np.uint8]:
        return small_pictures(decode(file, 256).permute(1, 2, 0).numpy(), side)

    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(read, files)))


def _background(draw: random.Random, side: int) -> Image.Image:
    """A smooth texture."""
    noise = np.random.default_rng(draw.randrange(1 << 30)).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def _shapes(image: Image.Image, draw: random.Random, number: int) -> None:
    pen = ImageDraw.Draw(image)
    side = image.width
    for _ in range(number):
        x, y, size = draw.randrange(side), draw.randrange(side), draw.randint(side // 12, side // 3)
        colour = tuple(draw.randrange(256) for _ in range(3))
        box = (x - size, y - size * draw.uniform(0.5, 1), x + size, y + size * draw.uniform(0.5, 1))
        shape = draw.randrange(3)
        if shape == 2:
            pen.line((x, y, draw.randrange(side), draw.randrange(side)), fill=colour, width=max(1, size // 5))
        else:
            (pen.ellipse if shape else pen.rectangle)(box, fill=colour)


def _text(image: Image.Image, draw: random.Random) -> None:
    pen = ImageDraw.Draw(image)
    for line in range(4):
        pen.text(
            (6, 6 + 22 * line),
            "".join(draw.choice("ABCDEFGHKLMNPRSTUVWXYZ23456789") for _ in range(9)),
            fill=(20, 20, 20),
        )


def drawings(count: int, side: int = 96) -> Iterator[tuple[str, list[Image.Image]]]:
    """Sets of different pictures: each on one background."""
    draw = random.Random(0)
    plain, texture = Image.new("RGB", (side, side), (225, 225, 220)), _background(draw, side)

    def on(background: Image.Image, act: Callable[[Image.Image], None]) -> list[Image.Image]:
        pictures = []
        for _ in range(count):
            image = background.copy()
            act(image)
            pictures.append(image.filter(ImageFilter.SMOOTH))
        return pictures

    yield "one shape on plain paper", on(plain, lambda image: _shapes(image, draw, 1))
    yield "one shape on a texture", on(texture, lambda image: _shapes(image, draw, 1))
    yield "three shapes on a texture", on(texture, lambda image: _shapes(image, draw, 3))
    yield "eight shapes on plain paper", on(plain, lambda image: _shapes(image, draw, 8))
    yield "four lines of letters", on(plain, lambda image: _text(image, draw))


def drawn(count: int) -> None:
    for kind, images in drawings(count):
        pairs = near_pairs(
            np.stack([small_pictures(np.asarray(image), images[0].width // 32 * 32) for image in images])
        )
        print(
            f"{kind}: {len(pairs)} false pairs among {count:,} pictures "
            f"{[round(pair.distance, 3) for pair in pairs[:5]]}"
        )


def parts(folder: Path, sheet: Path | None, table: Path | None) -> None:
    names = images_below(folder)
    side_of = [name.split("/")[0] for name in names]
    pairs = near_pairs(_small([folder / name for name in names]))
    across = [pair for pair in pairs if side_of[pair.first] != side_of[pair.second]]
    print(f"{len(pairs):,} pairs among {len(names):,} images, {len(across):,} across the parts")
    for words, number in Counter(pair.words for pair in pairs).most_common():
        print(f"  {words}: {number}")
    if table is not None:
        with table.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["a", "b", "distance", "expected", "how"])
            rows.writerows(
                [names[p.first], names[p.second], f"{p.distance:.4f}", f"{p.expected:.2g}", p.words] for p in across
            )
    if sheet is not None:
        contact_sheet([folder / name for name in names], across[:100]).save(sheet)


def contact_sheet(files: list[Path], pairs: list[NearPair], side: int = 96, columns: int = 10) -> Image.Image:
    """The pairs side by side, numbered from 1, in rows."""
    rows = -(-len(pairs) // columns)
    result = Image.new("RGB", (columns * (2 * side + 12), max(1, rows) * (side + 16)), "white")
    for number, pair in enumerate(pairs):
        left, top = number % columns * (2 * side + 12), number // columns * (side + 16)
        for place, row in enumerate((pair.first, pair.second)):
            image = Image.fromarray(decode(files[row]).permute(1, 2, 0).numpy()).resize((side, side))
            result.paste(image, (left + place * side, top + 14))
        ImageDraw.Draw(result).text((left + 2, top + 1), f"{number + 1}  {pair.words}", fill="black")
    return result


def speed(folder: Path) -> None:
    files = [folder / name for name in images_below(folder)]
    started, cpu = time.perf_counter(), time.process_time()
    small = _small(files)
    middle = time.perf_counter()
    pairs = near_pairs(small)
    print(
        f"{len(files):,} images: decoded in {middle - started:.1f} s, {len(pairs):,} pairs found in "
        f"{time.perf_counter() - middle:.1f} s; together {time.process_time() - cpu:.1f} s of processor time"
    )


def many(count: int) -> None:
    """Random descriptors, 1% of them copies of another one in which 6 of 64 bits differ, each turned in some way."""
    generator = np.random.default_rng(0)
    base = generator.integers(1 << 63, size=count, dtype=np.uint64) << np.uint64(1)
    views = np.stack([base, *(generator.integers(1 << 63, size=(7, count), dtype=np.uint64))])
    originals, copies = np.split(generator.permutation(count)[: count // 50], 2)
    for original, copy in zip(originals.tolist(), copies.tolist(), strict=True):
        word = views[generator.integers(8), original]
        for bit in generator.choice(64, 6, replace=False):
            word ^= np.uint64(1) << np.uint64(bit)
        base[copy] = word
    started, cpu = time.perf_counter(), time.process_time()
    expected = count // 2
    radius = radius_for(base, views, expected)
    pairs = near(base, views, radius, 4 * expected)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    wanted = {(min(pair), max(pair)) for pair in zip(originals.tolist(), copies.tolist(), strict=True)}
    found = wanted & set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{count:,} descriptors in 8 orientations: {len(pairs):,} pairs within {radius} bits in {seconds:.0f} s "
        f"({cpu:.0f} s of processor time), {memory:.2f} GiB; {len(found) / len(wanted):.3f} of the planted ones"
    )


if __name__ == "__main__":
    main()
