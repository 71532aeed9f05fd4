"""A little text and small trainings on it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

from seqmem.training.tokens.prepare import prepare

MODEL = {"width": 16, "layers": ["rg_lru", "local_attention"], "mixer_options": {"local_attention": {"window": 8}}}


def small_data(folder: Path, documents: int = 40, seed: int = 0) -> Path:
    """Documents of 1 to 150 bytes."""
    draw = random.Random(seed)
    words = ["the", "whale", "sea", "old", "ship", "and", "white", "was"]
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 30))) for _ in range(documents)]
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    prepare([file], "bytes", folder / "data")
    return folder / "data"


def write_settings(folder: Path, name: str, **changes: Any) -> Path:
    """``NAME.yaml``, whose run is in the folder ``NAME``."""
    said = {
        "data": str(folder / "data"), "out": str(folder / name), "model": MODEL, "steps": 12, "window": 16,
        "batch_size": 4, "learning_rate": 3e-3, "log_every": 1, "save_every": 5, **changes,
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(said))
    return path


def curve(folder: Path) -> list[dict[str, Any]]:
    """The points of metrics.jsonl, without what a clock says."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "tokens_per_second"} for line in lines]
