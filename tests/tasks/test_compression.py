"""Compression: the task, and that its decoder sees nothing but the last vector."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqmem.errors import InputError
from seqmem.models import LastVectorDecoder, SequenceConfig
from seqmem.models.last_vector import position_code
from seqmem.tasks.base import IGNORE
from seqmem.tasks.compression import Compression
from seqmem.training.evaluate import asked_logits
from seqmem.training.loop import build_model, train
from tests.training.helpers import experiment


def test_everything_read_is_asked(generator: torch.Generator) -> None:
    batch = Compression(vocabulary=7).sample(30, 12, generator)
    assert (batch.inputs[:, -1] == 7).all()
    assert (batch.targets[:, -1] == IGNORE).all()
    assert batch.targets[:, :-1].equal(batch.inputs[:, :-1])
    assert sorted(batch.targets[:, :-1].unique().tolist()) == list(range(7))


def test_answers_come_from_the_last_vector_and_the_position(generator: torch.Generator) -> None:
    """Two texts that leave the same last vector (a window of two forgets all but their ends) have the same answers,
    although they differ everywhere else; the equation by hand."""
    layer = {"name": "local_attention", "window": 2, "heads": 1}
    torch.manual_seed(0)
    model = LastVectorDecoder(SequenceConfig(8, 16, layers=[layer])).double()
    one, two = torch.randint(8, (2, 3, 10), generator=generator)
    two[:, -2:] = one[:, -2:]
    logits, _ = model.run(one)
    torch.testing.assert_close(model.run(two)[0], logits)
    assert logits.std(1).min() > 0  # but not the same at every position
    last = model.model(one, output_hidden_states=True).hidden_states[-1][:, -1]
    for t in (0, 9):
        wanted = model.model.lm_head(model.decoder(last + position_code(10, 16)[t].double()))
        torch.testing.assert_close(logits[:, t], wanted)
    asked = torch.rand(3, 10, generator=generator) < 0.4
    torch.testing.assert_close(model.run(one, asked=asked)[0], logits[asked])


def test_a_study_uses_the_decoder_by_itself(tmp_path: Path) -> None:
    one = experiment(steps=3, task="compression", task_options={"length": 6, "vocabulary": 4, "test_lengths": [6, 12]})
    model = build_model(one, 5, Compression.readout)
    assert isinstance(model, LastVectorDecoder)
    logits, targets = asked_logits(model, Compression(length=6, vocabulary=4).sample(2, 6, torch.Generator()))
    assert logits.shape == (10, 5)
    assert targets.shape == (10,)
    result = train(one, tmp_path)
    assert result["metrics"] is not None
    assert result["metrics"]["test"].keys() == {"6", "12"}
    again = train(one, tmp_path)  # from the checkpoint
    assert again["metrics"] == result["metrics"]


def test_it_can_be_learned_and_not_without_the_vector(generator: torch.Generator) -> None:
    """A recurrence learns four symbols of two kinds within seconds; with its last vector set to zero it knows none."""
    task = Compression(length=5, vocabulary=2)
    torch.manual_seed(0)
    model = LastVectorDecoder(SequenceConfig(3, 32, layers=["gru"]))
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(200):
        logits, targets = asked_logits(model, task.sample(32, 5, generator))
        torch.nn.functional.cross_entropy(logits, targets).backward()
        optimiser.step()
        optimiser.zero_grad()
    batch = task.sample(500, 5, generator)
    logits, targets = asked_logits(model, batch)
    assert (logits.argmax(1) == targets).double().mean() > 0.95
    code = position_code(4, 32)
    blind = model.model.lm_head(model.decoder(code)).argmax(1).repeat(500)
    assert (blind == targets).double().mean() == pytest.approx(task.chance, abs=0.05)


def test_bad_options_say_so() -> None:
    with pytest.raises(InputError, match="task 'compression': length=1, expected at least 2"):
        Compression(length=1)
