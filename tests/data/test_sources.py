"""Layouts that users have, and the messages about those that cannot be used."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from snellen.data.fingerprint import share_of_hash, text_hash
from snellen.data.listing import DataSpec, ImageSet
from snellen.data.sources import labelled_images, list_images, read_images
from snellen.data.split import validation_rows
from snellen.errors import UserError


def write(path: Path, seed: int = 0, size: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(abs(hash((path.name, str(path.parent.name), seed)))).integers(
        0, 256, (size, size, 3)
    )
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def counts(images: ImageSet) -> tuple[int, int]:
    return len(images.train), len(images.validation)


def labels(images: ImageSet) -> dict[str, str]:
    return {sample.path: images.classes[sample.label] for sample in (*images.train, *images.validation)}


@pytest.mark.parametrize(("train", "validation"), [("train", "val"), ("Train", "test"), ("training", "valid")])
def test_class_folders_with_a_split(tmp_path: Path, train: str, validation: str) -> None:
    for side, number in ((train, 3), (validation, 2)):
        for name in ("cat", "dog"):
            for n in range(number):
                write(tmp_path / side / name / f"{n}.png", seed=len(side))
    (tmp_path / train / "cat" / "deeper").mkdir()
    write(tmp_path / train / "cat" / "deeper" / "x.png")
    (tmp_path / train / "cat" / "notes.txt").write_text("no image")
    images = read_images(tmp_path, DataSpec())
    assert counts(images) == (7, 4)
    assert images.classes == ("cat", "dog")
    assert labels(images)[f"{train}/cat/deeper/x.png"] == "cat"
    assert images.split == "split as given"
    assert f"1 file in {train}/ that is not an image was skipped (1 .txt)" in images.notes


def test_classes_are_sorted_in_natural_order(tmp_path: Path) -> None:
    for name in ("10", "2", "1"):
        for n in range(4):
            write(tmp_path / name / f"{n}.png")
    assert read_images(tmp_path, DataSpec()).classes == ("1", "2", "10")


def test_the_references_flat_folders(tmp_path: Path) -> None:
    for n in range(4):
        for label in (7, 12):
            write(tmp_path / "train_50" / f"{label}_{n}.png")
            write(tmp_path / "val_50" / f"{label}_{n}.png", seed=1)
    images = read_images(tmp_path, DataSpec())
    assert counts(images) == (8, 8)
    assert images.classes == ("7", "12")
    assert images.layout == "flat files with the class in the name in train_50/ and val_50/"


def test_the_references_table(tmp_path: Path) -> None:
    """office/{train,val}/ holding images, with office/train.csv and val.csv of id, filename, label."""
    for side in ("train", "val"):
        names = [f"{label}{n:05d}.jpg" for label in ("Bike", "Mug") for n in range(3)]
        for name in names:
            write(tmp_path / side / name, seed=len(side))
        rows = [{"id": i, "filename": name, "label": name[:-9]} for i, name in enumerate(names)]
        pd.DataFrame(rows).to_csv(tmp_path / f"{side}.csv", index=False)
    images = read_images(tmp_path, DataSpec())
    assert counts(images) == (6, 6)
    assert images.classes == ("Bike", "Mug")


def test_a_table_next_to_the_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """office/train.csv itself, with the images in office/train/."""
    names = [f"{label}_{n}.jpg" for label in ("Bike", "Mug") for n in range(5)]
    for name in names:
        write(tmp_path / "office" / "train" / name)
    rows = [{"id": i, "filename": name, "label": name[:-6]} for i, name in enumerate(names)]
    pd.DataFrame(rows).to_csv(tmp_path / "office" / "train.csv", index=False)
    monkeypatch.chdir(tmp_path)
    images = read_images("office/train.csv", DataSpec(validation_share=0.3))
    assert set(labels(images)) == set(names)
    assert images.root == Path("office/train")
    assert not images.notes or "is not read" not in images.notes[0]
    (tmp_path / "office" / "val.csv").write_text("filename,label\n")
    assert any(
        "val.csv next to train.csv is not read" in note for note in read_images("office/train.csv", DataSpec()).notes
    )
    (tmp_path / "office" / "train" / names[0]).unlink()
    with pytest.raises(
        UserError, match=rf"line 2: '{names[0]}' does not exist \(searched in office and office/train\)"
    ):
        read_images("office/train.csv", DataSpec())


def test_a_table_with_an_empty_group(tmp_path: Path) -> None:
    for n in range(4):
        write(tmp_path / f"{n}.png")
    (tmp_path / "t.csv").write_text("path,label,patient\n0.png,a,x\n1.png,a,\n2.png,b,y\n3.png,b,z\n")
    with pytest.raises(UserError, match=r"t.csv, line 3: the group \(column 'patient'\) is empty"):
        read_images(tmp_path / "t.csv", DataSpec(group="patient"))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables(tmp_path: Path, suffix: str) -> None:
    rows = []
    for n in range(8):
        path = write(tmp_path / "photos" / f"ünïcode {n}.png")
        split = "train" if n < 6 else "val"
        rows.append({"Image": f"photos/{path.name}", "species": "ab"[n % 2], "Split": split, "animal": f"a{n // 2}"})
    table, frame = tmp_path / f"table{suffix}", pd.DataFrame(rows)
    if suffix == ".parquet":
        frame.to_parquet(table)
    else:
        frame.to_csv(table, index=False, sep="\t" if suffix == ".tsv" else ",")
    images = read_images(table, DataSpec(group="animal"))
    assert counts(images) == (6, 2)
    assert {sample.group for sample in images.validation} == {"a3"}


def test_groups_stay_whole(tmp_path: Path) -> None:
    for patient in range(30):
        for n in range(3):
            write(tmp_path / ("ill" if patient % 2 else "well") / f"patient{patient:02d}_{n}.png")
    images = read_images(tmp_path, DataSpec(group=r"(patient\d+)_", validation_share=0.3))
    training_groups, validation_groups = (
        {sample.group for sample in samples} for samples in (images.train, images.validation)
    )
    assert training_groups
    assert validation_groups
    assert not training_groups & validation_groups


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text("0123456789abcdef", min_size=16, max_size=16), min_size=40, max_size=80, unique=True), st.randoms()
)
def test_adding_images_moves_none(hashes: list[str], random: object) -> None:
    labels = ["ab"[int(h[0], 16) % 2] for h in hashes]
    before, _ = validation_rows(labels[:30], hashes[:30], [None] * 30, 0.3)
    after, _ = validation_rows(labels, hashes, [None] * len(hashes), 0.3)
    by_rule = {row for row in range(30) if share_of_hash(hashes[row]) < 0.3}
    if before == by_rule:  # no class had to be given its first image
        assert before == {row for row in after if row < 30}


def test_split_share_is_kept() -> None:
    hashes = [text_hash(str(n)) for n in range(4000)]
    rows, notes = validation_rows(["a", "b"] * 2000, hashes, [None] * 4000, 0.15)
    assert abs(len(rows) / 4000 - 0.15) < 0.02
    assert notes == []


def test_leaks_are_reported(tmp_path: Path) -> None:
    for side in ("train", "val"):
        for name in ("a", "b"):
            for n in range(3):
                write(tmp_path / side / name / f"{n}.png", seed=len(side))
    (tmp_path / "val" / "a" / "copy.png").write_bytes((tmp_path / "train" / "a" / "0.png").read_bytes())
    notes = read_images(tmp_path, DataSpec()).notes
    assert notes[0].startswith("1 validation image is also among the training images")


def test_frames_of_a_video_are_reported(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        scene = generator.integers(0, 256, (16, 16, 3)).astype(float)
        for n in range(30):
            scene = np.clip(scene + generator.normal(0, 6, scene.shape), 0, 255)
            if n % 10 == 0:
                scene = generator.integers(0, 256, (16, 16, 3)).astype(float)
            path = tmp_path / name / f"frame{n:03d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(scene.astype(np.uint8)).save(path)
    assert any("data.group" in note for note in read_images(tmp_path, DataSpec()).notes)


def test_fingerprint_depends_on_content_and_class(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for n in range(5):
            write(tmp_path / name / f"{n}.png")
    first = read_images(tmp_path, DataSpec()).fingerprint
    assert read_images(tmp_path, DataSpec()).fingerprint == first
    write(tmp_path / "a" / "0.png", seed=9)
    assert read_images(tmp_path, DataSpec()).fingerprint != first


def make_bad(kind: str, root: Path) -> Path:
    for name in ("cat", "dog"):
        for n in range(4):
            write(root / "train" / name / f"{n}.png")
            write(root / "val" / name / f"{n}.png", seed=1)
    if kind == "empty class":
        (root / "train" / "bird").mkdir()
    elif kind == "unseen class":
        write(root / "val" / "cart" / "1.png")
    elif kind == "one class":
        return write(root / "alone" / "cat" / "1.png").parent.parent
    elif kind == "no images":
        (root / "nothing").mkdir()
        return root / "nothing"
    elif kind == "missing path":
        (root / "t.csv").write_text("path,label\ntrain/cat/0.png,cat\ntrain/cat/77.png,cat\n")
        return root / "t.csv"
    elif kind == "no label column":
        (root / "t.csv").write_text("path,kind\ntrain/cat/0.png,cat\n")
        return root / "t.csv"
    elif kind == "empty label":
        (root / "t.csv").write_text("path,label\ntrain/cat/0.png,\n")
        return root / "t.csv"
    elif kind == "unknown split":
        (root / "t.csv").write_text("path,label,split\ntrain/cat/0.png,cat,tarin\n")
        return root / "t.csv"
    elif kind == "no class in the name":
        write(root / "flat" / "holiday.png")
        return root / "flat"
    elif kind == "misspelt":
        return root / "trian"
    elif kind == "unknown set":
        return Path("torchvision:CIFAR11")
    elif kind == "not a table":
        (root / "t.parquet").write_bytes(b"nonsense")
        return root / "t.parquet"
    return root


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty class", "bird: no images in this class folder"),
        ("unseen class", "class 'cart' is never seen in training.*Did you mean 'cat'"),
        ("one class", "only one class"),
        ("no images", "no images"),
        ("missing path", r"t.csv, line 3: 'train/cat/77.png' does not exist"),
        ("no label column", "no column of classes found among path, kind"),
        ("empty label", r"t.csv, line 2: the class is empty"),
        ("unknown split", "split 'tarin' is neither"),
        ("no class in the name", "look unlabelled"),
        ("misspelt", "Did you mean '.*train'"),
        ("unknown set", "no such set"),
        ("not a table", "not a readable table"),
    ],
)
def test_bad_sources_are_explained(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_images(str(make_bad(kind, tmp_path)), DataSpec())


def test_evaluation_data_must_know_the_classes(tmp_path: Path) -> None:
    for name in ("cat", "bird"):
        write(tmp_path / name / "1.png")
    with pytest.raises(UserError, match="has no class 'bird'"):
        labelled_images(tmp_path, DataSpec(), ["cat", "dog"])
    images = labelled_images(tmp_path, DataSpec(), ["cat", "dog", "bird"])
    assert counts(images) == (0, 2)
    assert labels(images) == {"bird/1.png": "bird", "cat/1.png": "cat"}


def test_images_by_file_folder_and_glob(tmp_path: Path) -> None:
    expected = {write(tmp_path / "a" / f"{n}.png") for n in range(3)} | {write(tmp_path / "a" / "b" / "c.jpg")}
    write(tmp_path / "a" / ".hidden" / "no.png")
    result = list_images([tmp_path / "a", str(tmp_path / "a" / "*.png"), tmp_path / "a" / "0.png"])
    assert set(result) == expected
    assert len(result) == 4
    with pytest.raises(UserError, match="no images"):
        list_images([str(tmp_path / "*.png")])


def test_torchvisions_sets_from_local_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST's own file format, written by hand where torchvision looks for it."""
    raw = tmp_path / "downloads" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for side, number in (("train", 30), ("t10k", 20)):
        pixels = generator.integers(0, 256, (number, 28, 28), dtype=np.uint8)
        for kind, header, data in (
            ("images-idx3", struct.pack(">IIII", 0x803, number, 28, 28), pixels.tobytes()),
            ("labels-idx1", struct.pack(">II", 0x801, number), bytes(n % 10 for n in range(number))),
        ):
            (raw / f"{side}-{kind}-ubyte").write_bytes(header + data)
            (raw / f"{side}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + data))
    monkeypatch.setenv("SNELLEN_DATA", str(tmp_path))
    images = read_images("torchvision:mnist", DataSpec())
    assert counts(images) == (30, 20)
    assert len(images.classes) == 10
    last = np.asarray(Image.open(images.root / "val" / images.classes[9] / "000019.png"))
    assert (last[..., 0] == pixels[19]).all()


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "car", "plane"):
        for n in range(5):
            write(tmp_path / name / f"{n}.png")
    assert read_images(tmp_path, DataSpec()).classes == ("car", "plane", "train")


def test_class_names_may_begin_like_parts_of_a_split(tmp_path: Path) -> None:
    """As of Places365: train_interior, train_station, and test_kitchen made up."""
    names = ["bedroom", "test_kitchen", "train_interior", "train_station"]
    for name in names[:1] + names[2:]:
        for n in range(4):
            write(tmp_path / name / f"{n}.png")
    assert read_images(tmp_path, DataSpec()).classes == ("bedroom", "train_interior", "train_station")
    for n in range(4):
        write(tmp_path / "test_kitchen" / f"{n}.png")
    assert read_images(tmp_path, DataSpec()).classes == tuple(names)
    for side in ("train", "val"):
        for name in names:
            write(tmp_path / "split" / side / name / "1.png", seed=len(side))
    images = read_images(tmp_path / "split", DataSpec())
    assert images.classes == tuple(names)
    assert counts(images) == (4, 4)
    write(tmp_path / "both" / "train_a" / "a" / "1.png")
    write(tmp_path / "both" / "train_b" / "a" / "1.png")
    write(tmp_path / "both" / "val" / "a" / "1.png")
    with pytest.raises(UserError, match=r"train_a and train_b look like the same part.*into a folder train/"):
        read_images(tmp_path / "both", DataSpec())


def test_class_names_with_digits_of_other_kinds(tmp_path: Path) -> None:
    for name in ("10²", "9", "٣", "10"):
        for n in range(4):
            write(tmp_path / name / f"{n}.png")
    assert read_images(tmp_path, DataSpec()).classes == ("٣", "9", "10", "10²")


def test_linked_folders_are_read(tmp_path: Path) -> None:
    for n in range(4):
        write(tmp_path / "store" / "cats" / f"{n}.png")
        write(tmp_path / "store" / "dogs" / "old" / f"{n}.png")
        write(tmp_path / "data" / "cat" / f"more{n}.png")
    (tmp_path / "data" / "cat" / "linked").symlink_to(tmp_path / "store" / "cats")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "store" / "dogs")
    (tmp_path / "data" / "cat" / "linked" / "loop").symlink_to(tmp_path / "data")  # leads back above itself
    (tmp_path / "store" / "cats" / "up").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "cat" / "self.png").symlink_to("self.png")
    (tmp_path / "data" / "cat" / "gone.png").symlink_to("nowhere.png")
    images = read_images(tmp_path / "data", DataSpec(validation_share=0.3))
    assert set(labels(images)) == {
        *(f"cat/more{n}.png" for n in range(4)),
        *(f"cat/linked/{n}.png" for n in range(4)),
        *(f"dog/old/{n}.png" for n in range(4)),
    }


@pytest.mark.parametrize(
    "names",
    [
        ["IMG_0001.jpg", "IMG_0002.jpg", "IMG_0003.jpg"],
        ["IMG_20240131_1200.jpg", "IMG_20240201_0900.jpg", "DSC_0044.jpg"],
        ["n0153282900000005.jpg", "n0153282900000010.jpg", "n0155899300000002.jpg"],
    ],
)
@pytest.mark.parametrize("folder", [".", "train"])
def test_images_without_labels_are_reported_as_such(tmp_path: Path, names: list[str], folder: str) -> None:
    for name in names:
        write(tmp_path / folder / name)
    with pytest.raises(UserError, match=r"look unlabelled.*snellen pretrain .*one folder per class"):
        read_images(tmp_path, DataSpec())
    if names[0].startswith("n0"):  # where the names say classes after all
        assert len(read_images(tmp_path, DataSpec(name_pattern=r"(?P<class>n\d{8})")).classes) == 2
