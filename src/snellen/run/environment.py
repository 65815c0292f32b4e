"""environment.json: what a run was computed with; written and read here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Git:
    """The commit of the working folder. dirty: whether tracked files differ from it."""

    commit: str
    dirty: bool


@dataclass(frozen=True)
class InitialWeights:
    """Where the network's weights came from. loaded: number of tensors. The rest: names of those that did not fit."""

    source: str
    loaded: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]


@dataclass(frozen=True)
class Switch:
    """A switch to another mode after the loss was not finite. step: the one that it continued from."""

    step: int
    before: str
    after: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Versions, hardware, command, mode and network of a run.

    precision … unfolded: its mode, see engine.mode.Mode. measured: the timings behind that choice, for people.
    """

    snellen: str
    python: str
    packages: dict[str, str]
    platform: str
    cpu: str
    cores: int | None
    threads: int
    gpu: str | None
    device: str
    git: Git | None
    command: str
    format: int
    started: str
    seed: int
    precision: Literal["fp32", "bf16"]
    channels_last: bool
    compiled: bool
    unfolded: bool = False
    measured: list[Any]
    parameters: int
    trainable_parameters: int
    macs: int | None
    weights: InitialWeights
    switches: list[Switch] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: without switches if there are none."""
        return {key: value for key, value in asdict(self).items() if value or key != "switches"}
