"""Memory networks against their equations, written out for one story with loops in float64."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.models import MemoryNetwork, MemoryNetworkLM
from seqmem.models.memory_network import position_weights
from seqmem.tasks.stories import Stories
from seqmem.training.answers import fit_answers


def network(**options) -> MemoryNetwork:
    options = {"hops": 3, "memory": 6, "deviation": 0.7, "generator": torch.Generator().manual_seed(1)} | options
    return MemoryNetwork(12, 5, **options).double().eval()


def vector(embedding: Tensor, words: list[int], encoding: str) -> list[float]:
    """A sentence as the sum of its words, each times its weights."""
    words = [word for word in words if word]
    size, width = len(words), embedding.shape[1]
    x = [0.0] * width
    for j, word in enumerate(words, 1):
        for k in range(1, width + 1):
            weight = (1 - j / size) - k / width * (1 - 2 * j / size) if encoding == "position" else 1.0
            x[k - 1] += weight * embedding[word, k - 1].item()
    return x


def by_hand(net: MemoryNetwork, story: list[list[int]], question: list[int]) -> tuple[list[float], list[list[float]]]:
    """Logits, and the attention of every hop."""
    words = [one.weight.detach() for one in net.words]
    times = None if net.times is None else [one.weight.detach() for one in net.times]
    layer = net.tying == "layer"
    u = vector(net.query.weight if layer else words[0], question, net.encoding)
    story = [sentence for sentence in story if any(sentence)][-net.memory :]

    def memory(index: int, i: int) -> list[float]:
        x = vector(words[index], story[i], net.encoding)
        age = len(story) - 1 - i
        return x if times is None else [a + float(b) for a, b in zip(x, times[index][age], strict=True)]

    attention = []
    for hop in range(net.hops):
        a = 0 if layer else hop
        scores = [sum(x * y for x, y in zip(u, memory(a, i), strict=True)) for i in range(len(story))]
        total = sum(math.exp(s) for s in scores)
        p = scores if net.linear else [math.exp(s) / total for s in scores]
        attention.append(p)
        o = [sum(p[i] * memory(a + 1, i)[k] for i in range(len(story))) for k in range(net.width)]
        if layer:
            u = [sum(net.carry.weight[k, n].item() * u[n] for n in range(net.width)) for k in range(net.width)]
        u = [x + y for x, y in zip(u, o, strict=True)]
    out = net.answer.weight if layer else words[-1]
    return [sum(row[k].item() * u[k] for k in range(net.width)) for row in out], attention


STORIES = torch.tensor(
    [
        [[1, 2, 3, 0], [4, 5, 0, 0], [1, 1, 6, 7]],
        [[0, 0, 0, 0], [3, 2, 1, 0], [8, 0, 0, 0]],
    ]
)
QUESTIONS = torch.tensor([[9, 10, 0], [11, 0, 0]])


@pytest.mark.parametrize("encoding", ["position", "bag"])
@pytest.mark.parametrize("tying", ["adjacent", "layer"])
@pytest.mark.parametrize("temporal", [True, False])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("memory", [2, 6])
def test_it_is_its_equations(encoding: str, tying: str, temporal: bool, linear: bool, memory: int) -> None:
    net = network(encoding=encoding, tying=tying, temporal=temporal, memory=memory)
    net.linear = linear
    reading = net(STORIES, QUESTIONS)
    for n in range(2):
        logits, attention = by_hand(net, STORIES[n].tolist(), QUESTIONS[n].tolist())
        torch.testing.assert_close(reading.logits[n, 1:], torch.tensor(logits[1:], dtype=torch.float64))
        for hop in range(3):
            p = reading.attention[n, hop]
            torch.testing.assert_close(p[p != 0], torch.tensor(attention[hop], dtype=torch.float64))
    assert (reading.logits[:, 0] == -torch.inf).all()


def test_weights_of_positions_are_those_of_the_paper() -> None:
    """The first and the last unit of three words: (1 - j/3) - (k/d)(1 - 2j/3)."""
    l = position_weights(torch.tensor([[4, 5, 6, 0]]), 10).double()
    for j in (1, 2, 3):
        for k in (1, 10):
            assert float(l[0, j - 1, k - 1]) == pytest.approx((1 - j / 3) - k / 10 * (1 - 2 * j / 3), abs=1e-6)


@pytest.mark.parametrize("tying", ["adjacent", "layer"])
def test_padding_says_nothing(tying: str) -> None:
    net = network(tying=tying)
    wide = torch.nn.functional.pad(STORIES, (0, 2, 3, 0))  # more words, and sentences of blanks before the story
    torch.testing.assert_close(net(wide, QUESTIONS).logits, net(STORIES, QUESTIONS).logits)
    torch.testing.assert_close(
        net(torch.nn.functional.pad(STORIES, (0, 0, 0, 2)), QUESTIONS).logits, net(STORIES, QUESTIONS).logits
    )
    alone = net(STORIES[1:], QUESTIONS[1:])
    torch.testing.assert_close(alone.logits, net(STORIES, QUESTIONS).logits[1:])


def test_a_story_without_sentences_has_an_answer() -> None:
    net = network()
    reading = net(torch.zeros(1, 2, 4, dtype=torch.long), QUESTIONS[:1])
    assert reading.logits[:, 1:].isfinite().all()
    assert (reading.attention == 0).all()


def test_only_the_latest_sentences_are_read() -> None:
    net = network(memory=2)
    changed = STORIES.clone()
    changed[0, 0] = 5
    assert torch.equal(net(changed, QUESTIONS).logits, net(STORIES, QUESTIONS).logits)
    assert (net(STORIES, QUESTIONS).attention[0, :, 0] == 0).all()


def test_what_is_shared() -> None:
    """Adjacent: K + 1 embeddings and nothing else. Layer-wise: A, B, C, H, W, whatever the number of hops."""
    adjacent = {name for name, _ in network(hops=4).named_parameters()}
    assert len([name for name in adjacent if name.startswith("words")]) == 5
    assert all(name.startswith(("words", "times")) for name in adjacent)
    two, five = (sum(p.numel() for p in network(tying="layer", hops=k).parameters()) for k in (2, 5))
    assert two == five
    assert torch.equal(network().words[0].weight[0], torch.zeros(5).double())


def test_noise_puts_empty_memories_between_sentences() -> None:
    """Ages only grow, keep their order, and grow by at most a tenth of the story, rounded up; not in evaluation."""
    net = network(noise=0.1, memory=40)
    story = torch.ones(200, 20, 1, dtype=torch.long)
    given, age = torch.ones(200, 20, dtype=torch.bool), torch.arange(20).flip(0).expand(200, -1)
    more = net._blanks_after(given, age, torch.Generator().manual_seed(0))
    assert more.min() == 0
    assert more.max() == 2
    assert (more[:, :-1] >= more[:, 1:]).all()
    counts = torch.bincount(more[:, 0], minlength=3) / 200  # before the oldest sentence a blank is worth nothing
    assert counts[0] == pytest.approx(1 / 3 + (1 / 21 + 1 / 21**2) / 3, abs=0.12)
    question = torch.ones(200, 1, dtype=torch.long)
    assert torch.equal(net(story, question).logits[0], net(story, question).logits[1])
    net.train()
    noisy = net(story, question, generator=torch.Generator().manual_seed(0)).logits
    assert len(noisy[:, 1].unique()) > 10
    assert torch.equal(noisy, net(story, question, generator=torch.Generator().manual_seed(0)).logits)
    net.noise = 0.0
    assert torch.equal(net(story, question).logits[0], net(story, question).logits[1])


def test_the_blank_stays_zero_in_training(generator: torch.Generator) -> None:
    net, told = MemoryNetwork(Stories().vocab_size, 4, generator=generator), Stories().told(40, 6, generator)
    before = copy.deepcopy(net)
    history = fit_answers(net, told.sentences, told.question, told.answer, epochs=3, generator=generator)
    assert len(history) == 3
    assert history[0].linear
    assert not net.linear
    assert not torch.equal(net.words[1].weight, before.words[1].weight)
    assert all((words.weight[0] == 0).all() for words in net.words)


def test_it_learns_where_somebody_is(generator: torch.Generator) -> None:
    task = Stories(kinds="one")
    told, new = task.told(400, 4, generator), task.told(200, 4, generator)
    net = MemoryNetwork(task.vocab_size, 20, hops=1, generator=generator)
    history = fit_answers(net, told.sentences, told.question, told.answer, epochs=40, rate=0.03, generator=generator)
    reading = net(new.sentences, new.question)
    assert (reading.logits.argmax(-1) == new.answer).float().mean() > 0.85
    assert (reading.attention[:, 0].argmax(-1) == new.support[:, 0]).float().mean() > 0.85
    switched = [epoch.linear for epoch in history]
    assert switched == sorted(switched, reverse=True)  # linear first, then never again
    assert 1 < sum(switched) < 40


def test_layers_carry_on_what_they_have_been_asked() -> None:
    """With H = 1, and A and C the same everywhere, the layer-wise network is the adjacent one."""
    adjacent, layer = network(), network(tying="layer")
    with torch.no_grad():
        for words, times in zip(adjacent.words, adjacent.times, strict=True):
            words.weight.copy_(adjacent.words[0].weight)
            times.weight.copy_(adjacent.times[0].weight)
        for n in range(2):
            layer.words[n].weight.copy_(adjacent.words[0].weight)
            layer.times[n].weight.copy_(adjacent.times[0].weight)
        layer.query.weight.copy_(adjacent.words[0].weight)
        layer.answer.weight.copy_(adjacent.words[0].weight)
        layer.carry.weight.copy_(torch.eye(5))
    torch.testing.assert_close(layer(STORIES, QUESTIONS).logits, adjacent(STORIES, QUESTIONS).logits)


def test_the_language_model_is_its_equations(generator: torch.Generator) -> None:
    net = MemoryNetworkLM(7, 4, hops=2, memory=3, deviation=0.8, generator=generator).double()
    text = torch.randint(7, (2, 6), generator=generator)
    a, c = (words.weight for words in net.words)
    logits = net(text)
    for row in range(2):
        for t in range(6):
            ages = range(min(3, t + 1))
            u = torch.full((4,), 0.1, dtype=torch.float64)
            for _ in range(2):
                scores = torch.stack([u @ (a[text[row, t - i]] + net.times[0][i]) for i in ages])
                p = scores.exp() / scores.exp().sum()
                o = sum(p[i] * (c[text[row, t - i]] + net.times[1][i]) for i in ages)
                u = net.carry.weight @ u + o
                u = torch.cat([u[:2], u[2:].clamp(min=0)])
            torch.testing.assert_close(logits[row, t], net.head.weight @ u)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MemoryNetwork(12, hops=0), "hops is 0, expected at least 1"),
        (lambda: MemoryNetwork(12, encoding="bow"), "encoding is 'bow', expected 'position' or 'bag'"),
        (lambda: MemoryNetwork(12, tying="adjacant"), "tying is 'adjacant'"),
        (lambda: MemoryNetwork(12, noise=2), "noise is 2"),
        (lambda: network()(STORIES[0], QUESTIONS), r"sentences has shape (3, 4) and question (2, 3)"),
        (lambda: network()(STORIES, QUESTIONS[:1]), "expected (batch, sentence, word) and (batch, word)"),
        (lambda: network()(STORIES + 7, QUESTIONS), "sentences holds words from 7 to 15, expected 0 to 11"),
        (lambda: MemoryNetworkLM(0), "vocab_size is 0"),
        (lambda: MemoryNetworkLM(5)(torch.zeros(3, dtype=torch.long)), "input_ids has shape (3,)"),
        (lambda: fit_answers(network(), STORIES, QUESTIONS, QUESTIONS[:, 0]), "2 stories, 2 questions and 2 answers"),
        (lambda: fit_answers(torch.nn.Identity(), *[torch.ones(20)] * 3), "Identity has no 'linear' to start with"),
    ],
)
def test_bad_input_says_so(make, says: str) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_the_examples_of_the_documentation_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "memory-networks.md").read_text("utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "docs/memory-networks.md", "exec"), {})
    assert capsys.readouterr().out.startswith("john ")
