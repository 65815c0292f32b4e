"""The one place that writes into a run's directory; `directory` is the one that reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from snellen.files import replacing, write_json, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn


class RunWriter:
    """Writes the files of one run, each whole or not at all, except append-only ones. Names are relative to `path`.

    Raises UserError, naming the file, if the disk is full or the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def text(self, name: str, text: str) -> None:
        """UTF-8 text."""
        write_text(self.path / name, text)

    def json(self, name: str, value: Mapping[str, Any]) -> None:
        """A JSON object; NaN and infinity are refused."""
        write_json(self.path / name, dict(value))

    def arrays(self, name: str, arrays: Mapping[str, NDArray[Any]], compress: bool = False) -> None:
        """An .npz file."""
        save: Any = np.savez_compressed if compress else np.savez
        with replacing(self.path / name) as temporary, temporary.open("wb") as file:
            save(file, **arrays)

    def weights(self, name: str, model: nn.Module, metadata: dict[str, str]) -> None:
        """The weights of a network as safetensors, contiguous and on the CPU, so that any tool can read them."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {
            key: tensor.detach().cpu().contiguous().clone() for key, tensor in model.state_dict().items()
        }
        with replacing(self.path / name) as temporary:
            save_file(tensors, temporary, metadata)

    def state(self, name: str, state: Mapping[str, Any]) -> None:
        """Tensors and plain values, readable by torch.load with weights_only=True."""
        import torch

        with replacing(self.path / name) as temporary, temporary.open("wb") as file:
            torch.save(dict(state), file)  # given a path, it would not say why it failed

    def growing(self, name: str, size: int) -> IO[bytes]:
        """An append-only file, truncated to `size` bytes and opened at its end."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        file = path.open("ab")
        file.truncate(size)
        file.seek(0, 2)
        return file

    def remove(self, name: str) -> None:
        """Removes a file if it exists."""
        (self.path / name).unlink(missing_ok=True)
