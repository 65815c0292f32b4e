"""A file that does not answer is named while a run waits for it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from snellen import UserError
from snellen.data import stalled
from snellen.data.decode import decode
from snellen.data.fingerprint import content_hash


@pytest.mark.parametrize("reader", ["hashed", "decoded"])
def test_a_file_that_does_not_answer_is_named(
    reader: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stalled, "_SECONDS", 0.1)
    monkeypatch.setattr(stalled, "_watcher", None)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    failures: list[UserError] = []

    def read() -> None:
        try:
            content_hash(pipe) if reader == "hashed" else decode(pipe)
        except UserError as error:  # a pipe cannot be read twice
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    said = ""
    while "pipe.png: not read after" not in said:
        time.sleep(0.01)
        said += capfd.readouterr().err
    assert thread.is_alive(), "it still waits"
    pipe.write_bytes((digits / "0" / "0.png").read_bytes())
    thread.join()
    assert len(failures) == (reader == "decoded")
