"""N-th farthest and most similar, against plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.nth_farthest import sample_most_similar, sample_nth_farthest


def test_the_answer_is_the_label_of_the_nth_farthest(generator: torch.Generator) -> None:
    inputs, answer = sample_nth_farthest(200, generator, vectors=5, size=3)
    assert inputs.shape == (200, 5, 3 + 15)
    for row, said in zip(inputs.tolist(), answer.tolist(), strict=True):
        x = [step[:3] for step in row]
        label, n, m = ([step[3 + 5 * i : 8 + 5 * i].index(1) for step in row] for i in range(3))
        assert sorted(label) == list(range(5))
        assert len(set(n)) == len(set(m)) == 1
        reference = x[label.index(m[0])]
        farthest = sorted(range(5), key=lambda i: -math.dist(x[i], reference))
        assert label[farthest[n[0]]] == said


def test_the_answer_is_the_nearest_to_the_last(generator: torch.Generator) -> None:
    inputs, answer = sample_most_similar(200, generator, vectors=6, size=2)
    assert inputs.shape == (200, 7, 2)
    for row, said in zip(inputs.tolist(), answer.tolist(), strict=True):
        assert min(range(6), key=lambda i: math.dist(row[i], row[-1])) == said


def test_answers_are_evenly_spread_and_another_question_has_nothing_to_do_with_them(generator: torch.Generator) -> None:
    for sample in (sample_nth_farthest, sample_most_similar):
        counts = torch.bincount(sample(8000, generator, vectors=4, size=2).answer)
        assert float(counts.min() / counts.max()) > 0.85
    inputs, answer = sample_most_similar(4000, generator, ask=False)
    nearest = (inputs[:, :-1] - inputs[:, -1:]).norm(dim=2).argmin(1)
    assert float((nearest == answer).double().mean()) < 0.4  # above 1/4: who is in the middle is near to many
    inputs, answer = sample_nth_farthest(4000, generator, vectors=4, size=2, ask=False)
    asked, last = inputs[:, 0, 10:].argmax(1), inputs[:, 0, 6:10].argmax(1) == 3  # the last is the vector itself
    assert float((asked == answer)[last].double().mean()) == pytest.approx(0.25, abs=0.05)


def test_mistakes_say_so(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="vectors 1, size 2"):
        sample_most_similar(3, generator, vectors=1)
    with pytest.raises(InputError, match="batch_size 0"):
        sample_nth_farthest(0, generator)
