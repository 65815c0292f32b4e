"""Weights from files and runs, loaded into a backbone layer by layer."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.data.normalization import Normalization
from snellen.errors import UserError
from snellen.run.directory import RunDirectory
from snellen.words import counted, first_line

PUBLISHED = frozenset({"imagenet", "coco"})
"""Names of published weights, which take precedence over files of that name."""
_WRAPPERS = ("state_dict", "model", "model_state_dict", "model_ema", "network", "teacher", "weights")
_PREFIXES = (
    "",
    "backbone.",
    "module.",
    "module.backbone.",
    "model.",
    "encoder.",
    "features.",
    "_orig_mod.",
    "backbone.model.",  # a segmenter's encoder
    "encoder.model.",
    "backbone.model.model.",
    "module.encoder_q.",  # MoCo's authors, versions 1 to 3
    "encoder_q.",
    "module.base_encoder.",
)
_HEADS = ("fc.", "classifier.", "head.", "head_dist.", "heads.", "last_linear.", "AuxLogits.", "aux1.", "aux2.")


@dataclass(frozen=True)
class WeightsReport:
    """The source of the initial weights and how well they fit.

    source: a phrase for people. normalization: that of the weights' training, None if unknown or from scratch. loaded:
    number of loaded tensors. missing, unexpected, mismatched: names of the layers that did not fit. resampled: those
    resampled to this network's image or patch size, by timm's method.
    """

    source: str
    normalization: Normalization | None = None
    loaded: int = 0
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    resampled: tuple[str, ...] = ()

    @property
    def sentence(self) -> str | None:
        """What was loaded and what was not, in a line for people; None if training starts from scratch."""
        if not self.loaded:
            return None
        parts = [f"{counted(self.loaded, 'tensor')} of {self.source}"]
        for names, state in (
            (self.resampled, "resampled to this image size"),
            (self.missing, "missing in the file, which start from scratch"),
            (self.mismatched, "of another shape, which start from scratch"),
            (self.unexpected, "in the file that this network does not have"),
        ):
            parts += [f"{len(names):,} {state} ({_listed(names)})"] if names else []
        return f"weights: {'; '.join(parts)}"


def locate_weights(weights: str) -> tuple[Path, Normalization | None]:
    """The file that `model.weights` refers to, and for a run directory the normalisation of its training."""
    path = Path(weights)
    if not path.is_dir():
        return path, None
    run = RunDirectory(path)
    normalization = Normalization.recorded(run.data["normalization"])
    normalization = replace(normalization, source=f"that of the run {run.name}")
    return path / "checkpoints" / "best.safetensors", normalization


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file or of a state dict saved by torch; nothing in the file is executed.

    Raises UserError if the file is missing or is neither.
    """
    if not path.is_file():
        raise UserError(f"model.weights={path}: no such file. Use a .safetensors file, a state dict, or a run.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"model.weights={path}: not a safetensors file ({error}).") from error
    try:
        value = load_tensors(path, torch.device("cpu"))
    except Exception as error:  # whatever a damaged or foreign file makes torch raise
        raise UserError(
            f"model.weights={path}: not a file of weights that can be read safely: it contains something other "
            "than tensors, or is damaged. Save the network's state_dict(), or better, a .safetensors file."
        ) from error
    return _unwrapped(value, path)


def load_tensors(path: Path, device: torch.device) -> Any:
    """What torch.save wrote to a file: tensors and plain values; nothing in the file is executed.

    Raises ValueError for a compressed file, which torch never writes and whose size in memory is unknown, and whatever
    torch raises for other files.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            if sum(member.file_size for member in file.infolist()) > path.stat().st_size:
                raise ValueError("a compressed file")
    return torch.load(path, map_location=device, weights_only=True)


def load_trained_weights(model: nn.Module, run: RunDirectory, which: str) -> None:
    """Loads all weights saved by a run into its network. Raises UserError, naming the file.

    which: "best" (the chosen epoch) or "last".
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if which not in {"best", "last"}:
        raise UserError(f"which='{which}': expected 'best' or 'last'.")
    path = run.path / "checkpoints" / f"{which}.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: missing; resume the run first: snellen train --resume {run.path}")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        epoch, stem = ("last", "last") if path.stem == "best" else ("chosen", "best")
        other = path.with_name(f"{stem}.safetensors")
        advice = "Train the run again."
        if other.is_file():
            advice = f"To use the weights of the {epoch} epoch instead: cp {other} {path}"
        raise UserError(f"{path}: damaged, for example by an interrupted copy ({error}). {advice}") from error
    try:
        load_all(model, tensors)
    except ValueError as error:
        raise UserError(f"{path}: does not fit the run's recipe: {error}. Was recipe.yaml edited?") from error


def load_all(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Loads the weights of a whole network. Raises ValueError, naming the first layer that does not fit."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(misfit(tensors, model.state_dict()) or first_line(error)) from error


def misfit(tensors: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> str | None:
    """The first layer of a network that does not match its tensors in a file, in words; None if all match."""
    for name, tensor in network.items():
        if name not in tensors:
            return f"the layer {name} is missing in the file"
        if tensors[name].shape != tensor.shape:
            return f"the layer {name} is {tuple(tensors[name].shape)} in the file and {tuple(tensor.shape)} here"
    extra = [name for name in tensors if name not in network]
    return f"the file has a layer {extra[0]}, which the network does not have" if extra else None


def fit_weights(
    backbone: nn.Module, tensors: Mapping[str, Tensor], source: str, partial: bool, new: tuple[str, ...] = ()
) -> WeightsReport:
    """Copies tensors into the backbone's layers of the same name and shape; a classifier in the file is ignored.

    Tensors for another image or patch size (position embeddings, patch embeddings, tables of relative positions) are
    resampled by timm's checkpoint filter for the network, which also handles published names of layers.

    partial: whether to continue if some layers do not fit. new: prefixes of the names of layers that start from
    scratch, whatever the file contains. Raises UserError, with the layers' names, if others do not fit and `partial` is
    false, and always if nothing fits.
    """
    network = {name: tensor for name, tensor in backbone.state_dict().items() if not name.startswith(new)}
    renamed = _best_names(tensors, network)
    renamed = {name: tensor for name, tensor in renamed.items() if not name.startswith(new)}
    in_file = renamed
    if not _all_fit(renamed, network):
        renamed = max(
            (renamed, *_converted(backbone, renamed, tensors)), key=lambda names: len(_fitting(names, network))
        )
    fitting = _fitting(renamed, network)
    mismatched = [
        f"{name} (file {tuple(t.shape)}, network {tuple(network[name].shape)})"
        for name, t in renamed.items()
        if name in network and name not in fitting
    ]
    missing = [name for name in network if name not in renamed and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in renamed if name not in network and not name.startswith(_HEADS)]
    resampled = [name for name, t in fitting.items() if name in in_file and in_file[name].shape != t.shape]
    if not fitting:
        raise UserError(
            f"model.weights={source}: none of its {len(tensors)} tensors fits this backbone. It has "
            f"{_listed(tensors)}; the backbone has {_listed(network)}. Is it another network?"
        )
    if (missing or mismatched or unexpected) and not partial:
        parts = [("missing in the file", missing), ("of another shape", mismatched), ("not in the network", unexpected)]
        details = "; ".join(f"{len(names)} {state}: {_listed(names)}" for state, names in parts if names)
        raise UserError(
            f"model.weights={source}: some layers do not fit: {details}. To load the others anyway: model.partial=true"
        )
    backbone.load_state_dict(fitting, strict=False)
    return WeightsReport(
        source,
        None,
        len(fitting),
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        mismatched=tuple(mismatched),
        resampled=tuple(resampled),
    )


def _fitting(tensors: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t for name, t in tensors.items() if name in network and network[name].shape == t.shape}


def _all_fit(tensors: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> bool:
    """Whether every layer has a tensor, and every tensor a layer, other than those of a classifier."""
    fitting = _fitting(tensors, network)
    unused = [name for name in tensors if name not in fitting and not name.startswith(_HEADS)]
    return not unused and all(name in fitting or name.endswith("num_batches_tracked") for name in network)


def _converted(backbone: nn.Module, *files: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Each of the files converted by timm's checkpoint filter for this network; empty if there is no filter."""
    module = sys.modules[type(backbone).__module__]
    convert: Callable[..., Mapping[str, Tensor]] | None = getattr(module, "checkpoint_filter_fn", None)
    if convert is None or not module.__name__.startswith("timm."):
        return []
    converted = []
    for tensors in files:
        try:
            result = convert(dict(tensors), backbone)
        except Exception:  # the file of another network: the many converters raise many kinds of errors
            continue
        converted.append({name: tensor for name, tensor in result.items() if isinstance(tensor, Tensor)})
    return converted


def _unwrapped(value: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(3):
        if isinstance(value, Mapping):
            inner = [value[key] for key in _WRAPPERS if isinstance(value.get(key), Mapping)]
            if inner:
                value = inner[0]
    if isinstance(value, Mapping):
        tensors = {str(name): tensor for name, tensor in value.items() if _is_plain(tensor)}
        if tensors:
            return tensors
    raise UserError(f"model.weights={path}: it contains no named tensors. Save the network's state_dict().")


def _is_plain(value: object) -> bool:
    """Whether this is a tensor with all its values: a file may hold sparse ones, and ones without (device "meta")."""
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _best_names(tensors: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the common prefix whose removal makes most names match, dropping those without the prefix.

    Feature extractors call stages.0 stages_0, so dots and underscores are treated as equal if that helps.
    """
    flat = {_flat(name): name for name in network}

    def stripped(prefix: str) -> dict[str, Tensor]:
        names = {name: name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
        return {rest if rest in network else flat.get(_flat(rest), rest): tensors[name] for name, rest in names.items()}

    return max((stripped(prefix) for prefix in _PREFIXES), key=lambda names: sum(name in network for name in names))


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
