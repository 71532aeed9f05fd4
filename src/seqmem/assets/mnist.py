"""10,000 handwritten digits out of JSON lists of grey values, as one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def convert(source: Path, target: Path) -> None:
    """Write ``digits.safetensors``: images (digits, 28, 28) uint8, 255 where the pen was; labels (digits,) int64."""
    from safetensors.numpy import save_file

    images, labels = [], []
    for digit in range(10):
        (file,) = source.rglob(f"digits/{digit}.json")
        values = np.array(json.loads(file.read_text(encoding="utf-8"))["data"], dtype=np.float64)
        images.append(np.rint(values.reshape(-1, 28, 28) * 255).astype(np.uint8))
        labels.append(np.full(len(images[-1]), digit, dtype=np.int64))
    content: dict[str, np.ndarray] = {"images": np.concatenate(images), "labels": np.concatenate(labels)}
    save_file(content, target / "digits.safetensors")
