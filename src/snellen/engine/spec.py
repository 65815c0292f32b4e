"""The fields of hardware and optimiser."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from snellen.spec import Spec


class HardwareSpec(Spec):
    """Where and how the arithmetic runs."""

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="auto: the GPU (CUDA) if there is one, else the CPU. Or cpu, cuda, cuda:1, or Apple's mps, which "
        "has not been tested yet.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the network. auto: fp32 or bf16 autocast, whichever is faster here."
    )
    channels_last: bool | None = Field(None, description="Memory layout of images. null: whichever is faster here.")
    compile: bool | None = Field(
        None, description="torch.compile for training steps. null: if faster; only tried on CUDA."
    )
    unfold: bool | None = Field(
        None,
        description="Convolutions over few positions as matrix products. null: if faster; only tried on CPUs.",
    )
    remeasure: bool = Field(
        False,
        description="Measure which mode is fastest even if this machine has measured it before (the choice is "
        "kept in the user's cache folder).",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads for the arithmetic, at most one per core. null: one per core."
    )
    devices: int = Field(
        1,
        ge=1,
        description="Processes that train one run together, each on a GPU of its own, or on a part of the CPU's cores. "
        "torchrun and SLURM give their own number.",
    )
    sharded: bool = Field(
        False,
        description="Whether each of several processes holds only a part of the weights, gradients and optimiser state "
        "(FSDP2), for networks too large for one device.",
    )
    deterministic: bool = Field(
        True, description="Use only algorithms that give the same bits each time; an exact resume needs this."
    )


MOMENTUM = ("sgd", "adam", "adamw")  # optimisers whose momentum a schedule can change


class OptimizerSpec(Spec):
    """How the loss is minimised."""

    name: str = Field("adamw", description="sgd, adam, adamw, lars, or any optimiser that timm knows by name.")
    lr: float = Field(1e-3, gt=0, description="Highest learning rate; the schedule multiplies it.")
    weight_decay: float = Field(
        0.01,
        ge=0,
        description="Weight decay: decoupled in adamw, part of the gradient in sgd and adam.",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd and lars.")
    nesterov: bool = Field(False, description="Nesterov's momentum, for sgd.")
    betas: tuple[float, float] = Field((0.9, 0.999), description="Decay of the moving averages of adam and adamw.")
    eps: float = Field(1e-8, gt=0, description="Added to the denominator of adam and adamw.")
    clip_norm: float | None = Field(
        None, gt=0, description="Clip the gradient's norm at this value. null: no clipping."
    )
    decay_vectors: bool = Field(True, description="Whether biases and normalisation scales are decayed too.")
    backbone_rate: float = Field(
        1.0, gt=0, le=1, description="Learning rate of the backbone, as a factor of the head's."
    )
    bias_rate: float = Field(
        1.0, gt=0, description="Learning rate of batch-norm biases, as a factor; airnet needs a large one."
    )

    @field_validator("betas")
    @classmethod
    def _in_unit_interval(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both must be at least 0 and below 1")
        return betas
