"""The hubs of published weights, with an immediate error if a hub cannot be reached."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_TIMEOUT = 1.5  # seconds, for name resolution and connection
_PORTS = {"http": 80, "https": 443}


class UnreachableHubError(Exception):
    """A hub cannot be reached, and the file is not in its cache. The message says both."""


@contextmanager
def hugging_face() -> Iterator[None]:
    """Lets timm and smp download quietly from the hub; without a connection they only use its cache.

    Raises UnreachableHubError for files that are in neither, without the client's many retries.
    """
    from huggingface_hub import constants

    logger = logging.getLogger("huggingface_hub")
    offline, level = constants.HF_HUB_OFFLINE, logger.level
    is_reachable = offline or reachable(constants.ENDPOINT)
    logger.setLevel(logging.CRITICAL)
    constants.HF_HUB_OFFLINE = offline or not is_reachable
    try:
        yield
    except Exception as error:
        if is_reachable:
            raise
        raise UnreachableHubError(
            f"no connection to {constants.ENDPOINT}, and not cached in {constants.HF_HUB_CACHE}"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = offline
        logger.setLevel(level)


def check_torch_hub(url: str) -> None:
    """Raises UnreachableHubError if the file of `url` is not in torch's cache and its server cannot be reached."""
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not (folder / Path(urlsplit(url).path).name).is_file() and not reachable(url):
        raise UnreachableHubError(f"no connection to {urlsplit(url).netloc}, and not cached in {folder}")


def reachable(url: str) -> bool:
    """Whether the server of `url`, or the proxy used for it, accepts a connection within 1.5 seconds."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    connected = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=_TIMEOUT).close()
        except OSError:
            return
        connected.set()

    # Name resolution has no timeout, so a thread waits for it.
    thread = threading.Thread(target=connect, name="snellen-hub", daemon=True)
    thread.start()
    thread.join(_TIMEOUT)
    return connected.is_set()
