"""The hubs that published weights come from: where there is no way to one, that is said at once."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_PATIENCE = 1.5  # seconds for a name's address and a connection
_PORTS = {"http": 80, "https": 443}


class UnreachableHubError(Exception):
    """There is no way to a hub, and the file is not in the cache. The message says both in words."""


@contextmanager
def hugging_face() -> Iterator[None]:
    """Fetches of timm and smp within go to the hub quietly; without a connection only to what is in its cache.

    Raises UnreachableHubError for what is in neither, without the client's many attempts.
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
            f"no connection to {constants.ENDPOINT}, and nothing of it in {constants.HF_HUB_CACHE}"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = offline
        logger.setLevel(level)


def check_torch_hub(url: str) -> None:
    """Raises UnreachableHubError where torch's cache does not hold the file of `url` and there is no way to it."""
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not (folder / Path(urlsplit(url).path).name).is_file() and not reachable(url):
        raise UnreachableHubError(f"no connection to {urlsplit(url).netloc}, and nothing of it in {folder}")


def reachable(url: str) -> bool:
    """Whether a connection to the server of `url`, or to the proxy in its place, comes about within a moment."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    connected = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=_PATIENCE).close()
        except OSError:
            return
        connected.set()

    # The look-up of a name knows no time limit, so that a thread waits for it.
    thread = threading.Thread(target=connect, name="snellen-hub", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return connected.is_set()
