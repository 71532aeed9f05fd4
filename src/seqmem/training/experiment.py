"""One experiment, described so exactly that its hash names its result: one model, one task, one seed, one budget."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

import seqmem
from seqmem.training.job import OnReached, Reached
from seqmem.training.schema import Result, fits

if TYPE_CHECKING:
    from seqmem.training.loop import Progress

#: Part of every hash: raised when the same description would be trained or measured differently.
FORMAT = 1


class Budget(BaseModel):
    """How much training, and how much measuring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)  # sequences per step
    warmup: int = Field(ge=0)  # steps of linear warm-up; a cosine to zero follows
    weight_decay: float = Field(ge=0)
    clip: float = Field(gt=0)  # bound on the norm of the whole gradient
    eval_every: int = Field(gt=0)  # steps between two looks at the validation data
    validation_tokens: int = Field(gt=0)  # tokens read at each look
    test_tokens: int = Field(gt=0)  # tokens read at the end, per test length


class Experiment(BaseModel):
    """A frozen description. ``study_width`` is the width whose attention stack sets the number of parameters; ``width``
    and ``mlp_width`` are what the mixer got so as to match it (:mod:`seqmem.training.sizing`).

    ``source`` and ``data`` are digests of what a name alone does not pin down: the file of a layer of the user's own;
    the text behind a path, the file of a task of the user's own. They take part in the hash, so an edited layer, text
    or task is run again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mixer: str
    mixer_options: dict[str, Any] = {}
    source: str | None = None
    task: str
    task_options: dict[str, Any] = {}
    data: str | None = None
    study_width: int = Field(gt=0)
    width: int = Field(gt=0)
    mlp_width: int = Field(ge=0)
    layers: int = Field(gt=0)
    short_conv: int = Field(default=0, ge=0)  # see SequenceConfig
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    seed: int = Field(ge=0)
    budget: Budget

    @functools.cached_property
    def hash(self) -> str:
        """16 hexadecimal digits. They change with any field, the format and the version of seqmem (whose layers may
        have changed)."""
        described = {"format": FORMAT, "seqmem": seqmem.__version__, **self.model_dump(mode="json")}
        return digest(described)

    @property
    def label(self) -> str:
        """Mixer, task, width, learning rate and seed."""
        mixer = self.mixer.rpartition(":")[2]
        sizes = f"width {self.study_width} · rate {self.learning_rate:g} · seed {self.seed}"
        return f"{mixer} · {self.task.rpartition(':')[2]} · {sizes}"

    @property
    def size(self) -> float:
        """Tokens that the training reads."""
        return float(self.budget.steps * self.budget.batch_size * self.task_options.get("length", 64))

    @property
    def resumable(self) -> bool:
        """A training writes a checkpoint."""
        return True

    def obstacle(self) -> str:
        """A layer or task that was defined in the main script cannot be imported by another process."""
        own = {"mixer": self.mixer, "task": self.task}
        kind = next((kind for kind, name in own.items() if name.startswith("__main__:")), None)
        if kind is None:
            return ""
        return (
            f"{kind} '{own[kind]}' lives in a script or notebook, where worker processes cannot "
            "import it from; put the class into a module of its own, or use workers=0"
        )

    def work(self, folder: Path, progress: OnReached, checkpoint_seconds: float) -> Result:
        """The training: :func:`seqmem.training.loop.train`."""
        from seqmem.training.loop import train

        def reached(now: Progress) -> None:
            progress(self.reached(now))

        return train(self, folder, progress=reached, checkpoint_seconds=checkpoint_seconds)

    def reached(self, now: Progress) -> Reached:
        """Where the training is, in a few words."""
        loss = "" if now.loss is None else f"  loss {now.loss:.3f}"
        validation = "" if now.validation is None else f"  validation {now.validation:.3f}"
        return Reached(now.step, now.steps, f"{now.step}/{now.steps}{loss}{validation}")

    def failed(self, detail: str) -> Result:
        """The record of a training that raised, or whose process died."""
        from seqmem.training.result import result_of

        return result_of(self, status="failed", status_detail=detail)

    def is_record(self, value: Any) -> bool:
        """Whether a JSON value has all that a result of this experiment has, each of its type."""
        if not fits(value, Result) or value["experiment"] != self.hash:
            return False
        test = value["metrics"]["test"] if value["metrics"] else {}
        return all(length.isdecimal() and "all" in slices for length, slices in test.items())

    def told(self, record: Result) -> str:
        """How it ended, its validation score, its steps."""
        score = record["metrics"]
        words = [record["status"]]
        if score is not None:
            words.append(f"validation {score['name'].replace('_', ' ')} {score['validation']:.3f}")
        return ", ".join([*words, f"{record['steps']} steps"])


def digest(described: Any) -> str:
    """16 hexadecimal digits of a JSON value, the same however its keys are ordered."""
    canonical = json.dumps(described, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def source_digest(cls: type) -> str | None:
    """A digest of the file that defines a layer or task of the user's own; None for the library's, which the version
    pins.

    Only that one file is read: an edit in a module that it imports goes unnoticed.
    """
    if cls.__module__.split(".")[0] == "seqmem":
        return None
    try:
        name = inspect.getsourcefile(cls)
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()[:16] if name else "unknown"
    except (OSError, TypeError):
        return "unknown"
