"""Every kind of task has the files and the functions that tasks.kind asks for, with the same parameters."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from snellen.tasks import kind as protocols
from snellen.tasks.kinds import KINDS


@pytest.mark.parametrize("file", protocols.FILES)
@pytest.mark.parametrize("task", KINDS)
def test_each_file_offers_what_its_protocol_requires(task: str, file: str) -> None:
    protocol = getattr(protocols, file.capitalize())
    offered = getattr(KINDS[task], file)
    for name, member in vars(protocol).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            assert hasattr(offered, name), f"{offered.__name__} has no {name}"
        else:
            assert _parameters(getattr(offered, name)) == _parameters(member), f"{offered.__name__}.{name}"


def _parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_a_kind_has_no_other_file() -> None:
    with pytest.raises(AttributeError, match="a kind of task has no 'losses'"):
        _ = next(iter(KINDS.values())).losses
