"""Processors against transformers' own and against brute force; measures where the answer is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LogitsProcessorList, TypicalLogitsWarper

from seqmem import decoding
from seqmem.decoding import LocallyTypical, MonotoneTermination, NonMonotonicTermination, find_loop
from seqmem.errors import InputError


def _kept_by_definition(p: torch.Tensor, mass: float) -> set[int]:
    """The shortest beginning of the order by |information - entropy| that holds the mass, with the ties of its end."""
    entropy = -sum(float(x) * math.log(float(x)) for x in p if x > 0)
    distance = [abs(-math.log(float(x)) - entropy) if x > 0 else math.inf for x in p]
    total, last = 0.0, 0.0
    for i in sorted(range(len(p)), key=lambda i: distance[i]):
        total, last = total + float(p[i]), distance[i]
        if total >= mass:
            break
    return {i for i, d in enumerate(distance) if d <= last + 1e-9}


def test_locally_typical_keeps_what_its_definition_keeps(generator) -> None:
    for _ in range(1000):
        size = int(torch.randint(2, 12, (), generator=generator))
        scores = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
        mass = float(torch.rand((), generator=generator)) * 0.98 + 0.01
        kept = LocallyTypical(mass)(None, scores[None].float())[0]
        assert set(kept.isfinite().nonzero().flatten().tolist()) == _kept_by_definition(scores.softmax(-1), mass)


@pytest.mark.parametrize("mass", [0.2, 0.5, 0.9, 0.95])
def test_locally_typical_is_transformers(mass, generator) -> None:
    scores = 4 * torch.randn(64, 100, generator=generator)
    for least in (1, 5):
        theirs = TypicalLogitsWarper(mass=mass, min_tokens_to_keep=least)(None, scores)
        assert torch.equal(LocallyTypical(mass, least)(None, scores), theirs)


def test_locally_typical_at_its_ends(generator) -> None:
    scores = torch.randn(3, 7, generator=generator)
    assert torch.equal(LocallyTypical(1.0)(None, scores), scores)
    assert LocallyTypical(0.5)(None, torch.zeros(1, 4)).isfinite().all()  # all tie
    # sixteen tokens of about the entropy, and one twice as likely, which goes
    p = torch.tensor([2.0] + [1.0] * 16)
    assert not LocallyTypical(0.5)(None, p.log()[None])[0, 0].isfinite()
    certain = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert LocallyTypical(0.5)(None, certain)[0].tolist() == [0, -math.inf, -math.inf]
    for mass in (0, 1.5, math.nan):
        with pytest.raises(InputError, match="mass is"):
            LocallyTypical(mass)


def test_the_end_comes_whatever_the_network_says(generator) -> None:
    epsilon, end = 1e-2, 3
    logits = 20 * torch.randn(50, 7, generator=generator, dtype=torch.float64)
    logits[:, end] = -30  # it never wants to end
    for t in (1, 10, 69, 1000):
        log_p = decoding.non_monotonic_log_probs(logits, end, t, epsilon)
        torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(50, dtype=torch.float64))
        bound = 1 - (1 - epsilon) ** t
        assert (log_p[:, end].exp() >= bound - 1e-12).all()
        torch.testing.assert_close(log_p[:, end].exp(), torch.full((50,), bound, dtype=torch.float64))
        others = torch.cat([logits[:, :end], logits[:, end + 1 :]], -1).softmax(-1)
        ours = torch.cat([log_p[:, :end], log_p[:, end + 1 :]], -1).softmax(-1)
        torch.testing.assert_close(others, ours)
    assert math.ceil(math.log(0.5) / math.log(1 - epsilon)) == 69  # and from there on greedy decoding ends
    assert (decoding.non_monotonic_log_probs(logits, end, 69, epsilon).argmax(-1) == end).all()


def test_monotone_head_never_falls_and_the_other_may(generator) -> None:
    logits = 3 * torch.randn(4, 30, 5, generator=generator, dtype=torch.float64)
    steps = torch.arange(1, 31)
    rising = decoding.monotone_log_probs(logits, 0, 1e-3)[..., 0]
    assert (rising.diff(dim=1) >= 0).all()
    free = decoding.non_monotonic_log_probs(logits, 0, steps, 1e-3)[..., 0]
    assert (free.diff(dim=1) < 0).any(1).all()
    goes_on = torch.cumprod((1 - 1e-3) * torch.sigmoid(-logits[..., 0]), 1)
    torch.testing.assert_close(rising.exp(), 1 - goes_on)
    first = decoding.monotone_log_probs(logits[:, :11], 0, 1e-3)
    before = torch.log1p(-first[:, -1, 0].exp())
    rest = decoding.monotone_log_probs(logits[:, 11:], 0, 1e-3, before)
    torch.testing.assert_close(torch.cat([first, rest], 1)[..., 0], rising)


def test_processors_end_a_model_that_never_would() -> None:
    from seqmem.models import SequenceConfig, SequenceLM

    torch.manual_seed(0)
    model = SequenceLM(SequenceConfig(vocab_size=11, width=8, layers=["min_gru"])).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight[4] = 0  # the end token never wins by itself
    prompt = torch.tensor([[1, 2, 3]])
    options = {"max_new_tokens": 60, "do_sample": False, "eos_token_id": 4, "pad_token_id": 0}
    free = model.generate(prompt, **options)
    assert decoding.non_termination(free[:, 3:], 4, 60) == 1
    for head in (NonMonotonicTermination(4, 0.05, prompt_length=3), MonotoneTermination(4, 0.05)):
        ended = model.generate(prompt, logits_processor=LogitsProcessorList([head]), **options)
        assert decoding.non_termination(ended[:, 3:], 4, 60) == 0


def test_repetition_measures() -> None:
    text = ["a", "b", "a", "b", "a", "b", "c"]
    assert decoding.repeated_ngrams(text, 2) == 1 - 3 / 6  # ab ba ab ba ab bc
    assert decoding.repeated_ngrams(text, 8) == 0
    assert decoding.repeated_ngrams(torch.tensor([1, 1, 1, 1]), 1) == 0.75
    assert decoding.repeated_within("abcabc", 2) == 0
    assert decoding.repeated_within("abcabc", 3) == 0.5
    assert decoding.distinct([text, ["a", "b"]], 2) == 3 / 7
    assert decoding.diversity(list(range(20))) == 1
    assert decoding.diversity([7] * 20) == pytest.approx(1 / 19 / 18 / 17)
    with pytest.raises(InputError, match="n is 0"):
        decoding.repeated_ngrams(text, 0)
    with pytest.raises(InputError, match="expected \\(time,\\)"):
        decoding.distinct([torch.zeros(2, 3)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=6), st.lists(st.integers(0, 2), min_size=1, max_size=4), st.integers(0, 12))
def test_find_loop_is_brute_force(head: list[int], period: list[int], length: int) -> None:
    x = head + list(itertools.islice(itertools.cycle(period), length))
    best = None
    for p in range(1, len(x) // 3 + 1):
        start = next(s for s in range(len(x)) if all(x[i] == x[i - p] for i in range(s + p, len(x))))
        if (len(x) - start) / p >= 3:
            best = (start, p, (len(x) - start) / p)
            break
    assert find_loop(x) == best


def test_information_and_entropy_band(generator) -> None:
    logits = torch.randn(5, 9, generator=generator)
    tokens = torch.randint(0, 9, (5,), generator=generator)
    surprise, entropy = decoding.information(logits, tokens)
    p = logits.softmax(-1)
    torch.testing.assert_close(surprise, -p[torch.arange(5), tokens].log())
    torch.testing.assert_close(entropy, torch.distributions.Categorical(probs=p).entropy())
    assert decoding.entropy_band(torch.zeros(3, 4), torch.tensor([0, 1, 2]), 1e-5) == 1


def test_items_of_a_list() -> None:
    labels = decoding.classify_items(
        ["Paris", "Lyon", "paris ", "Atlantis", "Atlantis.", "", "Lyon"], gold=["Paris", "Lyon", "Lille"]
    )
    assert labels == ["correct", "correct", "repetition", "hallucination", "degenerate", "degenerate", "repetition"]
    assert decoding.first_of_each(labels) == {"correct": 0, "repetition": 2, "hallucination": 3, "degenerate": 4}
    assert decoding.follows_shift_order(labels) is False
    assert decoding.follows_shift_order(["correct", "hallucination", "degenerate", "repetition"]) is True
    assert decoding.follows_shift_order(["hallucination", "hallucination"]) is None
