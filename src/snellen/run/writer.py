"""The one place that writes into a run's directory; `directory` is the one that reads."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from snellen import ranks
from snellen.files import replacing, write_json, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.utils.tensorboard import SummaryWriter


class RunWriter:
    """Writes the files of one run, each whole or not at all, except append-only ones. Names are relative to `path`.

    Of several processes only the first writes; in the others nothing happens.

    Raises UserError, naming the file, if the disk is full or the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def text(self, name: str, text: str) -> None:
        """UTF-8 text."""
        if ranks.is_first():
            write_text(self.path / name, text)

    def json(self, name: str, value: Mapping[str, Any]) -> None:
        """A JSON object; NaN and infinity are refused."""
        if ranks.is_first():
            write_json(self.path / name, dict(value))

    def arrays(self, name: str, arrays: Mapping[str, NDArray[Any]], compress: bool = False) -> None:
        """An .npz file."""
        if not ranks.is_first():
            return
        save: Any = np.savez_compressed if compress else np.savez
        with replacing(self.path / name) as temporary, temporary.open("wb") as file:
            save(file, **arrays)

    def weights(self, name: str, model: nn.Module, metadata: dict[str, str]) -> None:
        """The weights of a network as safetensors, contiguous and on the CPU, so that any tool can read them."""
        from safetensors.torch import save_file

        state: dict[str, Tensor] = ranks.whole(model.state_dict())
        if not ranks.is_first():
            return
        tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
        with replacing(self.path / name) as temporary:
            save_file(tensors, temporary, metadata)

    def state(self, name: str, state: Mapping[str, Any], previous: str | None = None) -> None:
        """Tensors and plain values, readable by torch.load with weights_only=True.

        previous: the name that a file which is replaced gets.
        """
        import torch

        state = ranks.whole(dict(state))
        if not ranks.is_first():
            return
        keep = None if previous is None else self.path / previous
        with replacing(self.path / name, keep) as temporary, temporary.open("wb") as file:
            torch.save(state, file)  # given a path, it would not say why it failed

    def growing(self, name: str, size: int) -> IO[bytes]:
        """An append-only file, truncated to `size` bytes and opened at its end."""
        if not ranks.is_first():
            return tempfile.TemporaryFile("ab")
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        file = path.open("ab")
        file.truncate(size)
        file.seek(0, 2)
        return file

    def rename(self, name: str, new_name: str) -> None:
        """Renames a file; one of the new name is replaced."""
        if ranks.is_first():
            (self.path / name).replace(self.path / new_name)

    def remove(self, name: str) -> None:
        """Removes a file if it exists."""
        if ranks.is_first():
            (self.path / name).unlink(missing_ok=True)

    def events(self, name: str, step: int) -> SummaryWriter | None:
        """TensorBoard's events in a folder, from optimiser step `step` on; None in processes that write nothing."""
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.path / name), purge_step=step) if ranks.is_first() else None
