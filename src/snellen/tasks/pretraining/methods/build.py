"""Methods by name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from snellen.tasks.pretraining.methods.barlow_twins import BarlowTwins, BarlowTwinsSpec
from snellen.tasks.pretraining.methods.byol import Byol, ByolSpec
from snellen.tasks.pretraining.methods.dino import Dino, DinoSpec
from snellen.tasks.pretraining.methods.method import Method
from snellen.tasks.pretraining.methods.moco import Moco, MocoSpec
from snellen.tasks.pretraining.methods.simclr import Simclr, SimclrSpec
from snellen.tasks.pretraining.methods.simsiam import Simsiam, SimsiamSpec
from snellen.tasks.pretraining.methods.vicreg import Vicreg, VicregSpec

AnyMethodSpec = Annotated[
    ByolSpec | SimclrSpec | SimsiamSpec | MocoSpec | BarlowTwinsSpec | VicregSpec | DinoSpec,
    Field(discriminator="name"),
]


def build_method(spec: AnyMethodSpec, backbone: nn.Module, width: int) -> Method:
    """The method's networks around a backbone with features of `width`, on the CPU, in training mode."""
    match spec:
        case ByolSpec():
            return Byol(spec, backbone, width)
        case SimclrSpec():
            return Simclr(spec, backbone, width)
        case SimsiamSpec():
            return Simsiam(spec, backbone, width)
        case MocoSpec():
            return Moco(spec, backbone, width)
        case BarlowTwinsSpec():
            return BarlowTwins(spec, backbone, width)
        case VicregSpec():
            return Vicreg(spec, backbone, width)
        case DinoSpec():
            return Dino(spec, backbone, width)
