"""What papers train on: lists that come again, lengths that grow, sines."""

from __future__ import annotations

import torch

from seqmem.papers import aaren, fan, minrnn, synaptic_resonance
from seqmem.papers import verbatim_memory_surprisal as verbatim


def lists_of(row: list[int]) -> list[list[int]]:
    """The nouns between a mark and its stop, for every list that the text has room for."""
    found: list[list[int]] = []
    inside = False
    for token in row:
        if token in (verbatim.LIST, verbatim.AGAIN):
            found.append([])
            inside = True
        elif token == verbatim.STOP:
            inside = False
        elif inside:
            found[-1].append(token)
    return found[:-1] if inside else found


def test_lists_come_again_three_times_in_four() -> None:
    tokens, listed = verbatim.texts(400, torch.Generator().manual_seed(0))
    assert tokens.shape == listed.shape == (400, verbatim.LENGTH)
    assert torch.equal(listed, tokens >= verbatim.FIRST_NOUN)
    again = []
    for row in tokens.tolist():
        first, *later = lists_of(row)
        assert row.count(verbatim.LIST) == 1
        assert verbatim.SHORTEST <= len(first) <= verbatim.LONGEST
        assert all(len(set(nouns)) == len(first) for nouns in (first, *later))
        again += [nouns == first for nouns in later]
    assert len(again) > 400
    assert abs(sum(again) / len(again) - verbatim.SAME) < 0.06


def test_lengths_grow_to_the_one_that_is_tested() -> None:
    lengths = [minrnn.text_length(step, 1000) for step in range(1000)]
    assert lengths == sorted(lengths)
    assert lengths[0] == 2 * minrnn.SYMBOLS
    assert lengths[int(minrnn.GROWN * 1000) :] == [minrnn.LENGTH] * 100


def test_sines_have_the_frequency_that_is_asked_for() -> None:
    batch = aaren.series(300, torch.Generator().manual_seed(0))
    assert (batch.targets != aaren.IGNORE).sum(1).tolist() == [1] * 300
    power = torch.fft.rfft(batch.inputs - batch.inputs.double().mean(1, keepdim=True)).abs()
    cycles = torch.tensor(aaren.CYCLES)
    assert torch.equal(power.argmax(1), cycles[batch.targets[:, -1]])
    without = aaren.series(300, torch.Generator().manual_seed(0), ordered=False)
    assert torch.equal(without.inputs.sort(1).values, batch.inputs.sort(1).values)
    power = torch.fft.rfft(without.inputs - without.inputs.double().mean(1, keepdim=True)).abs()
    assert float((power.argmax(1) == cycles[without.targets[:, -1]]).double().mean()) < 0.1


def test_the_perceptrons_beside_fan_have_its_shape() -> None:
    x = torch.linspace(-3, 3, 7)[:, None]
    assert all(fan.network(net)(x).shape == (7, 1) for net in fan.NETS)
    features = fan.FourierFeatures(1, 3)
    assert torch.allclose(features(x)[:, 3:], torch.sin(x * features.frequencies[0]))
    y = fan._scaled("two_periods")(fan.places(20_000, torch.Generator().manual_seed(0)))
    assert abs(float(y.mean())) < 0.03
    assert abs(float(y.std()) - 1) < 0.03


def test_facts_are_said_again_from_beyond_every_window() -> None:
    m = synaptic_resonance
    for stated in (True, False):
        made = m.documents(200, torch.Generator().manual_seed(0), stated=stated)
        assert made.again.sum(1).tolist() == [m.FACTS] * 200
        same, reach = [], m.LAYERS * (m.WINDOW - 1 + 1)  # each layer's window and its convolution
        for row, again in zip(made.tokens.tolist(), made.again.tolist(), strict=True):
            said = {}  # key -> value and its place, the first time
            for t, token in enumerate(row):
                if token < m.KEYS and t < 2 * m.SLOTS:
                    said[token] = (row[t + 1], t + 1)
            assert len(said) == m.FACTS
            for t in (t for t, one in enumerate(again) if one):
                value, place = said[row[t - 1]]
                assert t - 1 - place > reach
                same.append(row[t] == value)
        share = sum(same) / len(same)
        assert share == 1 if stated else abs(share - 1 / m.VALUES) < 0.04
