"""Verbatim memory: the surprisal of a list that comes again, for attention and LSTM models trained here, and for a
pretrained Transformer beside a pretrained LSTM."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.cognition import Vignette, repeat_surprisal
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule

PAPER = Paper(
    slug="verbatim-memory-surprisal",
    uses=("seqmem.cognition.repeat_surprisal",),
    setup="Models are trained on texts of filler words with a list of 3 to 10 out of 64 nouns that is announced twice "
    "again after gaps; three times in four the same list follows, else another. SmolLM2 and a pretrained character "
    "LSTM read a story in which a list of 5 English nouns is read again. Measured: the surprisal of the second list in "
    "per cent of the first, in the same order, in another order, and with other nouns; after short and long gaps.",
    baseline="LSTMs (two layers trained here, and a pretrained one); a one-layer attention model",
    control="a second list of other nouns, of which nothing was read: it must stay as surprising",
    figures=(
        Figure("repeat", "4 attention layers: same list", "%"),
        Figure("permute", "4 attention layers: other order", "%"),
        Figure("late", "4 attention layers: same list after a long gap", "%"),
        Figure("novel", "4 attention layers: other nouns (control)", "%"),
        Figure("one_layer", "one attention layer: same list (baseline)", "%"),
        Figure("one_permute", "one attention layer: other order", "%"),
        Figure("lstm_repeat", "two LSTM layers: same list (baseline)", "%"),
        Figure("lstm_permute", "two LSTM layers: other order (baseline)", "%"),
        Figure("pre_repeat", "pretrained: same list", "%"),
        Figure("pre_permute", "pretrained: other order", "%"),
        Figure("pre_late", "pretrained: same list after a long gap", "%"),
        Figure("pre_novel", "pretrained: other nouns (control)", "%"),
        Figure("char_repeat", "pretrained character LSTM: same list (baseline)", "%"),
        Figure("char_permute", "pretrained character LSTM: other order (baseline)", "%"),
    ),
    rule=Rule(
        holds="repeat <= 30 and permute - repeat >= 10 and lstm_repeat >= 60 and abs(lstm_permute - lstm_repeat) < 5 "
        "and one_layer >= 70 and abs(late - repeat) <= 15 and pre_repeat <= 30 and pre_permute - pre_repeat >= 10 and "
        "char_repeat >= 60",
        in_part="repeat <= 30 and permute - repeat >= 10 and lstm_repeat >= 60 and pre_repeat <= 30 "
        "and char_repeat >= 60",
        control="novel >= 70 and pre_novel >= 70",
    ),
    limits="Networks of under a million parameters on a language of 100 words; one pretrained Transformer, and as its "
    "LSTM counterpart one that reads characters and was trained on titles. Lists are arbitrary, never of one category.",
    own_model="with repeat_surprisal(model, tokenizer, condition), with your own nouns and story",
    settings={
        "smoke": {"steps": 2, "trials": 3, PRETRAINED: TINY, "lstm": TINY},
        "laptop": {"steps": 1000, "trials": 25, PRETRAINED: "smollm2", "lstm": "textgenrnn"},
        "full": {"steps": 6000, "trials": 200, PRETRAINED: "smollm2", "lstm": "textgenrnn"},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("pretrained", "four", "lstm", "one", "characters"),
    takes_model=("pretrained",),
)

FILLER, NOUNS, LIST, AGAIN, STOP = 33, 64, 0, 1, 2
FIRST_FILLER, FIRST_NOUN = 3, 36
VOCABULARY = FIRST_NOUN + NOUNS
LENGTH, COPIES, SHORTEST, LONGEST = 80, 3, 3, 10  # tokens and lists of a text, nouns of a list
SHORT, LONG = 4, 24  # gaps
SAME = 0.75  # of the later lists are the first one again
OTHERS = 0.1  # weight in the loss of what is not a noun
BATCH, RATE = 32, 3e-3
NETWORKS: dict[str, tuple[list[str], int]] = {
    "four": (["attention"] * 4, 64),
    "one": (["attention"], 64),
    "lstm": (["lstm"] * 2, 128),
}  # layers and width


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """A network trained, or one looked into."""
    if part in NETWORKS:
        return _trained(part, settings, seed, report)
    prefix = "pre" if part == "pretrained" else "char"
    chosen = settings if part == "pretrained" else {PRETRAINED: settings["lstm"]}
    lm, tokenizer = subject(model, chosen)
    report(0.2, "reading")

    def percent(condition: str, vignette: str = "medium") -> float:
        generator = torch.Generator().manual_seed(seed)
        options: dict[str, Any] = {"trials": settings["trials"], "vignette": vignette, "generator": generator}
        return repeat_surprisal(lm, tokenizer, condition, **options).percent

    figures = {f"{prefix}_repeat": percent("repeat"), f"{prefix}_permute": percent("permute")}
    if prefix == "pre":
        figures |= {"pre_late": percent("repeat", "long"), "pre_novel": percent("novel")}
    return {"figures": figures}


class _Numbers:
    """Words are numbers."""

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}


def texts(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens (rows, LENGTH): filler with lists of nouns, all as long as the first, of which each later one is the first
    again or another; listed (rows, LENGTH) bool, True at the nouns."""
    tokens = torch.randint(FIRST_FILLER, FIRST_NOUN, (rows, LENGTH), generator=generator)
    listed = torch.zeros(rows, LENGTH, dtype=torch.bool)
    size = torch.randint(SHORTEST, LONGEST + 1, (rows, 1), generator=generator)
    gaps = torch.randint(2, LONG + 5, (COPIES, rows, 1), generator=generator)
    drawn = torch.rand(COPIES, rows, NOUNS, generator=generator, dtype=torch.float64).argsort(-1)
    nouns = FIRST_NOUN + drawn[..., :LONGEST]  # (copies, rows, nouns)
    same = torch.rand(COPIES, rows, 1, generator=generator) < SAME
    nouns = torch.where(same, nouns[0], nouns)
    place = torch.arange(LENGTH) - gaps[0] // 4  # in the list: its mark is at 0
    for copy in range(COPIES):
        inside = (place > 0) & (place <= size)
        tokens[place == 0] = LIST if copy == 0 else AGAIN
        tokens = torch.where(inside, nouns[copy].gather(1, (place - 1).clamp(0, LONGEST - 1)), tokens)
        tokens[place == size + 1] = STOP
        listed |= inside
        if copy + 1 < COPIES:
            place = place - (size + 2 + gaps[copy + 1])
    return tokens, listed


def _network(part: str, steps: int, seed: int, report: Report) -> SequenceLM:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    layers, width = NETWORKS[part]
    lm = SequenceLM(SequenceConfig(vocab_size=VOCABULARY, width=width, layers=layers, mlp_width=2 * width))

    def loss_of(_: int) -> Tensor:
        tokens, listed = texts(BATCH, generator)
        cost = F.cross_entropy(lm.run(tokens[:, :-1])[0].mT, tokens[:, 1:], reduction="none")
        weight = torch.where(listed[:, 1:], 1.0, OTHERS)
        return (cost * weight).sum() / weight.sum()

    descend(lm, loss_of, steps, RATE, lambda step: report(step / steps, part))
    return lm.eval()


def _trained(part: str, settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    lm = _network(part, settings["steps"], seed, report)
    generator = torch.Generator().manual_seed(500 + seed)
    filler = torch.randint(FIRST_FILLER, FIRST_NOUN, (LONG + 4,), generator=generator).tolist()
    nouns = [str(FIRST_NOUN + i) for i in range(NOUNS)]

    def percent(condition: str, gap: int = SHORT) -> float:
        before = " ".join(map(str, [*filler[:4], LIST]))
        between = " ".join(map(str, [*filler[4 : 4 + gap], AGAIN]))
        vignette = Vignette(before, between, comma="", stop=str(STOP), space="")
        draws = torch.Generator().manual_seed(900 + seed)
        options: dict[str, Any] = {"vignette": vignette, "trials": 4 * settings["trials"], "generator": draws}
        return repeat_surprisal(lm, _Numbers(), condition, nouns=nouns, **options).percent

    if part == "one":
        return {"figures": {"one_layer": percent("repeat"), "one_permute": percent("permute")}}
    if part == "lstm":
        return {"figures": {"lstm_repeat": percent("repeat"), "lstm_permute": percent("permute")}}
    figures = {name: percent(name) for name in ("repeat", "permute", "novel")}
    return {"figures": figures | {"late": percent("repeat", LONG)}}
