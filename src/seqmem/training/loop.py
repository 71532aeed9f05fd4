"""One training, from its description to its result; it can be stopped at any step and goes on to the same numbers.

What makes it resumable: the batch of step n is drawn from (seed, n) alone, as is anything random inside the model, and
a checkpoint holds everything else. Steps on another number of threads may round differently.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from seqmem.errors import InputError
from seqmem.loading import parse_json
from seqmem.tasks import get_task
from seqmem.tasks.base import Split, Task
from seqmem.training import checkpoint
from seqmem.training.checkpoint import Counters
from seqmem.training.evaluate import asked_logits, score
from seqmem.training.experiment import Experiment
from seqmem.training.files import quarantine, to_json, write_text
from seqmem.training.job import Interrupted
from seqmem.training.optimiser import clip_gradients, learning_rate, make_optimiser
from seqmem.training.result import result_of
from seqmem.training.schema import CurvePoint, Metrics, Result, fits
from seqmem.training.seeds import address, generator
from seqmem.training.timing import measure_decoding

if TYPE_CHECKING:
    from seqmem.models import LastVectorDecoder, SequenceLM

CURVE = "metrics.jsonl"
HIGH_LOSS = 4.0  # times the loss of a uniform guess: above it a training has lost its way ...
HIGH_STEPS = 20  # ... if it stays there for this part (1 / HIGH_STEPS) of all steps


class Diverged(Exception):
    """The training cannot come to anything: ``step`` (from 1) is where it began."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"diverged at step {step}: {reason}")


class Progress(NamedTuple):
    """What is reported after every step, and again between the batches of an evaluation."""

    step: int
    steps: int
    loss: float
    validation: float | None  # the latest


def train(
    experiment: Experiment,
    folder: Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = 60.0,
) -> Result:
    """Train and test; the checkpoint and the learning curve (``metrics.jsonl``) are kept in ``folder``, which must
    exist.

    A checkpoint found there is gone on from; one that is damaged or of another shape is set aside (``.damaged``) and
    the training starts again, as ``status_detail`` then says. ``progress`` is called after every step; what it raises
    ends the training, and Interrupted leaves a fresh checkpoint. Training stops early at the first evaluation that
    reaches the task's ``solved_at``.

    A loss or gradient that is not finite, or a loss that stays above four times a uniform guess's for a twentieth of
    all steps, gives the status "diverged"; ``metrics`` is then None and ``status_detail`` names the step.
    """
    with torch.random.fork_rng(devices=[]):
        return _Training(experiment, folder, progress or (lambda _: None), checkpoint_seconds).run()


class Stretch(NamedTuple):
    """A training up to a step: ``steps`` that were taken, the latest validation score (None: diverged), how it
    ``ended`` ("running": it can go on)."""

    steps: int
    value: float | None
    ended: str
    status_detail: str
    wall_seconds: float


def train_until(
    experiment: Experiment,
    folder: Path,
    until: int,
    *,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = 60.0,
) -> Stretch:
    """The same up to step ``until``, at which the validation data are looked at; nothing is tested. A later call, or
    :func:`train`, goes on from there. What has gone further already is answered from the learning curve."""
    for point in read_curve(folder):
        if point["step"] == until and point["validation"] is not None:
            return Stretch(until, point["validation"], "running", "", 0.0)
    with torch.random.fork_rng(devices=[]):
        return _Training(experiment, folder, progress or (lambda _: None), checkpoint_seconds).run_until(until)


def build_model(experiment: Experiment, vocab_size: int, readout: str = "each") -> SequenceLM | LastVectorDecoder:
    """The untrained model of an experiment; its first weights depend on nothing but the description. readout: the
    task's, "each" position or the "last" vector."""
    from seqmem.models import LastVectorDecoder, SequenceConfig, build

    layer = {"name": experiment.mixer, **experiment.mixer_options}
    config = SequenceConfig(
        vocab_size,
        experiment.width,
        layers=[layer] * experiment.layers,
        mlp_width=experiment.mlp_width,
        short_conv=experiment.short_conv,
    )
    seed = address(experiment.seed, "weights")
    if readout == "each":
        return build(config, seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return LastVectorDecoder(config)


class _Training:
    """The parts of one training while it runs."""

    def __init__(
        self, experiment: Experiment, folder: Path, progress: Callable[[Progress], None], checkpoint_seconds: float
    ) -> None:
        self.experiment, self.budget, self.folder = experiment, experiment.budget, folder
        self.progress, self.checkpoint_seconds = progress, checkpoint_seconds
        self.task: Task = get_task(experiment.task, **experiment.task_options)
        self.model = build_model(experiment, self.task.vocab_size, self.task.readout)
        self.optimiser = make_optimiser(self.model, self.budget.weight_decay)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.high_loss = HIGH_LOSS * math.log(max(3, self.task.vocab_size))
        self.high_steps = max(10, self.budget.steps // HIGH_STEPS)
        self.point_every = max(1, self.budget.eval_every // 5)  # steps between two points of the loss curve
        self.notes: list[str] = []
        self.counters = self._resume()
        self.loss = math.nan
        self.session_start = time.perf_counter()
        self.earlier_seconds = self.counters.wall_seconds

    def run(self) -> Result:
        counters = self.counters
        metrics: Metrics | None = None
        try:
            self._train()
            metrics = self._test()
            status = counters.status
        except Diverged as reason:
            status = "diverged"
            self.notes.append(str(reason))
        except Interrupted:
            self._save()
            raise
        decoding = measure_decoding(self.model, self.task)
        return result_of(
            self.experiment,
            parameters=sum(p.numel() for p in self.parameters),
            state_bytes=decoding.state_bytes,
            steps=counters.step,
            tokens=self._tokens(),
            metrics=metrics,
            train_tokens_per_second=self._tokens_per_second(),
            decode_microseconds=decoding.microseconds,
            wall_seconds=self._wall_seconds(),
            status=status,
            status_detail="; ".join(self.notes),
        )

    def run_until(self, until: int) -> Stretch:
        counters, ended = self.counters, "diverged"
        try:
            self._train(until)
            ended = counters.status
        except Diverged as reason:
            self.notes.append(str(reason))
        except Interrupted:
            self._save()
            raise
        value = None if ended == "diverged" else counters.validation
        return Stretch(counters.step, value, ended, "; ".join(self.notes), self._wall_seconds())

    def _train(self, until: int | None = None) -> None:
        counters = self.counters
        saved = time.perf_counter()
        self.model.train()
        while counters.status == "running" and (until is None or counters.looked < until):
            if counters.looked == counters.step:  # else an evaluation was interrupted
                self._step()
            self._look()
            self._report()
            if time.perf_counter() - saved >= self.checkpoint_seconds and counters.status == "running":
                self._save()
                saved = time.perf_counter()
        self._save()

    def _step(self) -> None:
        counters, index = self.counters, self.counters.step
        batch = self.task.sample(
            self.budget.batch_size, self.task.train_length, generator(self.experiment.seed, "train", index)
        )
        start = time.perf_counter()
        torch.default_generator.manual_seed(address(self.experiment.seed, "inside", index))
        logits, targets = asked_logits(self.model, batch)
        loss = nn.functional.cross_entropy(logits, targets)
        loss.backward()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = clip_gradients(gradients, self.budget.clip)
        self.loss = float(loss.detach())
        counters.step += 1
        if not math.isfinite(self.loss) or not math.isfinite(norm):
            raise Diverged(counters.step, f"the loss is {self.loss:.4g} and the gradient's norm {norm:.4g}")
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(index, self.experiment.learning_rate, self.budget.warmup, self.budget.steps)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        counters.step_seconds.append(time.perf_counter() - start)
        counters.loss_sum += self.loss
        counters.loss_count += 1
        self._watch()

    def _watch(self) -> None:
        """Diverged, if the loss has been far above a uniform guess's for long."""
        counters = self.counters
        if self.loss <= self.high_loss:
            counters.high_since = None
            return
        if counters.high_since is None:
            counters.high_since = counters.step
        if counters.step - counters.high_since >= self.high_steps:
            raise Diverged(
                counters.high_since, f"the loss stayed above {self.high_loss:.3g} from there to step {counters.step}"
            )

    def _look(self) -> None:
        """After a step: a point of the curve or an evaluation where one is due."""
        counters, task = self.counters, self.task
        last = counters.step == self.budget.steps
        if last or counters.step % self.budget.eval_every == 0:
            value = self._score(task.train_length, self.budget.validation_tokens, "validation")["all"]
            if not math.isfinite(value):
                raise Diverged(counters.step, f"the validation score is {value}")
            counters.validation = value
            solved = task.solved_at is not None and value >= task.solved_at
            counters.status = "solved" if solved else "done" if last else "running"
            self._point(value)
        elif counters.step % self.point_every == 0:
            self._point(None)
        counters.looked = counters.step

    def _score(self, length: int, tokens: int, split: Split) -> dict[str, float]:
        torch.default_generator.manual_seed(address(self.experiment.seed, f"{split}/{length}", self.counters.step))
        return score(self.model, self.task, length, tokens, split, self._report)

    def _test(self) -> Metrics:
        budget, task = self.budget, self.task
        test: dict[str, dict[str, float | None]] = {
            str(length): dict(self._score(length, budget.test_tokens, "test")) for length in task.test_lengths
        }
        validation = math.nan if self.counters.validation is None else self.counters.validation
        return {"name": task.metric, "chance": task.chance, "validation": validation, "test": test}

    def _point(self, validation: float | None) -> None:
        counters = self.counters
        point: CurvePoint = {
            "step": counters.step,
            "tokens": self._tokens(),
            "loss": counters.loss_sum / max(1, counters.loss_count),
            "validation": validation,
        }
        counters.loss_sum, counters.loss_count = 0.0, 0
        with open(self.folder / CURVE, "a", encoding="utf-8") as file:
            file.write(to_json(point) + "\n")

    def _report(self) -> None:
        self.progress(Progress(self.counters.step, self.budget.steps, self.loss, self.counters.validation))

    def _tokens(self) -> int:
        return self.counters.step * self.budget.batch_size * self.task.train_length

    def _tokens_per_second(self) -> float:
        """Of the median step, sampling and evaluations not counted; 0 when not one was completed."""
        if not self.counters.step_seconds:
            return 0.0
        return self.budget.batch_size * self.task.train_length / statistics.median(self.counters.step_seconds)

    def _wall_seconds(self) -> float:
        return self.earlier_seconds + time.perf_counter() - self.session_start

    def _save(self) -> None:
        self.counters.wall_seconds = self._wall_seconds()
        checkpoint.save(self.folder, self.model, self.optimiser, self.counters)

    def _resume(self) -> Counters:
        """The counters to go on from, and the learning curve cut back to them."""
        try:
            found = checkpoint.load(self.folder, self.model, self.optimiser)
        except InputError as error:
            aside = quarantine(self.folder / checkpoint.NAME)
            self.notes.append(f"trained from the start, the damaged checkpoint is kept as {aside.name}: {error}")
            found = None
        counters = found or Counters()
        points = [point for point in read_curve(self.folder) if point["step"] <= counters.step]
        write_text(self.folder / CURVE, "".join(to_json(point) + "\n" for point in points))
        return counters


def read_curve(folder: Path) -> list[CurvePoint]:
    """The learning curve so far; a line that was cut short ends it."""
    path = folder / CURVE
    return points_of(path.read_bytes()) if path.exists() else []


def points_of(lines: bytes) -> list[CurvePoint]:
    """The points in JSON lines, up to the first that is none."""
    points: list[CurvePoint] = []
    for line in lines.splitlines():
        try:
            point = parse_json(line)
        except ValueError:
            break
        if not fits(point, CurvePoint):
            break
        points.append(point)
    return points
