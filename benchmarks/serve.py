"""Speed of `snellen serve FILE.onnx`: start to the first answer, and clients against a loop in one process.

The loop decodes the same bytes and runs the same file in as many threads as the server has, one image at a
time. Rounds in turn, medians and ranges. The same for a run, whose loop is that of its exported file.

    python benchmarks/serve.py FILE.onnx photos/ --rounds 5
    python benchmarks/serve.py FILE.onnx photos/ --served RUN
"""

from __future__ import annotations

import argparse
import http.client
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snellen.data.spread import spread
from snellen.exporting.onnx_file import OnnxFile
from snellen.serving.upload import Upload


def photographs(folder: Path, most: int) -> list[bytes]:
    """The bytes of that many files below a folder, evenly spread."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in {".jpg", ".jpeg", ".png"})
    return [file.read_bytes() for file in spread(files, most)]


def decoded(content: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) uint8."""
    return Upload(content, 10**8).pixels()


def start(file: Path) -> tuple[subprocess.Popen[str], int]:
    """A server, and its port."""
    command = [sys.executable, "-m", "snellen", "serve", str(file), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    return server, int(server.stderr.readline().split("http://127.0.0.1:")[1].split("/")[0])


def ask(connection: http.client.HTTPConnection, content: bytes) -> float:
    """Seconds from the request to its answer."""
    began = time.perf_counter()
    connection.request("POST", "/predict", content)
    response = connection.getresponse()
    response.read()
    assert response.status == 200
    return time.perf_counter() - began


def first_answer(file: Path, content: bytes) -> tuple[float, float]:
    """Seconds from the command to its first answer, and of processor time until it has stopped after that."""
    began = time.perf_counter()
    server, port = start(file)
    try:
        ask(http.client.HTTPConnection("127.0.0.1", port), content)
        seconds = time.perf_counter() - began
    finally:
        server.terminate()
        _, _, usage = os.wait4(server.pid, 0)
    return seconds, usage.ru_utime + usage.ru_stime


def served(port: int, images: list[bytes], clients: int) -> tuple[float, list[float]]:
    """Images per second, and the seconds of each."""

    def client(number: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        return [ask(connection, content) for content in images[number::clients]]

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        seconds = [value for values in pool.map(client, range(clients)) for value in values]
    return len(images) / (time.perf_counter() - began), seconds


def looped(file: OnnxFile, images: list[bytes], threads: int) -> float:
    """Images per second without a server."""
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda content: file.run(decoded(content)[None]), images))
    return len(images) / (time.perf_counter() - began)


def batched(file: OnnxFile, content: bytes, size: int, count: int) -> float:
    """Images per second of one thread with `size` images per call, without decoding."""
    images = np.repeat(decoded(content)[None], size, axis=0)
    began = time.perf_counter()
    for _ in range(count // size):
        file.run(images)
    return count // size * size / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a classifier's exported file")
    parser.add_argument("photos", type=Path, help="a folder of photographs, at any depth")
    parser.add_argument("--served", type=Path, help="what is served in place of the file, such as its run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    images = photographs(arguments.photos, arguments.images)
    sizes = [decoded(content).shape[:2] for content in images]
    megapixels = np.mean([height * width for height, width in sizes]) / 1e6
    print(f"{len(images)} photographs of {len(set(sizes))} sizes, {megapixels:.2f} megapixels")
    source = arguments.served or arguments.file
    starts = [first_answer(source, images[0]) for _ in range(arguments.rounds)]
    for what, values in zip(("seconds", "seconds of processor time"), zip(*starts, strict=True), strict=True):
        print(f"to the first answer: median {np.median(values):.2f} {what}, most {max(values):.2f}, n={len(values)}")
    file = OnnxFile(arguments.file)
    server, port = start(source)
    try:
        served(port, images[:16], arguments.clients)
        rounds = [
            (looped(file, images, os.cpu_count() or 1), *served(port, images, arguments.clients))
            for _ in range(arguments.rounds)
        ]
    finally:
        server.terminate()
        server.wait()
    loop, rate = (np.median([row[column] for row in rounds]) for column in (0, 1))
    shares = [row[1] / row[0] for row in rounds]
    p50, p99 = np.percentile([value for row in rounds for value in row[2]], [50, 99])
    ranges = [f"{min(values):.1f} to {max(values):.1f}" for values in zip(*(row[:2] for row in rounds), strict=True)]
    print(f"loop {loop:.1f} images/s ({ranges[0]}), n={len(rounds)} rounds")
    print(f"{arguments.clients} clients {rate:.1f} images/s ({ranges[1]}), in turns with the loop")
    print(f"share of the loop: median {np.median(shares):.2f}, from {min(shares):.2f} to {max(shares):.2f}")
    print(
        f"latency p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms ({p99 / p50:.1f} times), n={len(rounds) * len(images)}"
    )
    for size in (1, 4, 8):
        file.run(np.repeat(decoded(images[0])[None], size, axis=0))
        speed = np.median([batched(file, images[0], size, 32) for _ in range(arguments.rounds)])
        print(f"one thread, {size} per call: {speed:.1f} images/s, n={arguments.rounds}")


if __name__ == "__main__":
    main()
