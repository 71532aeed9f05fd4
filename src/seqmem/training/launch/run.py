"""The steps of one training, on as many processes as there are.

What makes it resumable: the batch of a step follows from the seed and the step's number, and a checkpoint holds
everything else. What makes the number of processes indifferent: the loss is a mean over the targets of all rows, and
each process takes an equal part of the rows.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from filelock import FileLock, Timeout

from seqmem.errors import InputError, line_of
from seqmem.loading import parse_json
from seqmem.mixers.state import State
from seqmem.models import SequenceLM, build, load
from seqmem.training.files import temporary_name, to_json, write_json, write_text
from seqmem.training.launch import processes, saving
from seqmem.training.launch.learner import Learner, recompute_activations
from seqmem.training.launch.saving import Counters, Rows
from seqmem.training.launch.settings import MAY_CHANGE, Settings
from seqmem.training.optimiser import learning_rate, make_optimiser
from seqmem.training.seeds import address
from seqmem.training.tokens.order import Order
from seqmem.training.tokens.stream import Stream

if TYPE_CHECKING:
    from accelerate import Accelerator

CURVE, SETTINGS, CHECKPOINTS, MODEL = "metrics.jsonl", "settings.json", "checkpoints", "model"


class Diverged(Exception):
    """The training cannot come to anything; ``step`` is from 1."""

    def __init__(self, step: int, loss: float, norm: float) -> None:
        super().__init__(f"diverged at step {step}: the loss is {loss:.4g} and the gradient's norm {norm:.4g}")


class Point(NamedTuple):
    """A line of ``metrics.jsonl``. loss: nats per target, the mean since the line before. tokens: read so far.
    validation: the same loss on other text, None where it was not due. tokens_per_second: since the line before,
    checkpoints included, evaluations not."""

    step: int
    epoch: int
    tokens: int
    loss: float
    learning_rate: float
    gradient_norm: float
    validation: float | None
    tokens_per_second: float


class Tell(NamedTuple):
    """What the first process reports: sentences, and every new point of the curve."""

    note: Callable[[str], None] = lambda _: None
    point: Callable[[Point], None] = lambda _: None


def train(settings: Settings, tell: Tell | None = None) -> Path:
    """Train, or go on; returns the folder of the model. Every process of a training calls it.

    Raises InputError for settings that do not fit the data, the processes, or what is in ``out`` already; Diverged.
    """
    out = Path(settings.out).expanduser()
    stream, validation = settings.stream(), settings.validation_stream()
    with contextlib.ExitStack() as stack:
        accelerator = stack.enter_context(processes.joined(out, settings.tensorboard))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        return _Run(settings, out, accelerator, stream, validation, tell or Tell(), stack).run()


class _Run:
    def __init__(
        self, settings: Settings, out: Path, accelerator: Accelerator, stream: Stream, validation: Stream | None,
        tell: Tell, stack: contextlib.ExitStack,
    ) -> None:  # fmt: skip
        self.settings, self.out, self.accelerator, self.stream, self.tell = settings, out, accelerator, stream, tell
        self.order = self._order(stream)
        self.validation = None if validation is None else self._order(validation)
        self.pieces = pieces(settings, accelerator)
        self.said = json.loads(to_json({"settings": settings.model_dump(), "tokens": stream.tokens}))
        if isinstance(settings.model, dict):
            settings.config(stream)  # also finds classes of the user's own, before a checkpoint asks for them
        model = None
        if (out / SETTINGS).exists():
            compare_settings(out / SETTINGS, self.said)
        else:
            model = new_model(settings, stream)
            check_positions(settings, stream, model)
        stack.callback(self._claim().release)
        found, notes = saving.latest(accelerator, out / CHECKPOINTS)
        for note in notes:
            self._note(note)
        self.counters = found.counters if found else Counters()
        model = found.model if found else model or new_model(settings, stream)
        self.memories: list[State] = [None] * len(self.pieces)
        if found and settings.carry_state:
            skeleton = model.run(torch.zeros(1, 2, dtype=torch.long))[1]
            self.memories = saving.restore_memories(found, self.pieces, skeleton, accelerator.device)
        model.train()
        if settings.activation_checkpointing:
            recompute_activations(model)
        learner = Learner(model)
        optimiser = make_optimiser(learner, settings.weight_decay)
        self.learner, self.optimiser = processes.spread(accelerator, learner, optimiser)
        if found:
            saving.restore_moments(self.learner, self.optimiser, found.moments)
            self._note(f"goes on from step {self.counters.step} of {settings.steps}")
        if not accelerator.is_main_process:
            self.counters.loss_sum = 0.0  # it is a part of a sum
        self.norm = math.nan
        self._trim_curve()

    def run(self) -> Path:
        settings, counters = self.settings, self.counters
        if settings.tensorboard:
            since = {"purge_step": counters.step + 1}  # what a run that was killed wrote after its checkpoint
            self.accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": since})
        self.started, self.earlier = time.perf_counter(), counters.seconds
        self.looked = counters.step, self.started
        while counters.step < settings.steps:
            self._step()
            self._look()
            if counters.step % settings.save_every == 0 or counters.step == settings.steps:
                self._save()
        return self._finish()

    def _step(self) -> None:
        settings, index = self.settings, self.counters.step
        if self.order.starts_over(index):
            self.memories = [None] * len(self.pieces)
        asked = self.order.asked(index)
        share = self.accelerator.num_processes / max(1, asked)  # gradients are averaged over processes, the loss is not
        torch.manual_seed(address(settings.seed, "inside", index) + self.accelerator.process_index)
        loss = 0.0
        for number, rows in enumerate(self.pieces):
            last = number == len(self.pieces) - 1
            with processes.piece(self.accelerator, self.learner, last):
                nats, memory = self._read(self.order, index, rows, self.memories[number])
                self.accelerator.backward(nats * share)
            self.memories[number] = memory if settings.carry_state else None
            loss += float(nats.detach())
        self.norm = processes.clip(self.accelerator, self.learner, settings.clip)
        if not math.isfinite(self.norm):
            raise Diverged(index + 1, processes.total(self.accelerator, loss) / max(1, asked), self.norm)
        self.rate = learning_rate(index, settings.learning_rate, settings.warmup_steps, settings.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.counters.step += 1
        self.counters.loss_sum += loss
        self.counters.loss_count += asked

    def _read(self, order: Order, step: int, rows: Rows, memory: State) -> Any:
        inputs, targets, reset = order.batch(step, *rows)
        begins = reset.to(self.accelerator.device) if bool(reset.any()) else None
        return self.learner(inputs.to(self.accelerator.device), targets.to(self.accelerator.device), memory, begins)

    def _look(self) -> None:
        """After a step: a line of the curve where one is due."""
        settings, counters = self.settings, self.counters
        last = counters.step == settings.steps
        due = self.validation is not None and (last or counters.step % settings.evaluation_steps == 0)
        if not (last or due or counters.step % settings.log_every == 0):
            return
        loss = processes.total(self.accelerator, counters.loss_sum) / max(1, counters.loss_count)
        counters.loss_sum, counters.loss_count = 0.0, 0
        step, then = self.looked
        seconds = max(1e-9, time.perf_counter() - then)
        each = settings.batch_size * settings.window
        point = Point(
            step=counters.step,
            epoch=self.order.epoch(counters.step - 1),
            tokens=counters.step * each,
            loss=loss,
            learning_rate=self.rate,
            gradient_norm=self.norm,
            validation=self._evaluate(self.validation) if due and self.validation else None,
            tokens_per_second=(counters.step - step) * each / seconds,
        )
        if self.accelerator.is_main_process:
            with (self.out / CURVE).open("a", encoding="utf-8") as file:
                file.write(to_json(point._asdict()) + "\n")
            self.tell.point(point)
        figures = {key: value for key, value in point._asdict().items() if value is not None and key != "step"}
        self.accelerator.log(figures, step=counters.step)
        self.looked = counters.step, time.perf_counter()

    @torch.no_grad()
    def _evaluate(self, order: Order) -> float:
        """The loss on the first ``evaluate_tokens`` of an order, all of it where there are fewer."""
        each = self.settings.batch_size * self.settings.window
        once = order.windows if order.carry else max(1, order.windows // order.batch_size)
        memories: list[State] = [None] * len(self.pieces)
        nats, asked = 0.0, 0
        self.learner.eval()
        for step in range(min(once, math.ceil(self.settings.evaluate_tokens / each))):
            asked += order.asked(step)
            for number, rows in enumerate(self.pieces):
                with self.accelerator.autocast():
                    loss, memory = self._read(order, step, rows, memories[number])
                memories[number] = memory if order.carry else None
                nats += float(loss)
        self.learner.train()
        return processes.total(self.accelerator, nats) / max(1, asked)

    def _save(self) -> None:
        counters = self.counters
        counters.seconds = self.earlier + time.perf_counter() - self.started
        mine = counters.loss_sum
        counters.loss_sum = processes.total(self.accelerator, mine)
        held = {rows: memory for rows, memory in zip(self.pieces, self.memories, strict=True) if memory is not None}
        folder, tokenizer = self.out / CHECKPOINTS, self.stream.tokenizer
        saving.save(self.accelerator, folder, self.learner, self.optimiser, held, counters, tokenizer)
        counters.loss_sum = mine

    def _finish(self) -> Path:
        """The last checkpoint's model in a place of its own."""
        place = self.out / MODEL
        if self.accelerator.is_main_process and not place.exists():
            temporary = temporary_name(place)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(self.out / CHECKPOINTS / saving.name_of(self.counters.step) / "model", temporary)
            temporary.rename(place)
        self.accelerator.wait_for_everyone()
        return place

    def _order(self, stream: Stream) -> Order:
        settings = self.settings
        return Order(stream, settings.window, settings.batch_size, seed=settings.seed, carry=settings.carry_state)

    def _claim(self) -> FileLock:
        """Make the folder this training's own, and write down what was asked for. Nothing is written before."""
        lock = FileLock(self.out / "lock")
        self.accelerator.wait_for_everyone()  # nobody looks after somebody has written
        if self.accelerator.is_main_process:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=0)
            except Timeout as error:
                raise InputError(f"another process trains in '{self.out}'; wait for it, or end it") from error
            except OSError as error:
                raise InputError(f"out is '{self.out}', which cannot be a folder: {error.strerror}") from error
            if not (self.out / SETTINGS).exists():
                write_json(self.out / SETTINGS, self.said)
        self.accelerator.wait_for_everyone()
        return lock

    def _trim_curve(self) -> None:
        """The curve up to the checkpoint, when it was cut off later."""
        if self.accelerator.is_main_process:
            path, kept = self.out / CURVE, []
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
            for line in lines:
                try:
                    if parse_json(line)["step"] > self.counters.step:
                        break
                except (ValueError, KeyError, TypeError):
                    break
                kept.append(line + "\n")
            write_text(path, "".join(kept))

    def _note(self, words: str) -> None:
        if self.accelerator.is_main_process:
            self.tell.note(words)


def pieces(settings: Settings, accelerator: Accelerator) -> list[Rows]:
    """The rows of this process, as it takes them. InputError where they cannot be divided evenly."""
    count, given = accelerator.num_processes, settings.accumulation
    each = accelerator.gradient_accumulation_steps if given is None else given
    accelerator.gradient_accumulation_steps = 1  # else it would divide the loss, which is a mean already
    if settings.batch_size % (count * each):
        raise InputError(
            f"batch_size is {settings.batch_size}, expected a multiple of {count * each} ({count} processes, {each} "
            "pieces each)"
        )
    rows = settings.batch_size // (count * each)
    first = accelerator.process_index * each * rows
    return [(first + n * rows, first + (n + 1) * rows) for n in range(each)]


def new_model(settings: Settings, stream: Stream) -> SequenceLM:
    """The untrained model, or the one to go on from."""
    if not isinstance(settings.model, str):
        try:
            return build(settings.config(stream), address(settings.seed, "weights"))
        except (RuntimeError, MemoryError) as error:
            text = line_of(error)[:200]
            raise InputError(f"model cannot be built ({text}); is it too large for this machine?") from error
    model = load(Path(settings.model).expanduser())
    if model.config.vocab_size < stream.vocab_size:
        raise InputError(
            f"model '{settings.model}' has {model.config.vocab_size} tokens, and data '{stream.name}' "
            f"{stream.vocab_size}; prepare the data with the model's tokenizer"
        )
    return model


def check_positions(settings: Settings, stream: Stream, model: SequenceLM) -> None:
    """InputError where a text would be longer than the model's learned positions."""
    if not (most := model.config.positions):
        return
    longest = settings.window
    if settings.carry_state:
        import numpy as np

        longest = int(np.diff(stream.starts, append=stream.tokens).max())
    if longest > most:
        what = "the longest document" if settings.carry_state else "window"
        raise InputError(f"{what} has {longest} tokens, and the model {most} learned positions; leave positions out")


def compare_settings(path: Path, said: dict[str, Any]) -> None:
    """InputError where a run began with other settings or data than are said now."""
    try:
        found = parse_json(path.read_bytes())
        before, tokens = dict(found["settings"]), found["tokens"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"'{path}' cannot be read ({error}); give another out, or remove the folder") from error
    for key, value in said["settings"].items():
        if key not in MAY_CHANGE and before.get(key) != value:
            raise InputError(
                f"{key} is {value!r}, and '{path.parent}' was begun with {before.get(key)!r}; give another out, or "
                "remove the folder"
            )
    if tokens != said["tokens"]:
        raise InputError(f"data has {said['tokens']} tokens, and '{path.parent}' was begun with {tokens}; restore it")
