"""A web server for a folder: byte ranges, and whatever else a test wants it to do."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Server:
    """url: of the folder. ranges: whether parts of files are sent. failures: what happens to the next requests, an HTTP
    code each, or 0 to cut the connection. requests: (path, bytes sent) of each GET that was answered."""

    folder: Path
    url: str = ""
    ranges: bool = True
    failures: list[int] = field(default_factory=list)
    requests: list[tuple[str, int]] = field(default_factory=list)

    def sent(self, name: str) -> int:
        """Bytes of a file that were sent."""
        return sum(size for path, size in self.requests if path.endswith(name))


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serves the files of a folder, on a free port of this machine."""
    served = Server(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(with_content=False)

        def do_GET(self) -> None:
            self.answer(with_content=True)

        def answer(self, with_content: bool) -> None:
            file = folder / self.path.lstrip("/")
            failure = served.failures.pop(0) if served.failures else None
            if failure == 0:
                self.close_connection = True
                self.connection.close()
                return
            if failure is not None or not file.is_file():
                self.send_response(failure or 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            size = file.stat().st_size
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if served.ranges else None
            start, end = (int(wanted[1]), min(int(wanted[2]) + 1, size)) if wanted else (0, size)
            if wanted:
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            else:
                self.send_response(200)
                self.send_header("Accept-Ranges", "bytes" if served.ranges else "none")
            self.send_header("Content-Length", str(end - start))
            self.send_header("ETag", f'"{file.stat().st_mtime_ns}"')
            self.end_headers()
            if with_content:
                with file.open("rb") as opened:
                    opened.seek(start)
                    self.wfile.write(opened.read(end - start))
                served.requests.append((self.path, end - start))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
