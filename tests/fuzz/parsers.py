"""The parsers of untrusted files: the seeds of each, and how it is called."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import rasterio
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import save as safetensors_bytes
from sklearn.datasets import load_sample_image
from tests.fuzz.harness import Parser
from tests.fuzz.mutate import with_header_length, with_png_checksums, with_zip_checksums
from tests.fuzz.onnx_files import onnx_files, read_onnx_file
from tests.fuzz.requests import REQUEST, UPLOAD
from tests.reporting import fake_masks, fake_runs

from snellen import shard
from snellen.data import bands, decode, disk_cache, kept_hashes, segments, table
from snellen.data.listing import DataSpec
from snellen.data.masks import class_files, classes
from snellen.data.masks import decode as mask_decode
from snellen.data.shards import index as shard_index
from snellen.data.shards import opened, scan
from snellen.data.shards import sources as shard_sources
from snellen.data.walk import files_below
from snellen.engine import checkpoint
from snellen.exporting import wire
from snellen.exporting.metadata import Metadata
from snellen.exporting.onnx_file import OnnxFile
from snellen.models import weights
from snellen.recipe import fields, load, text, wording
from snellen.run import directory
from snellen.run.writer import RunWriter
from snellen.runs import Run
from snellen.study.spec import load_study
from snellen.tasks.classification import record
from snellen.tasks.kinds import kind_named, load_recipe, validated
from snellen.tasks.segmentation import record as mask_record

Files = dict[str, bytes]
PHOTO = Image.fromarray(load_sample_image("china.jpg")).resize((24, 16))
LABELS = Image.fromarray((np.arange(24 * 16) // 50 % 3).astype(np.uint8).reshape(16, 24))
PIXELS = torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1).contiguous()

RECIPES = {
    "classification.yaml": "# a comment\nname: mine\nepochs: 3\nbatch_size: 8\nmodel: {backbone: airnet, width: 0.25}\n"
    "optimizer:\n  name: adamw\n  lr: 1.0e-3\naugmentation: {size: 16, resize: null}\nevaluation: {size: 16}\n",
    "segmentation.yaml": "task: segmentation\nname: scenes\nepochs: 2\naugmentation: {size: [32, 32]}\nloss:\n"
    "  terms: {dice: 0.5}\ndata: {classes: [{name: a, colour: [0, 1, 2]}, {name: b}], tolerance: 3}\n",
    "pretraining.yaml": "task: pretraining\nname: views\nepochs: 2\nmethod: {name: simclr, hidden: 16}\n"
    "evaluation: {data: photos, size: 16}\nmodel: {backbone: airnet}\n",
    "overrides.txt": "optimizer.lr=0.01\nepochs=20\naugmentation.size=32\nmodel={backbone: resnet18}\nname='a b'\n",
    "study.yaml": "name: mine\nrecipe: airnet-scratch\nseeds: [0, 1]\nsettings:\n- {name: a}\n"
    "- name: b\n  changes: {optimizer.lr: 0.1}\nfractions: [0.5, 1]\n",
}


def _recipes() -> Files:
    return {name: content.encode() for name, content in RECIPES.items()}


def _read_recipe(folder: Path, name: str) -> None:
    if name == "study.yaml":
        load_study(folder / name)
    elif name == "overrides.txt":
        lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        load_recipe({"name": "mine", "epochs": 3}, load.parse_overrides(lines))
    else:
        recipe = load_recipe(folder / name)
        (folder / "dumped.yaml").write_text(load.dump(recipe), encoding="utf-8")
        assert load_recipe(folder / "dumped.yaml") == recipe


LISTED = ("a.png", "b.png", "sub/c.png")
TABLE = 'path,label,split,group\na.png,cat,train,1\nb.png,dog,val,2\nsub/c.png,cat,test,3\na.png,dog,train,"1, 2"\n'


def _tables() -> Files:
    frame = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["cat", "dog"], "size": [1, 2]})
    parquet, dictionary = io.BytesIO(), io.BytesIO()
    frame.to_parquet(parquet, compression=None)
    frame.astype({"label": "category"}).to_parquet(dictionary)
    tables = {
        "table.csv": TABLE.encode(),
        "semicolons.csv": b"\xef\xbb\xbf" + TABLE.replace(",", ";").replace("path", "Image").encode(),
        "table.tsv": TABLE.replace(",", "\t").encode(),
        "table.parquet": parquet.getvalue(),
        "dictionary.parquet": dictionary.getvalue(),
    }
    return tables | dict.fromkeys(LISTED, b"")


def _read_table(folder: Path, name: str) -> None:
    table.list_table(folder / name, DataSpec(group="group"))


CLASS_FILES = {
    "classes.txt": "# name and colour\n0 sky 128 0 64\nwet ground 1 2 3 ignored\nsea 4 5 6\n",
    "codes.txt": "sky\nclass 1\nvoid\n",
    "labels.txt": "sky:128,0,64\nsea,1\nroad #800040\n7 land\n3 1 2 3 way\n",
    "class_dict.csv": 'name,index,r,g,b,ignored\nsky,0,1,2,3,\n"sea, deep",1,4,5,6,yes\nland,2,7,8,9,\n',
    "labels.csv": "class;rgb;id\nsky;#010203;0\nsea;4 5 6;7\n",
}


def _class_files() -> Files:
    return {name: content.encode() for name, content in CLASS_FILES.items()}


def _read_classes(folder: Path, name: str) -> None:
    entries = class_files.read_class_file(folder / name)
    coding: classes.Coding = "index" if any(entry.colour is None for entry in entries) else "colour"
    built = classes.build_table(entries, coding, name)
    assert classes.ClassTable.recorded(json.loads(json.dumps(built.as_dict()))) == built


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def _raster(count: int, dtype: str, **options: Any) -> bytes:
    """A TIFF that is read band by band."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raster.tif"
        with rasterio.open(path, "w", driver="GTiff", height=16, width=24, count=count, dtype=dtype, **options) as file:
            file.write(np.resize(np.array(PHOTO), (count, 16, 24)).astype(dtype))
        return path.read_bytes()


@cache
def _images() -> Files:
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = PHOTO.quantize(8)
    return {
        "rgb.png": _saved(PHOTO, "PNG"),
        "palette.png": _saved(palette, "PNG", transparency=3),
        "alpha.png": _saved(PHOTO.convert("LA"), "PNG"),
        "deep.png": _saved(Image.fromarray(np.array(PHOTO.convert("L")).astype(np.uint16) * 257), "PNG"),
        "rgb.jpg": _saved(PHOTO, "JPEG", exif=exif),
        "cmyk.jpg": _saved(PHOTO.convert("CMYK"), "JPEG"),
        "lzw.tif": _saved(PHOTO, "TIFF", compression="tiff_lzw"),
        "plain.tif": _saved(PHOTO, "TIFF", exif=exif),
        "bands.tif": _raster(6, "uint16"),
        "geo.tif": _raster(
            3, "uint8", crs="EPSG:4326", transform=rasterio.Affine(1, 0, 0, 0, -1, 0), compress="deflate"
        ),
        "photo.webp": _saved(PHOTO, "WEBP"),
        "photo.gif": _saved(palette, "GIF"),
        "photo.bmp": _saved(PHOTO, "BMP"),
        "photo.ppm": _saved(PHOTO, "PPM"),
        "photo.avif": _saved(PHOTO, "AVIF"),
    }


# The rule against images that are too large, at a scale that needs neither time nor memory.
_few_pixels = patch.object(decode, "_MOST_PIXELS", 4_000_000)


@_few_pixels
def _read_image(folder: Path, name: str) -> None:
    with contextlib.suppress(decode.UnreadableImageError):
        decode.kind_and_size(folder / name)
    pixels = decode.decode(folder / name, shorter=12)
    assert pixels.dtype == torch.uint8
    assert len(pixels) == 3


@cache
def _masks() -> Files:
    palette = LABELS.copy()
    palette.putpalette([0, 255, 255, 255, 255, 0, 255, 0, 255])
    colours = palette.convert("RGB")
    deep = Image.fromarray(np.array(LABELS).astype(np.uint16))
    return {
        "index/grey.png": _saved(LABELS, "PNG"),
        "index/palette.png": _saved(palette, "PNG"),
        "index/deep.png": _saved(deep, "PNG"),
        "index/float.tif": _saved(Image.fromarray(np.array(LABELS).astype(np.float32)), "TIFF"),
        "index/bits.png": _saved(LABELS.convert("1"), "PNG"),
        "colour/rgb.png": _saved(colours, "PNG"),
        "colour/rgba.png": _saved(colours.convert("RGBA"), "PNG"),
        "colour/lossy.jpg": _saved(colours.resize((48, 32)), "JPEG", quality=95, subsampling=0),
        "colour/palette.gif": _saved(palette, "GIF"),
        "binary/pure.bmp": _saved(colours, "BMP"),
    }


INDEX_TABLE = classes.build_table([classes.MaskClass(name=name) for name in "abc"], "index", "three")
_COLOURS = [classes.MaskClass(name=entry.name, colour=entry.colour) for entry in classes.LAND_COVER_CLASSES]
READINGS = {
    "index": mask_decode.MaskReading(INDEX_TABLE, unlisted="ignore"),
    "colour": mask_decode.MaskReading(classes.build_table(_COLOURS, "colour", "colours"), tolerance=90),
    "binary": mask_decode.MaskReading(classes.LAND_COVER, unlisted="ignore"),
}


@_few_pixels
def _read_mask(folder: Path, name: str) -> None:
    reading = READINGS[name.split("/")[0]]
    labels = mask_decode.decode_mask(folder / name, reading)
    assert labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) <= {*range(len(reading.table)), classes.IGNORE}
    with contextlib.suppress(decode.UnreadableImageError):
        mask_decode.decode_mask(folder / name, READINGS["index"], (16, 24))


def _files_of(write: Callable[[Path], object], recipe: str) -> Files:
    """The files of a run, with a short recipe, since PyYAML is slow."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        write(folder)
        (folder / "recipe.yaml").write_text(recipe)
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        tensors = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
        weights_file = {"checkpoints/best.safetensors": safetensors_bytes(tensors, {"epoch": "2"})}
        return {name: path.read_bytes() for name, path in files.items()} | weights_file


@cache
def _run() -> Files:
    def write(folder: Path) -> None:
        images = fake_runs.write_images(folder.parent / "images", classes=3, per_class=5)
        fake_runs.write_run(folder, images, fake_runs.Plan("mine", epochs=2, hidden=4))

    return _files_of(write, RECIPES["classification.yaml"])


@cache
def _mask_run() -> Files:
    def write(folder: Path) -> None:
        scenes = fake_masks.draw_scenes(folder.parent / "scenes", count=4, size=(16, 24))
        fake_masks.write_mask_run(folder, scenes, fake_masks.MaskPlan("mine", epochs=2))

    return _files_of(write, RECIPES["segmentation.yaml"])


def _read_run(folder: Path, name: str) -> None:
    """The file itself, and what is read with it."""
    run = Run(folder)
    repr(run)
    readers: Mapping[str, Callable[[], object]] = {
        "recipe.yaml": lambda: (run.kind, run.recipe),
        "data.json": lambda: (
            run.classes,
            run.samples(),
            run.by_epoch(),
            run.image("a"),
            weights.locate_weights(str(folder)),
        ),
        "environment.json": lambda: (run.environment, run.switches, run.mode),
        "status.json": lambda: run.status.seconds,
        "samples.csv": lambda: (run.samples(), run.part("validation")),
        "epochs.csv": run.metrics,
        "steps.csv": run.steps,
        "predictions/validation.csv": run.predictions,
        "predictions/validation.npz": lambda: (run.validation(), run.kind.record.prediction_table(run, "validation")),
        "checkpoints/best.safetensors": lambda: weights.load_trained_weights(torch.nn.Linear(3, 2), run, "best"),
    }
    default = run.snapshots if name.startswith("snapshots/") else run.by_epoch
    readers.get(name, default)()
    if name == "data.json" and run.kind.task == "segmentation":
        classes.ClassTable.recorded(run.data)


def _weights() -> Files:
    tensors = {"weight": torch.ones(2, 3), "bias": torch.zeros(2, dtype=torch.float16)}
    zipped, legacy = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": tensors, "epoch": 3, "arguments": {"lr": 0.1}}, zipped)
    torch.save(
        {f"module.{name}": tensor for name, tensor in tensors.items()}, legacy, _use_new_zipfile_serialization=False
    )
    return {
        "a.safetensors": safetensors_bytes(tensors, {"epoch": "2"}),
        "zipped.pt": zipped.getvalue(),
        "legacy.pth": legacy.getvalue(),
    }


def _read_weights(folder: Path, name: str) -> None:
    weights.fit_weights(torch.nn.Linear(3, 2), weights.read_weights(folder / name), name, partial=True)


def _network() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Linear(3, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def _checkpoints() -> Files:
    with tempfile.TemporaryDirectory() as folder:
        model, optimizer = _network()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        saver = checkpoint.Checkpoint(RunWriter(Path(folder)), model, optimizer, None)
        saver.save(checkpoint.Progress(step=3, file_sizes={"steps.csv": 4}))
        return {"checkpoints/last.pt": (Path(folder) / "checkpoints/last.pt").read_bytes(), "steps.csv": b"a,b\n"}


def _read_checkpoint(folder: Path, name: str) -> None:
    checkpoint.Checkpoint(RunWriter(folder), *_network(), None).restore(torch.device("cpu"))
    checkpoint.restore_model(folder, _network()[0], torch.device("cpu"))


def _quietly_cached(folder: Path, action: Callable[[], object]) -> None:
    with patch.dict(os.environ, SNELLEN_CACHE=str(folder)), contextlib.redirect_stderr(io.StringIO()):
        action()


def _disk_cache() -> Files:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        (folder / "photo.png").write_bytes(_images()["rgb.png"])
        _quietly_cached(folder, lambda: _fetch(folder))
        with sqlite3.connect(folder / "pixels" / "index.sqlite") as index:
            index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            row = index.execute("SELECT segment, start, length, facts FROM entries").fetchone()
        files = {path.name: path.read_bytes() for path in (folder / "pixels").iterdir() if path.suffix != ".sqlite-shm"}
        return {
            "photo.png": _images()["rgb.png"],
            "index.sqlite": files["index.sqlite"],
            "row.json": json.dumps(row).encode(),
            "pixels": files[row[0]],
        }


def _fetch(folder: Path) -> disk_cache.Entry:
    return disk_cache.DiskCache(64).fetch(folder / "photo.png", "rgb", lambda path: disk_cache.Entry(PIXELS, (1, 2)))


def _read_disk_cache(folder: Path, name: str) -> None:
    """Whatever the cache holds, the pixels are right, unless an entry was forged with its checksum."""
    pixels = folder / "cache" / "pixels"
    pixels.mkdir(parents=True, exist_ok=True)
    for file in [*pixels.iterdir(), *pixels.parent.glob("hashes/*")]:
        file.unlink(missing_ok=True)  # a connection that is closed meanwhile removes some
    segment = json.loads(_disk_cache_seeds()["row.json"])[0]
    shutil.copy(folder / "index.sqlite", pixels)
    shutil.copy(folder / "pixels", pixels / segment)
    if name == "row.json":
        _forge(pixels, (folder / name).read_bytes())
    with patch.dict(os.environ, SNELLEN_CACHE=str(folder / "cache")), contextlib.redirect_stderr(io.StringIO()):
        entry = _fetch(folder)
    assert name == "row.json" or entry.pixels.equal(PIXELS)


def _forge(pixels: Path, row: bytes) -> None:
    """Puts a row with a valid checksum into the index; nothing if it is not a row of four."""
    try:
        segment, start, length, facts = json.loads(row)
        data = (pixels / segment).read_bytes()[start : start + length]
        with sqlite3.connect(pixels / "index.sqlite") as index:
            (key,) = index.execute("SELECT key FROM entries").fetchone()
            checksum = zlib.crc32(data, zlib.crc32(facts.encode(), zlib.crc32(key)))
            values = (segment, start, length, checksum, facts)
            index.execute("UPDATE entries SET segment = ?, start = ?, length = ?, checksum = ?, facts = ?", values)
    except Exception:
        return


_disk_cache_seeds = cache(_disk_cache)


KEYS = [bytes([number] * 16) for number in range(3)]


def _hashes() -> Files:
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, SNELLEN_CACHE=folder):
        kept_hashes.keep({key: 32 * f"{number:02x}" for number, key in enumerate(KEYS)})
        return {"hashes/index.sqlite": (Path(folder) / "hashes/index.sqlite").read_bytes()}


def _read_hashes(folder: Path, name: str) -> None:
    def use() -> None:
        known = kept_hashes.find(KEYS)
        assert all(len(bytes.fromhex(digest)) == 32 for digest in known.values())
        kept_hashes.keep({KEYS[0]: 64 * "0"})

    _quietly_cached(folder, use)


def _shards() -> Files:
    """An index with its shard, and a tar file as webdataset writes them, gathered without an index."""
    with tempfile.TemporaryDirectory() as parent:
        data, out = Path(parent) / "data", Path(parent) / "out"
        for label in ("cat", "dog"):
            (data / label).mkdir(parents=True)
            PHOTO.save(data / label / "photo.png")
        shard(data, out, console=Console(quiet=True))
        files = {file.name: file.read_bytes() for file in out.iterdir()}
    foreign = io.BytesIO()
    with tarfile.open(fileobj=foreign, mode="w") as tar:
        for name, content in (("a.png", _saved(PHOTO, "PNG")), ("a.cls", b"cat"), ("b.json", b'{"label": "dog"}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return {**files, "foreign.tar": foreign.getvalue()}


def _read_shards(folder: Path, name: str) -> None:
    if name == "foreign.tar":
        with (folder / name).open("rb") as file:
            scan.scan([(shard_index.Shard(name, (folder / name).stat().st_size), file)])
        return
    shard_sources._opened.cache_clear()
    root = shard_sources.data_path(folder)
    for file in files_below(root):
        with contextlib.suppress(OSError):  # which says that contents have changed since the index was written
            (root / file).read_bytes()


_YAML = b"!!set !!int !!float !!bool !!timestamp !!binary & * << ? | > - : # [ ] { } null ~ .inf .nan 0x 1:1 2001-1-1"
_FIELDS = b"task name epochs model optimizer lr data classes method loss settings seeds fractions a: &a *a [*a,*a]"
_TAR = b'ustar 00000000 ../x /etc/x 77777777777 x g L K 5 2 facts shards entry names [["a.tar",1]] .cls .json'
_CSV = b'path label split group val test "" , ; \t " \n \r'
_CLASS = b'name index value colour rgb r g b ignored ignore void true #010203 , ; : \t 0 1 2 " \n # a,b;name'
_JSON = b'classes counts root train validation null -1 1.5 [] {} "" [[[[ "counts":3 "classes":4 1e999 true format epoch'
_PICKLE = b"c__builtin__\neval\n cos\nsystem\n R . ctorch\n_utils _rebuild_tensor_v2 FloatStorage cpu"
_NPY = b"'descr' '|O' '<f4' '<i8' 'shape' (3,) (-1,) (1,) () (10000000000000,) 'fortran_order' True epoch.npy rows.npy"
_RECIPE_TEXT = [text.read_yaml, text.parse_yaml, text._mapping, text._check_size, load.read_fields, load.validate]
_RECIPE_FIELDS = [load.parse_overrides, load.apply_overrides, load.explain, load._as_field, load._fields_at]
_DIRECTORY = [directory.RunDirectory, directory.array_of, directory._require]
_BANDS = [
    bands.tiff_header,
    bands.TiffHeader,
    bands.Bands.__init__,
    bands.Bands.read,
    bands.Bands._bytes,
    bands.over_white,
]
_ONNX = (
    b"snellen.format snellen.classes snellen.task snellen.recipe snellen.data images Slice Loop location com.microsoft"
)
_ZIPS = dict.fromkeys((".pt", ".npz"), with_zip_checksums)


PARSERS = {
    "recipe": Parser(
        _recipes,
        _read_recipe,
        [*_RECIPE_TEXT, *_RECIPE_FIELDS, fields, wording],
        (_YAML + b" " + _FIELDS).split(b" "),
    ),
    "table": Parser(_tables, _read_table, [table], _CSV.split(b" "), unchanged=LISTED),
    "classes": Parser(_class_files, _read_classes, [class_files, classes.build_table], _CLASS.split(b" ")),
    "image": Parser(
        _images, _read_image, [decode, *_BANDS], (b"IHDR", b"IDAT", b"tRNS", b"Exif\0\0"), {".png": with_png_checksums}
    ),
    "mask": Parser(_masks, _read_mask, [mask_decode], (b"IHDR", b"PLTE", b"tRNS"), {".png": with_png_checksums}),
    "run": Parser(
        _run,
        _read_run,
        [*_DIRECTORY, record.read_predictions, record.by_epoch, record.read_snapshots, kind_named, validated],
        (_JSON + b" " + _NPY).split(b" "),
        _ZIPS | {".safetensors": with_header_length},
    ),
    "mask-run": Parser(
        _mask_run,
        _read_run,
        [*_DIRECTORY, mask_record.read_predictions, mask_record.by_epoch, mask_record.read_snapshots],
        (_JSON + b" " + _NPY).split(b" "),
        _ZIPS | {".safetensors": with_header_length},
    ),
    "upload": UPLOAD,
    "request": REQUEST,
    "weights": Parser(
        _weights,
        _read_weights,
        [weights.read_weights, weights.fit_weights, weights._unwrapped, weights._best_names],
        _PICKLE.split(b" "),
        _ZIPS | {".safetensors": with_header_length},
    ),
    "checkpoint": Parser(
        _checkpoints,
        _read_checkpoint,
        [checkpoint.Checkpoint.restore, checkpoint.restore_model, checkpoint._reading.__wrapped__],
        _PICKLE.split(b" "),
        _ZIPS,
    ),
    "disk-cache": Parser(
        _disk_cache_seeds,
        _read_disk_cache,
        [disk_cache.DiskCache, segments.Segments],
        (b'".."', b"[[3, 16, 24], [0, 1, 2]]"),
        unchanged=("photo.png",),
    ),
    "onnx": Parser(onnx_files, read_onnx_file, [wire, Metadata, OnnxFile], _ONNX.split(b" ")),
    "hashes": Parser(_hashes, _read_hashes, [kept_hashes]),
    "shards": Parser(
        _shards,
        _read_shards,
        [shard_index, scan, opened],
        _TAR.split(b" "),
        {".safetensors": with_header_length},
    ),
}
