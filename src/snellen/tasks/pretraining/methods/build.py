"""Methods by name."""

from __future__ import annotations

from torch import nn

from snellen.tasks.pretraining.methods.barlow_twins import BarlowTwins
from snellen.tasks.pretraining.methods.byol import Byol
from snellen.tasks.pretraining.methods.dino import Dino
from snellen.tasks.pretraining.methods.method import Method
from snellen.tasks.pretraining.methods.moco import Moco
from snellen.tasks.pretraining.methods.simclr import Simclr
from snellen.tasks.pretraining.methods.simsiam import Simsiam
from snellen.tasks.pretraining.methods.spec import (
    AnyMethodSpec,
    BarlowTwinsSpec,
    ByolSpec,
    DinoSpec,
    MocoSpec,
    SimclrSpec,
    SimsiamSpec,
    VicregSpec,
)
from snellen.tasks.pretraining.methods.vicreg import Vicreg


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
