"""The same text with and without the state, alone and in a padded batch, whatever the layers are."""

import itertools

import pytest
import torch

from seqmem.errors import InputError
from seqmem.models import StateCache
from tests.models.stacks import ATTENTION, AVERAGE, STACKS, small

PROMPTS = [[5, 9, 3, 30, 2, 8, 8], [4], [7, 1, 12]]
PAD = 0


def padded(prompts):
    """Left padding: (batch, longest) ids and attention mask."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


def greedy(model, prompt, tokens):
    """The definition: read everything again for each token, take the most likely."""
    text = list(prompt)
    for _ in range(tokens):
        logits, _ = model.run(torch.tensor([text]))
        text.append(int(logits[0, -1].argmax()))
    return text[len(prompt) :]


@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_text_is_that_of_each_prompt_alone(layers, use_cache):
    model = small(layers).double()
    ids, mask = padded(PROMPTS)
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=6, do_sample=False, use_cache=use_cache, pad_token_id=PAD
    )
    with torch.no_grad():
        expected = [greedy(model, prompt, 6) for prompt in PROMPTS]
    assert out[:, ids.shape[1] :].tolist() == expected


@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS)
def test_beams_are_those_of_each_prompt_alone(layers):
    model = small(layers).double()
    ids, mask = padded(PROMPTS)
    settings = {"max_new_tokens": 5, "num_beams": 4, "do_sample": False, "pad_token_id": PAD}
    out = model.generate(ids, attention_mask=mask, **settings)[:, ids.shape[1] :]
    for row, prompt in zip(out, PROMPTS, strict=True):
        alone = model.generate(torch.tensor([prompt]), use_cache=False, **settings)[0, len(prompt) :]
        assert row.tolist() == alone.tolist()


@pytest.mark.parametrize("name", ["toy hybrid", "hybrid"])
def test_as_many_beams_as_continuations_find_the_likeliest_one(name):
    model = small(STACKS[name]).double()
    vocab, tokens = 5, 3
    model.resize_token_embeddings(vocab)
    prompt = [1, 4, 2]
    out = model.generate(
        torch.tensor([prompt]), num_beams=vocab**2, max_new_tokens=tokens, do_sample=False, pad_token_id=PAD
    )
    continuations = torch.tensor(list(itertools.product(range(vocab), repeat=tokens)))  # (125, tokens)
    text = torch.cat([torch.tensor([prompt]).expand(len(continuations), -1), continuations], dim=1)
    with torch.no_grad():
        log_p = model.run(text)[0].log_softmax(-1)[:, len(prompt) - 1 : -1]
    score = log_p.gather(-1, continuations[..., None]).sum((1, 2))
    assert out[0, len(prompt) :].tolist() == continuations[score.argmax()].tolist()


@pytest.mark.parametrize("name", ["toy constant", "toy linear", "toy hybrid", "attention", "mamba", "hybrid"])
def test_sampling_is_the_same_with_and_without_the_state_and_with_padding(name):
    model = small(STACKS[name]).double()
    prompt = torch.tensor([PROMPTS[0]])
    ids = torch.cat([torch.full((1, 4), PAD), prompt], dim=1)
    mask = (torch.arange(ids.shape[1]) >= 4).long()[None]
    settings = {"max_new_tokens": 12, "do_sample": True, "top_k": 0, "temperature": 1.5, "pad_token_id": PAD}
    texts = []
    for arguments in ({"use_cache": True}, {"use_cache": False}, {"attention_mask": mask}):
        torch.manual_seed(3)
        given = ids if "attention_mask" in arguments else prompt
        texts.append(model.generate(given, **arguments, **settings)[0, given.shape[1] :].tolist())
    assert texts[0] == texts[1] == texts[2]
    torch.manual_seed(4)
    assert model.generate(prompt, **settings)[0, prompt.shape[1] :].tolist() != texts[0]


@pytest.mark.parametrize("name", ["toy hybrid", "hybrid", "lstm"])
def test_a_cache_continues_a_conversation(name):
    model = small(STACKS[name]).double()
    settings = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": PAD}
    cache = StateCache()
    first = model.generate(torch.tensor([PROMPTS[0]]), past_key_values=cache, **settings)
    assert cache.get_seq_length() == first.shape[1] - 1  # the last token has been written, not read
    text = torch.cat([first, torch.tensor([[3, 3, 1]])], dim=1)
    settings["attention_mask"] = torch.ones_like(text)  # without it transformers takes a 0 in the text for padding
    before = cache.copy()
    second = model.generate(text, past_key_values=cache, **settings)
    assert second.tolist() == model.generate(text, **settings).tolist()
    assert model.generate(text, past_key_values=before, **settings).tolist() == second.tolist()
    with pytest.raises(InputError, match="at least one token more"):
        model.generate(text, past_key_values=cache, **settings)


def test_prompts_in_chunks_embeddings_and_several_samples():
    model = small([AVERAGE, ATTENTION]).double()
    ids, mask = padded(PROMPTS)
    settings = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False, "pad_token_id": PAD}
    whole = model.generate(ids, **settings)
    chunks = model.generate(ids, past_key_values=StateCache(), prefill_chunk_size=2, **settings)
    assert chunks.tolist() == whole.tolist()
    embedded = model.generate(inputs_embeds=model.embed_tokens(ids), **settings)
    assert embedded.tolist() == whole[:, ids.shape[1] :].tolist()
    settings["do_sample"] = True
    assert model.generate(ids, num_return_sequences=2, **settings).shape == (6, ids.shape[1] + 4)


def test_a_reset_in_the_prompt_is_where_the_text_begins():
    model = small([AVERAGE, ATTENTION]).double()
    prompt = torch.tensor([PROMPTS[0]])
    reset = torch.zeros_like(prompt).bool()
    reset[0, 4] = True
    expected = greedy(model, PROMPTS[0][4:], 5)
    settings = {"reset": reset, "max_new_tokens": 5, "do_sample": False, "pad_token_id": PAD}
    ways = ({"use_cache": True}, {"use_cache": False}, {"past_key_values": StateCache(), "prefill_chunk_size": 3})
    for way in ways:
        assert model.generate(prompt, **settings, **way)[0, prompt.shape[1] :].tolist() == expected


def test_stops_at_the_end_token():
    model = small([AVERAGE]).double()
    text = greedy(model, PROMPTS[0], 8)
    end = text[2]
    out = model.generate(
        torch.tensor([PROMPTS[0]]), max_new_tokens=8, do_sample=False, eos_token_id=end, pad_token_id=PAD
    )
    assert out[0, len(PROMPTS[0]) :].tolist() == text[: text.index(end) + 1]


def test_assisted_generation_is_refused():
    model = small([AVERAGE])
    with pytest.raises(ValueError, match="stateful"):
        model.generate(torch.tensor([[1]]), assistant_model=small([AVERAGE]), max_new_tokens=3, do_sample=False)
    with pytest.raises(InputError, match="cannot go back"):
        StateCache().crop(1)


def test_cache_rows():
    states = (torch.arange(6.0).view(3, 2), (torch.arange(3)[:, None],))
    cache = StateCache(states, 4)
    cache.reorder_cache(torch.tensor([2, 2, 0], dtype=torch.int32))
    assert cache.states[0].tolist() == [[4, 5], [4, 5], [0, 1]]
    assert cache.states[1][0].flatten().tolist() == [2, 2, 0]
    cache.batch_repeat_interleave(2)
    assert cache.states[1][0].flatten().tolist() == [2, 2, 2, 2, 0, 0]
    assert cache.bytes == 6 * 2 * 4 + 6 * 8
    assert states[0].tolist() == [[0, 1], [2, 3], [4, 5]]
    cache.reset()
    assert (cache.states, cache.get_seq_length(), cache.bytes) == (None, 0, 0)
