"""How often a run picks a mode within 8% of the fastest: ten decisions for each of six networks.

Each decision is measured afresh, as at the start of a run, and compared with the medians of interleaved rounds over all
candidate modes. Run it on an idle machine:

    python benchmarks/modes.py --threads 2
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence

import torch
from rich.console import Console
from torch import Tensor, nn

from snellen.engine.device import find_device, prepare_process
from snellen.engine.environment import processor
from snellen.engine.measuring import Trial, timed_step
from snellen.engine.mode import Mode, Workload
from snellen.engine.precision import candidates, choose, variants
from snellen.engine.spec import HardwareSpec
from snellen.models.classifier import build_classifier
from snellen.models.segmenters.build import build_segmenter
from snellen.models.spec import ModelSpec, SegmenterSpec

# network: backbone or architecture, image size in px, batch size
NETWORKS = {
    "airnet": ("airnet", 32, 512),
    "vgg13": ("torchvision/vgg13", 32, 128),
    "resnet18": ("resnet18", 64, 64),
    "resnet50": ("resnet50", 128, 16),
    "efficientnet_lite0": ("tf_efficientnet_lite0.in1k", 128, 32),
    "deeplabv3plus": ("deeplabv3plus/tf_efficientnet_lite0.in1k", 128, 8),
}

_PLAINLY_SLOWER = 2.0  # times the fastest: excluded from further rounds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--decisions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds; their median is the truth")
    parser.add_argument("--batch", type=int, help="batch size; smaller than the default only to try the script out")
    parser.add_argument("--threads", type=int, help="threads for arithmetic; default one per core")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    spec = HardwareSpec(device=options.device, threads=options.threads, remeasure=True)
    prepare_process(spec)
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'network':<20} {'within 8%':>10} {'seconds':>8}  fastest; chosen")
    for name in options.networks:
        work = _work(name, options.batch, find_device(spec))
        decided, seconds = [], []
        for _ in range(options.decisions):
            start = time.perf_counter()
            decided.append(choose(spec, work, Console(quiet=True)).mode)
            seconds.append(time.perf_counter() - start)
        truth = _medians(spec, work, options.rounds)
        best = min(truth, key=lambda mode: truth[mode])
        near_best = sum(truth[mode] <= 1.08 * truth[best] for mode in decided)
        choices = ", ".join(f"{decided.count(mode)} x {mode}" for mode in dict.fromkeys(decided))
        longest = max(seconds)
        print(f"{name:<20} {near_best:>4} of {len(decided):<3} {longest:>7.1f}  {best}; {choices}", flush=True)


def _work(name: str, batch: int | None, device: torch.device) -> Workload:
    source, side, batch_size = NETWORKS[name]
    torch.manual_seed(0)
    model: nn.Module
    if "/" in source and not source.startswith("torchvision/"):
        model = build_segmenter(SegmenterSpec(architecture=source, weights=None), 5, seed=0)[0]
    else:
        model = build_classifier(ModelSpec(backbone=source, weights=None), 10, side, seed=0)[0]
    images = torch.randn(batch or batch_size, 3, side, side, device=device)
    return Workload(model.to(device), images, _loss, 1, name, steps=10_000)


def _loss(network: nn.Module, images: Tensor) -> Tensor:
    output = network(images)
    return (output[0] if isinstance(output, tuple) else output).float().logsumexp(1).mean()


def _medians(spec: HardwareSpec, work: Workload, rounds: int) -> dict[Mode, float]:
    """Median seconds of a full-batch step in each mode; for clearly slower modes, over fewer rounds."""
    device = work.images.device
    modes = candidates(spec, device)
    modes += [other for mode in modes for other in variants(spec, device, mode)]
    trials = [Trial.of(mode, work) for mode in modes]
    remaining = list(trials)
    for number in range(rounds + 1):
        for trial in remaining:
            seconds = timed_step(trial, work, len(work.images))
            if number:  # the first round is a warm-up
                trial.seconds.append(seconds)
        if number:
            fastest = min(trial.seconds[-1] for trial in remaining)
            remaining = [trial for trial in remaining if trial.seconds[-1] < _PLAINLY_SLOWER * fastest]
    return {trial.mode: statistics.median(trial.seconds) for trial in trials}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SNELLEN_CACHE"] = folder
        main()
