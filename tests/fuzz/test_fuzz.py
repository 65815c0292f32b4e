"""The short form of the fuzzing, and the smallest file for each thing that the long form has found."""

from __future__ import annotations

import io
import itertools
import json
import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.fuzz.harness import Parser, fuzz, write_files
from tests.fuzz.parsers import PARSERS

from snellen import UserError
from snellen.data import table
from snellen.data.decode import UnreadableImageError, decode
from snellen.engine.checkpoint import Progress
from snellen.files import write_text
from snellen.recipe.text import parse_yaml
from snellen.run import directory
from snellen.run.claim import locked


@pytest.mark.parametrize("name", PARSERS)
def test_changed_files_are_read_or_refused(name: str) -> None:
    result = fuzz(PARSERS[name], runs=100, seed=1)
    assert not result.findings, [f"{finding.text}\n{finding.name}: {finding.content!r}" for finding in result.findings]
    assert result.lines > 0.6 * result.of_lines


def test_the_harness_finds_what_it_is_for(tmp_path: Path) -> None:
    def read(folder: Path, name: str) -> None:
        content = (folder / name).read_bytes()
        if content.startswith(b"s"):
            (tmp_path / "outside").write_text("")
        if b"fir" not in content:
            raise KeyError

    result = fuzz(Parser(lambda: {"a": b"first line\nsecond line\n"}, read, [read]), 300, 0)
    assert {finding.key.split()[0]: finding.content for finding in result.findings} == {
        "_ForbiddenError": b"s",
        "KeyError": b"",
    }
    assert not (tmp_path / "outside").exists()


def npz(**arrays: object) -> bytes:
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type]
    return data.getvalue()


def saved(value: object) -> bytes:
    data = io.BytesIO()
    torch.save(value, data)
    return data.getvalue()


def compressed(content: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    return data.getvalue()


def with_members_before_the_file(content: bytes) -> bytes:
    """A zip file whose last record says that its directory starts far behind where it does."""
    place = content.rfind(b"PK\5\6") + 16
    return content[:place] + (2**31).to_bytes(4, "little") + content[place + 4 :]


PREDICTIONS = {"probabilities": np.zeros((6, 3), np.float32), "target": np.zeros(6, np.int64), "epoch": np.int64(1)}
REFUSED = [
    ("recipe", "classification.yaml", b"name: !!int ''"),
    ("recipe", "classification.yaml", b"name: !!bool x"),
    ("recipe", "classification.yaml", b"? !!set {a}\n: 1"),
    ("recipe", "classification.yaml", b"epochs: 0x1" + 4000 * b"0"),
    ("recipe", "overrides.txt", b"epochs=!!float ''"),
    ("table", "table.csv", b"path,label,\na"),
    ("table", "table.csv", b"path,label\n" + 300 * b"a" + b",b"),
    ("table", "table.csv", b"path,label" + 60_000 * b",x" + b"\n" + 60_000 * b"a,"),  # minutes
    ("classes", "class_dict.csv", b'name,"\nk'),
    ("classes", "labels.csv", b"class;,\n##"),
    ("classes", "codes.txt", b"0 " + 50_000 * b"1a" + b" 1 2 3 4 5"),  # a minute of backtracking
    ("run", "recipe.yaml", b"\xee"),
    ("run", "data.json", b'{"counts": 3, ' + PARSERS["run"].seeds()["data.json"].replace(b'"counts"', b'"others"')[1:]),
    ("run", "environment.json", 5000 * b"["),
    ("run", "predictions/validation.npz", with_members_before_the_file(npz(**PREDICTIONS))),
    ("run", "predictions/validation.npz", npz(**PREDICTIONS | {"epoch": np.zeros(2, np.int64)})),
    ("run", "predictions/validation.npz", npz(**PREDICTIONS | {"rows": np.full(6, 99)})),
    ("run", "predictions/validation.npz", npz(**PREDICTIONS | {"probabilities": np.zeros(3)})),
    ("run", "snapshots/epoch_0002.npz", npz(features=np.zeros(1), rows=np.zeros(1), probabilities=np.zeros(1))),
    ("mask-run", "predictions/validation.npz", npz(confusion=np.zeros(1), boundary=np.zeros(1), epoch=np.int64(1))),
    ("weights", "zipped.pt", saved({"weight": torch.ones(2, 3, device="meta")})),
    ("weights", "zipped.pt", compressed(saved({"weight": torch.ones(2, 3), "zeros": torch.zeros(10_000)}))),
]


@pytest.mark.parametrize(("parser", "name", "content"), REFUSED, ids=lambda value: str(value)[:30])
def test_the_smallest_files_found_are_refused(parser: str, name: str, content: bytes, tmp_path: Path) -> None:
    write_seeds(parser, tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError):
        PARSERS[parser].read(tmp_path, name)


def write_seeds(parser: str, folder: Path) -> None:
    write_files(folder, PARSERS[parser].seeds())


def test_progress_of_another_type_is_refused(tmp_path: Path) -> None:
    write_seeds("checkpoint", tmp_path)
    state = torch.load(tmp_path / "checkpoints/last.pt", weights_only=True)
    for progress in ({"file_sizes": [1]}, {"file_sizes": {"steps.csv": None}}, {"step": "x"}):
        assert progress.keys() <= vars(Progress()).keys()
        (tmp_path / "checkpoints/last.pt").write_bytes(saved(state | {"progress": progress}))
        with pytest.raises(UserError, match=r"last\.pt: not a checkpoint of this run"):
            PARSERS["checkpoint"].read(tmp_path, "checkpoints/last.pt")


def test_snapshots_with_another_name_are_none(tmp_path: Path) -> None:
    write_seeds("run", tmp_path)
    (tmp_path / "snapshots/epoch_1x.npz").write_bytes(b"")
    PARSERS["run"].read(tmp_path, "snapshots/epoch_0002.npz")


def test_what_sqlite_says_about_a_damaged_index_may_be_no_text(tmp_path: Path) -> None:
    write_seeds("hashes", tmp_path)
    index = tmp_path / "hashes/index.sqlite"
    index.write_bytes(index.read_bytes().replace(b"TABLE hashes", b"TABLE\xffhashes"))
    PARSERS["hashes"].read(tmp_path, "hashes/index.sqlite")


def test_an_entry_of_the_cache_leads_to_no_other_file(tmp_path: Path) -> None:
    write_seeds("disk-cache", tmp_path)
    outside = tmp_path / "outside.pixels"
    outside.write_bytes(bytes(2000))
    os.utime(outside, (1, 1))
    (tmp_path / "row.json").write_text(json.dumps(["../../outside.pixels", 0, 1152, "[[3, 16, 24], [0, 1, 2], []]"]))
    PARSERS["disk-cache"].read(tmp_path, "row.json")
    assert outside.stat().st_mtime == 1


LAUGHS = "".join(f"{b}: &{b} [{8 * f'*{a}, '}]\n" for a, b in itertools.pairwise("abcdefghi"))


@pytest.mark.parametrize(
    "text",
    ["a: &a [x, x, x, x, x, x, x, x]\n" + LAUGHS, f"a: &a {100_000 * 'x'}\nb: [{1000 * '*a, '}]", "a: &a [*a]"],
    ids=["laughs", "long text", "endless"],
)
def test_aliases_that_make_a_recipe_huge_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"aliases|recursive"):
        parse_yaml(text, "recipe")


def test_a_recipe_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "recipe.yaml").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(UserError, match="more than 1 MiB"):
        PARSERS["recipe"].read(tmp_path, "recipe.yaml")


def test_a_few_bytes_of_parquet_that_stand_for_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pa.array(np.zeros(100_000, np.int32))
    columns = {name: pa.DictionaryArray.from_arrays(rows, pa.array([1000 * "a"])) for name in ("path", "class")}
    pq.write_table(pa.table(columns), tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 30_000
    monkeypatch.setattr(table, "free_memory", lambda: 2**26)
    with pytest.raises(UserError, match=r"bomb\.parquet: 100,000 rows, more than fit into memory"):
        table.list_table(tmp_path / "bomb.parquet", table.DataSpec())


def test_a_few_bytes_of_arrays_that_stand_for_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_seeds("run", tmp_path)
    arrays = PREDICTIONS | {"zeros": np.zeros(1_000_000)}
    (tmp_path / "predictions/validation.npz").write_bytes(compressed(npz(**arrays)))
    PARSERS["run"].read(tmp_path, "predictions/validation.npz")
    monkeypatch.setattr(directory, "_LARGEST_ARRAYS", 1_000_000)
    with pytest.raises(UserError, match=r"validation\.npz: damaged.*unpacked it has"):
        PARSERS["run"].read(tmp_path, "predictions/validation.npz")


def test_an_image_is_no_program(tmp_path: Path) -> None:
    """Pillow would give Encapsulated PostScript to Ghostscript, whatever the file's suffix is."""
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    (tmp_path / "program.png").write_bytes(program)
    with pytest.raises(UnreadableImageError, match="not a readable image"):
        decode(tmp_path / "program.png")


def test_links_in_a_run_are_not_written_through(tmp_path: Path) -> None:
    target, run = tmp_path / "target", tmp_path / "run"
    target.write_text("mine")
    (run / "predictions").mkdir(parents=True)
    for name in ("steps.csv", ".lock", "predictions/correct.u8"):
        (run / name).symlink_to(target)
        with pytest.raises(UserError, match=rf"{name}: is a symbolic link"), locked(run):
            pass
        (run / name).unlink()
    assert target.read_text() == "mine"


def test_a_file_is_not_written_through_a_link_of_its_temporary_name(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / f".page.html.{os.getpid()}.{threading.get_ident()}.tmp").symlink_to(tmp_path / "target")
    write_text(tmp_path / "page.html", "text")
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "page.html").is_symlink()
