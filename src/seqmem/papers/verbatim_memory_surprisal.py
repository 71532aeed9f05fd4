"""Verbatim memory: the surprisal of a list that comes again, for attention and LSTM models trained here, and for a
pretrained Transformer beside a pretrained LSTM."""

from __future__ import annotations

from collections.abc import Sequence
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
    setup="Models are trained on texts of filler words with a list of 3 to 10 out of 64 nouns that is announced again "
    "after a gap; three times in four the same list follows, else another. SmolLM2 and a pretrained character LSTM "
    "read a story in which a list of 5 English nouns is read again. Measured: the surprisal of the second list in per "
    "cent of the first, in the same order, in another order, and with other nouns; after short and long gaps.",
    baseline="LSTMs (two layers trained here, and a pretrained one); a one-layer attention model",
    control="a second list of other nouns, of which nothing was read: it must stay as surprising",
    figures=(
        Figure("repeat", "4 attention layers: same list", "%"),
        Figure("permute", "4 attention layers: other order", "%"),
        Figure("late", "4 attention layers: same list after a long gap", "%"),
        Figure("novel", "4 attention layers: other nouns (control)", "%"),
        Figure("one_layer", "one attention layer: same list (baseline)", "%"),
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
        "laptop": {"steps": 1500, "trials": 25, PRETRAINED: "smollm2", "lstm": "textgenrnn"},
        "full": {"steps": 6000, "trials": 200, PRETRAINED: "smollm2", "lstm": "textgenrnn"},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("trained", "pretrained", "characters"),
    takes_model=("pretrained",),
)

FILLER, NOUNS, LIST, AGAIN, STOP = 33, 64, 0, 1, 2
FIRST_FILLER, FIRST_NOUN = 3, 36
VOCABULARY = FIRST_NOUN + NOUNS
LENGTH, SHORT, LONG = 64, 4, 24


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """Three networks trained, or one looked into."""
    if part == "trained":
        return _trained(settings, seed, report)
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


def texts(rows: int, generator: torch.Generator) -> Tensor:
    """(rows, 64) tokens: filler, a list, filler, the list again (or, one time in four, another), filler."""
    out = []
    for _ in range(rows):
        size = int(torch.randint(3, 11, (), generator=generator))
        gap = int(torch.randint(2, LONG + 4, (), generator=generator))
        lead = int(torch.randint(1, max(2, LENGTH - gap - 2 * size - 4), (), generator=generator))
        nouns = FIRST_NOUN + torch.randperm(NOUNS, generator=generator)
        first = nouns[:size]
        again = first if float(torch.rand((), generator=generator)) < 0.75 else nouns[size : 2 * size]
        filler = torch.randint(FIRST_FILLER, FIRST_NOUN, (LENGTH,), generator=generator)
        marks = torch.tensor([LIST, AGAIN, STOP])
        parts = (filler[:lead], marks[:1], first, marks[2:], filler[:gap], marks[1:2], again, marks[2:], filler)
        out.append(torch.cat(parts)[:LENGTH])
    return torch.stack(out)


def _network(layers: Sequence[str], width: int, steps: int, seed: int, report: Any) -> SequenceLM:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    lm = SequenceLM(SequenceConfig(vocab_size=VOCABULARY, width=width, layers=list(layers), mlp_width=2 * width))

    def loss_of(_: int) -> Tensor:
        tokens = texts(32, generator)
        return F.cross_entropy(lm.run(tokens[:, :-1])[0].flatten(0, 1), tokens[:, 1:].flatten())

    descend(lm, loss_of, steps, 2e-3, report)
    return lm.eval()


def _trained(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    steps = settings["steps"]
    generator = torch.Generator().manual_seed(500 + seed)
    filler = torch.randint(FIRST_FILLER, FIRST_NOUN, (LONG + 4,), generator=generator).tolist()
    nouns = [str(FIRST_NOUN + i) for i in range(NOUNS)]

    def percent(lm: SequenceLM, condition: str, gap: int = SHORT) -> float:
        before = " ".join(map(str, [*filler[:4], LIST]))
        between = " ".join(map(str, [*filler[4 : 4 + gap], AGAIN]))
        vignette = Vignette(before, between, comma="", stop=str(STOP), space="")
        draws = torch.Generator().manual_seed(900 + seed)
        options: dict[str, Any] = {"vignette": vignette, "trials": 4 * settings["trials"], "generator": draws}
        return repeat_surprisal(lm, _Numbers(), condition, nouns=nouns, **options).percent

    figures = {}
    four = _network(["attention"] * 4, 64, steps, seed, lambda step: report(0.5 * step / steps, "4 layers"))
    for name, condition, gap in (
        ("repeat", "repeat", SHORT),
        ("permute", "permute", SHORT),
        ("late", "repeat", LONG),
        ("novel", "novel", SHORT),
    ):
        figures[name] = percent(four, condition, gap)
    one = _network(["attention"], 64, steps, seed, lambda step: report(0.5 + 0.2 * step / steps, "one layer"))
    figures["one_layer"] = percent(one, "repeat")
    lstm = _network(["lstm"] * 2, 128, steps, seed, lambda step: report(0.7 + 0.3 * step / steps, "LSTM"))
    figures |= {"lstm_repeat": percent(lstm, "repeat"), "lstm_permute": percent(lstm, "permute")}
    return {"figures": figures}
