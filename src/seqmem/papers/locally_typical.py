"""Locally typical sampling: texts continued by a small byte model that a larger one judges, and by a pretrained one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import TopPLogitsWarper

from seqmem.decoding import LocallyTypical, information, repeated_ngrams
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers._text import byte_model, continued, nats, words
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.bytes import Bytes

PAPER = Paper(
    slug="locally-typical",
    uses=("seqmem.decoding.LocallyTypical", "seqmem.decoding.information", "seqmem.decoding.repeated_ngrams"),
    setup="A byte model with two layers of attention reads the beginning of passages of a novel that it was not "
    "trained on, and continues them with each decoder. A model of twice the width judges the "
    "continuations. A pretrained model continues other passages likewise.",
    baseline="greedy decoding and nucleus sampling at the same mass",
    control="sampling from the whole distribution: there information and entropy must agree on average",
    figures=(
        Figure("gap_typical", "distance of mean information and mean entropy of what was chosen, typical 0.9", "nats"),
        Figure("gap_nucleus", "the same, nucleus 0.9", "nats"),
        Figure("gap_greedy", "the same, greedy", "nats"),
        Figure("gap_ancestral", "the same, the whole distribution (control)", "nats"),
        Figure("gap_human", "the same for the novel itself", "nats"),
        Figure("rep_typical", "repeated trigrams of words, typical 0.5", "share"),
        Figure("rep_nucleus", "the same, nucleus 0.5", "share"),
        Figure("rep_greedy", "the same, greedy", "share"),
        Figure("rep_human", "the same for the novel itself", "share"),
        Figure("judged_typical", "perplexity per byte under the larger model, typical 0.9", ""),
        Figure("judged_nucleus", "the same, nucleus 0.9", ""),
        Figure("judged_human", "the same for the novel itself", ""),
        Figure("pre_typical", "pretrained: distance of information and entropy, typical 0.9", "nats"),
        Figure("pre_nucleus", "pretrained: the same, nucleus 0.9", "nats"),
        Figure("pre_greedy", "pretrained: the same, greedy", "nats"),
        Figure("pre_rep_typical", "pretrained: repeated trigrams of words, typical 0.5", "share"),
        Figure("pre_rep_nucleus", "pretrained: the same, nucleus 0.5", "share"),
        Figure("pre_rep_greedy", "pretrained: the same, greedy", "share"),
        Figure("pre_reads", "pretrained: what the order of the tokens is worth (none: it reads nothing)", "nats"),
    ),
    rule=Rule(
        holds="gap_typical <= gap_nucleus and gap_typical <= gap_greedy and rep_typical <= 0.5 * rep_greedy "
        "and rep_typical <= rep_nucleus + 0.02 and abs(judged_typical / judged_nucleus - 1) <= 0.1 "
        "and pre_typical <= pre_nucleus and pre_typical <= pre_greedy and pre_rep_typical <= 0.5 * pre_rep_greedy "
        "and pre_rep_typical <= pre_rep_nucleus + 0.02 and pre_reads > 0.5",
        in_part="gap_typical <= gap_greedy and rep_typical <= 0.5 * rep_greedy and pre_typical <= pre_greedy "
        "and pre_rep_typical <= 0.5 * pre_rep_greedy and pre_reads > 0.5",
        control="gap_ancestral < 0.05",
    ),
    limits="A byte model of under a million weights on one novel; no human judges the quality, only a larger model. "
    "The paper's tasks are stories and summaries by models a hundred times larger.",
    own_model="model.generate(ids, do_sample=True, logits_processor=LogitsProcessorList([LocallyTypical(0.9)]))",
    settings={
        "smoke": {"width": 16, "steps": 4, "judge": 4, "texts": 2, "length": 40, PRETRAINED: TINY, "longer": [2, 12]},
        "laptop": {
            "width": 96, "steps": 500, "judge": 300, "texts": 32, "length": 400, PRETRAINED: "smollm2",
            "longer": [8, 128],
        },
        "full": {
            "width": 192, "steps": 4000, "judge": 4000, "texts": 128, "length": 1000, PRETRAINED: "smollm2",
            "longer": [32, 512],
        },
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("trained", "pretrained"),
    takes_model=("pretrained",),
)  # fmt: skip

PROMPT = 64  # bytes
BEGINNING = 16  # tokens, of the pretrained model
DECODERS: dict[str, Callable[..., Tensor] | None] = {
    "greedy": None,
    "typical 0.9": LocallyTypical(0.9),
    "nucleus 0.9": TopPLogitsWarper(0.9),
    "ancestral": LocallyTypical(1.0),
    "typical 0.5": LocallyTypical(0.5),
    "nucleus 0.5": TopPLogitsWarper(0.5),
}


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One pair of models trained, or a pretrained one; every decoder continues the same beginnings."""
    return _pretrained(settings, seed, model, report) if part == "pretrained" else _trained(settings, seed, report)


def _trained(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    length = settings["length"]
    width, steps, judging = settings["width"], settings["steps"], settings["judge"]
    lm = byte_model(["attention"] * 2, width, steps, seed, report=lambda n: report(0.3 * n / steps, "training"))
    tell = lambda n: report(0.3 + 0.4 * n / judging, "training the judge")  # noqa: E731
    judge = byte_model(["attention"] * 2, 2 * width, judging, seed + 100, rate=2e-3, report=tell)
    generator = torch.Generator().manual_seed(seed)
    human = Bytes().sample(settings["texts"], PROMPT + length, generator, split="test").inputs
    prompts = human[:, :PROMPT]
    texts = {"human": human}
    for n, (name, processor) in enumerate(DECODERS.items()):
        report(0.7 + 0.05 * n, name)
        torch.manual_seed(seed)
        options = {"do_sample": True, "top_k": 0} if processor is not None else {"do_sample": False}
        texts[name] = continued(lm, prompts, length, [processor] if processor is not None else [], **options)
    gap, repeated, judged, series = {}, {}, {}, {}
    for name, text in texts.items():
        with torch.no_grad():
            surprise, entropy = information(lm(text[:, :-1]).logits[:, PROMPT - 1 :], text[:, PROMPT:])
        gap[name] = abs(float((surprise - entropy).mean()))
        repeated[name] = float(np.mean([repeated_ngrams(words(row[PROMPT:]), 3) for row in text]))
        judged[name] = float(nats(judge, text)[:, PROMPT - 1 :].mean().exp())
        share, edges = np.histogram((surprise - entropy).flatten().numpy(), bins=24, range=(-3, 6), density=True)
        middle = (edges[1:] + edges[:-1]) / 2
        series[f"information minus entropy: {name}"] = {"x": middle.tolist(), "y": share.tolist()}
    figures = {f"gap_{name}": gap[f"{name} 0.9"] for name in ("typical", "nucleus")}
    figures |= {f"gap_{name}": gap[name] for name in ("greedy", "ancestral", "human")}
    figures |= {f"rep_{name}": repeated[f"{name} 0.5"] for name in ("typical", "nucleus")}
    figures |= {f"rep_{name}": repeated[name] for name in ("greedy", "human")}
    figures |= {f"judged_{name}": judged[f"{name} 0.9"] for name in ("typical", "nucleus")}
    figures["judged_human"] = judged["human"]
    return {"figures": figures, "series": series}


def _pretrained(settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    lm, tokenizer = subject(model, settings)
    generator = torch.Generator().manual_seed(seed)
    rows, length = settings["longer"]
    novel = Bytes().text.written("test")
    ids = torch.tensor(tokenizer(novel, add_special_tokens=False)["input_ids"])
    windows = ids.unfold(0, BEGINNING + length, BEGINNING)
    human = windows[torch.randperm(len(windows), generator=generator)[:rows]]
    decoders = {name: processor for name, processor in DECODERS.items() if name != "ancestral"}
    gap, repeated = {}, {}
    for n, (name, processor) in enumerate(decoders.items()):
        report(n / len(decoders), name)
        torch.manual_seed(seed)
        sampling: dict[str, Any] = {"do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0}
        options = sampling if processor is not None else {"do_sample": False}
        text = continued(lm, human[:, :BEGINNING], length, [] if processor is None else [processor], **options)
        with torch.no_grad():
            logits = lm(text[:, :-1]).logits[:, BEGINNING - 1 :]
        if (end := lm.generation_config.eos_token_id) is not None:  # which generate did not let it say
            logits[..., end] = -torch.inf
        surprise, entropy = information(logits, text[:, BEGINNING:])
        gap[name] = abs(float((surprise - entropy).mean()))
        said = [tokenizer.decode(row[BEGINNING:].tolist()).split() for row in text]
        repeated[name] = float(np.mean([repeated_ngrams(row, 3) for row in said]))
    mixed = human[:, torch.randperm(human.shape[1], generator=generator)]
    figures = {f"pre_{name}": gap[f"{name} 0.9"] for name in ("typical", "nucleus")} | {"pre_greedy": gap["greedy"]}
    figures |= {f"pre_rep_{name}": repeated[f"{name} 0.5"] for name in ("typical", "nucleus")}
    figures |= {
        "pre_rep_greedy": repeated["greedy"],
        "pre_reads": float(nats(lm, mixed).mean() - nats(lm, human).mean()),
    }
    return {"figures": figures}
