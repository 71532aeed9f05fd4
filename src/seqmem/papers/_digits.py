"""Digits read pixel by pixel, as numbers: small networks of any layers, trained within a check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._text import descend
from seqmem.tasks.digits import CLASSES, LEVELS, PIXELS, Digits


class DigitReader(nn.Module):
    """Grey levels (batch, time), 0 to 16, to logits (batch, 10) after the last."""

    def __init__(self, layers: Sequence[Any], width: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, width)
        self.lm = SequenceLM(SequenceConfig(CLASSES, width, layers=list(layers)))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.encoder(pixels[..., None] / (LEVELS - 1) - 0.5)
        return self.lm(inputs_embeds=x, use_cache=False, logits_to_keep=1).logits[:, -1]


def fit_digits(
    reader: nn.Module,
    steps: int,
    rate: float,
    generator: torch.Generator,
    *,
    batch: int = 64,
    slow: Sequence[str] = (),
    slow_rate: float = 1e-3,
    report: Callable[[int], None] = lambda step: None,
) -> None:
    """:func:`descend` to a rate of 0. Weights whose names end in one of ``slow`` learn at ``slow_rate`` at most, and do
    not decay."""
    few = [p for name, p in reader.named_parameters() if name.endswith(tuple(slow)) and slow]
    ids = {id(p) for p in few}
    rest = [p for p in reader.parameters() if id(p) not in ids]
    groups: list[dict[str, Any]] = [{"params": rest}]
    if few:
        groups.append({"params": few, "lr": min(rate, slow_rate), "weight_decay": 0.0})
    task = Digits()

    def loss_of(_: int) -> Tensor:
        drawn = task.sample(batch, PIXELS, generator)
        return F.cross_entropy(reader(drawn.inputs.float()), drawn.targets[:, -1] - LEVELS)

    descend(reader, loss_of, steps, rate, report, last=0.0, groups=groups)


@torch.no_grad()
def digits_right(reader: nn.Module, view: Callable[[Tensor], Tensor] = lambda pixels: pixels) -> float:
    """Accuracy on the 270 test images, whose pixels (image, 64) are seen through ``view``."""
    test = Digits().sample(270, PIXELS, torch.Generator().manual_seed(0), split="test")
    said = reader.eval()(view(test.inputs.float())).argmax(-1)
    return float((said == test.targets[:, -1] - LEVELS).float().mean())
