"""Recurrent memory: facts told in the first segment of a text are asked for in a later one, by a tiny GPT-2 that sees
one segment at a time and passes memory tokens on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import DynamicCache
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from seqmem.context import RecurrentMemory
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule

PAPER = Paper(
    slug="rmt",
    uses=("seqmem.context.RecurrentMemory",),
    setup="Three keys, each followed by one of 8 values, open a text; noise fills it up to 1 to 4 segments of 12 "
    "tokens; the last three tokens are the keys again, in another order, and the value of each is asked. A GPT-2 of 2 "
    "layers and width 64 with 4 memory tokens is trained on one segment, and on one more whenever it answers 93 % (at "
    "most 4), with the gradient through all segments. Then it is asked at 1 to 16 segments.",
    baseline="the same without memory tokens; the same with the gradient cut between segments; Transformer-XL's cache "
    "of the keys and values of one segment, in a Llama of the same size, whose positions are relative, as it needs",
    control="memory erased before the last segment, and memory exchanged with that of another text about the same "
    "keys: the text's own values may be known from nothing else. The cache must work where it reaches",
    figures=(
        Figure("memory", "facts in segment 1 of 4, memory tokens", "accuracy"),
        Figure("memory_8", "the same at twice the longest training text", "accuracy"),
        Figure("memory_16", "the same at four times", "accuracy"),
        Figure("none", "facts in segment 1 of 4, no memory tokens", "accuracy"),
        Figure("cache", "the same, Transformer-XL's cache of one segment", "accuracy"),
        Figure("cache_near", "the cache with facts in segment 1 of 2, within its reach", "accuracy"),
        Figure("short_gradient", "facts in segment 1 of 4, memory trained without gradient through it", "accuracy"),
        Figure("erased", "memory tokens, erased before segment 4 (control)", "accuracy"),
        Figure("exchanged_own", "memory of another text: its own values are answered (control)", ""),
        Figure("exchanged_other", "the same: the other text's values are answered", ""),
    ),
    rule=Rule(
        holds="worst(memory) >= 0.95 and none <= 0.175 and cache <= 0.175 and low(memory - short_gradient) >= 0.2",
        in_part="worst(memory) >= 0.95 and none <= 0.175",
        control="best(erased) <= 0.175 and best(exchanged_own) <= 0.175 and cache_near >= 0.9",
    ),
    limits="Three facts and 4 memory tokens: how much a memory holds is not asked, nor are copying, reversing and "
    "language modelling. What cannot reach the facts is at chance (0.125) whatever its training; that is what a window "
    "means. Without a gradient through it the memory is not empty: the last tokens attend to the facts as any would, "
    "and reading learns to use what happens to be there. Every other batch is shorter than the curriculum has come, so "
    "that short texts are not unlearnt; beyond the longest training text what is kept fades.",
    own_model="RecurrentMemory(AutoModelForCausalLM.from_pretrained(...), segment=512), then train as usual",
    parts=("memory", "short_gradient", "none", "cache"),
    settings={
        "smoke": {"steps": 4, "test": 20},
        "laptop": {"steps": 700, "test": 2000},
        "full": {"steps": 3000, "test": 10000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

FACTS, KEYS, VALUES, NOISE = 3, 8, 8, 8
VOCABULARY = 1 + KEYS + VALUES + NOISE  # 0 announces the questions
SEGMENT, TOKENS, WIDTH, LONGEST, BATCH = 12, 4, 64, 4, 64
HEADS, RATE = 4, 1e-3
TESTED = (1, 2, 3, 4, 8, 16)

#: token ids (batch, time) -> logits of the last segment (batch, SEGMENT, vocabulary)
Reader = Callable[[Tensor], Tensor]


def _texts(keys: Tensor, segments: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Texts about these keys, (batch, facts): (batch, segments * SEGMENT) tokens, and the answers (batch, facts) to
    their last tokens."""
    batch = len(keys)
    values = 1 + KEYS + torch.randint(VALUES, keys.shape, generator=generator)
    x = 1 + KEYS + VALUES + torch.randint(NOISE, (batch, segments * SEGMENT), generator=generator)
    x[:, : 2 * FACTS] = torch.stack([keys, values], 2).flatten(1)
    order = torch.rand(keys.shape, generator=generator).argsort(1)
    x[:, -FACTS - 1] = 0
    x[:, -FACTS:] = keys.gather(1, order)
    return x, values.gather(1, order)


def _keys(batch: int, generator: torch.Generator) -> Tensor:
    return 1 + torch.rand(batch, KEYS, generator=generator).argsort(1)[:, :FACTS]


def _gpt2() -> GPT2LMHeadModel:
    sizes: dict[str, Any] = {"n_embd": WIDTH, "n_layer": 2, "n_head": HEADS, "n_positions": SEGMENT + 2 * TOKENS}
    off: dict[str, Any] = {
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, initializer_range=0.1, **sizes, **off))


def _llama() -> LlamaForCausalLM:
    sizes: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": HEADS, "intermediate_size": 4 * WIDTH}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, initializer_range=0.1, **sizes))


def _with_cache(model: LlamaForCausalLM, ids: Tensor) -> Tensor:
    """Segment by segment, each beside the hidden states of the one before, from which every layer makes keys and values
    anew; they themselves take no gradient."""
    inside: Any = model.model
    before: Any = None  # hidden states that each layer read, and the positions
    logits = torch.empty(0)
    for s, segment in enumerate(ids.split(SEGMENT, 1)):
        cache = DynamicCache(config=model.config)
        for n, layer in enumerate(inside.layers if before else ()):
            x = layer.input_layernorm(before[0][n].detach())  # (batch, time, width)
            made = (project(x) for project in (layer.self_attn.k_proj, layer.self_attn.v_proj))
            k, v = (y.unflatten(-1, (HEADS, -1)).transpose(1, 2) for y in made)  # (batch, head, time, size)
            cache.update(apply_rotary_pos_emb(k, k, *before[1])[0], v, n)
        at = s * SEGMENT + torch.arange(SEGMENT)[None]
        out = model(segment, past_key_values=cache, position_ids=at, use_cache=True, output_hidden_states=True)
        logits, before = out.logits, (out.hidden_states, inside.rotary_emb(out.logits, at))
    return logits


def _train(
    model: torch.nn.Module, read: Reader, steps: int, generator: torch.Generator, report: Callable[[int, int], None]
) -> None:
    """The curriculum: a segment more when the running accuracy is 93 %; every other batch has any length up to that."""
    segments, right, since = 1, 0.0, 0

    def loss_of(step: int) -> Tensor:
        nonlocal segments, right, since
        if right > 0.93 and since > 20 and segments < LONGEST:
            segments, right, since = segments + 1, 0.0, 0
        length = segments if step % 2 else 1 + int(torch.randint(segments, (), generator=generator))
        x, y = _texts(_keys(BATCH, generator), length, generator)
        logits = read(x)[:, -FACTS:]
        if length == segments:
            right = 0.9 * right + 0.1 * float((logits.argmax(-1) == y).float().mean())
            since += 1
        report(step, segments)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())

    descend(model, loss_of, steps, RATE)


@torch.no_grad()
def _controls(wrapped: RecurrentMemory, count: int, generator: torch.Generator) -> dict[str, float]:
    """What is answered in the last segment after another memory than its own."""
    keys = _keys(count, generator)
    (x, own), (other_x, other) = (_texts(keys, LONGEST, generator) for _ in range(2))
    last = x[:, -SEGMENT:]

    def answers(memory: Tensor | None) -> Tensor:
        return wrapped(last, memory=memory).logits[:, -FACTS:].argmax(-1)

    exchanged = answers(wrapped(other_x[:, :-SEGMENT], only_last=True).memory)
    # the other text asks in another order: its values by key, in the order of this one
    same = other_x[:, None, -FACTS:] == x[:, -FACTS:, None]  # (batch, asked here, asked there)
    of_other = (same * other[:, None]).sum(-1)
    return {
        "erased": float((answers(None) == own).float().mean()),
        "exchanged_own": float((exchanged == own).float().mean()),
        "exchanged_other": float((exchanged == of_other).float().mean()),
    }


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One model: trained, then asked at all lengths."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    trained: torch.nn.Module
    read: Reader
    if part == "cache":
        trained = net = _llama()

        def read(x: Tensor) -> Tensor:
            return _with_cache(net, x)
    else:
        tokens, bptt = (0 if part == "none" else TOKENS), (0 if part == "short_gradient" else None)
        trained = wrapped = RecurrentMemory(_gpt2(), SEGMENT, tokens, bptt, generator=generator)

        def read(x: Tensor) -> Tensor:
            return wrapped(x, only_last=True).logits

    steps = settings["steps"]
    _train(trained, read, steps, generator, lambda step, s: report(step / steps, f"{s} segment(s)"))
    trained.eval()
    right: dict[int, float] = {}
    with torch.no_grad():
        for segments in TESTED:
            x, y = _texts(_keys(settings["test"], generator), segments, generator)
            right[segments] = float((read(x)[:, -FACTS:].argmax(-1) == y).float().mean())
    figures = {part: right[4]}
    if part == "memory":
        figures |= {"memory_8": right[8], "memory_16": right[16], **_controls(wrapped, settings["test"], generator)}
    if part == "cache":
        figures["cache_near"] = right[2]
    line = {"x": [float(s) for s in right], "y": list(right.values())}
    names = {"memory": "memory tokens", "short_gradient": "gradient cut", "none": "no memory", "cache": "cache"}
    return {"figures": figures, "series": {f"accuracy against segments: {names[part]}": line}}
