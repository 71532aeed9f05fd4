"""Memory against the passage: when a reader says what it has learned by heart though it reads something else, and what
training on substituted passages does about it."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.decoding import reader_of
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.conflicts import (
    Conflict,
    Item,
    Reader,
    breakdown,
    corpus_conflicts,
    kind_of,
    measure_conflicts,
    same_answer,
    type_conflicts,
)
from seqmem.tasks.knowledge_conflicts import KnowledgeConflicts

WORDS = {"gold": "always relevant", "noisy": "relevant in 60 %", "mixed": "20 % substituted"}

PAPER = Paper(
    slug="knowledge-conflicts",
    uses=(
        "seqmem.tasks.knowledge_conflicts.KnowledgeConflicts",
        "seqmem.tasks.conflicts.measure_conflicts",
        "seqmem.tasks.conflicts.corpus_conflicts",
        "seqmem.decoding.reader_of",
    ),
    setup="500 invented people with five facts each (birthplace, year, trade, home, employer). A reader, two attention "
    "layers of width 48, first learns 30 % of the facts of 400 of them by heart, from questions alone; then it answers "
    "questions about all facts of these 400 behind a passage of one sentence. The passage tells the fact always, or in "
    "60 % of the cases (else it tells something else of the person, or of another), or that with 20 % substituted "
    "examples on top. Facts that it still answers without a passage are asked again behind one in which the answer is "
    "exchanged for another of its kind (corpus policy): M_R is the share of the original among originals and "
    "substitutes. The larger reader has width 192. A pretrained model completes sentences about 40 capitals that it "
    "knows, behind a passage that names another.",
    baseline="passages that always tell the fact; no substituted examples; context-aware decoding (with 1 as its "
    "weight), which subtracts what is said without the passage",
    control="the same conflicts about people of whom no training has told: their originals, which are nowhere in the "
    "weights, must be said by chance alone",
    figures=(
        Figure("noisy_mr", "M_R, passages relevant in 60 %, width 48"),
        Figure("gold_mr", "M_R, passages always relevant (baseline)"),
        Figure("large_mr", "M_R, relevant in 60 %, width 192"),
        Figure("mixed_mr", "M_R, relevant in 60 %, 20 % substituted examples"),
        Figure("cad_mr", "M_R, relevant in 60 %, context-aware decoding (baseline)"),
        *(
            Figure(f"{arm}_{name}", f"{what}; {words}", "accuracy")
            for name, what in (
                ("clean", "right behind a passage that tells what was learned by heart"),
                ("unseen", "people never told of, the passage tells it"),
                ("irrelevant", "right from memory behind a passage that does not tell"),
                ("known", "facts by heart answered without a passage"),
            )
            for arm, words in WORDS.items()
        ),
        Figure("unseen_original", "people never told of: the original is said (control)", "share"),
        Figure("pre_known", "pretrained: capitals known without a passage", "accuracy"),
        Figure("pre_mr", "pretrained: M_R, another capital in the passage"),
        Figure("pre_type_mr", "pretrained: M_R, a person in its place"),
        Figure("pre_other", "pretrained: neither is said, another capital in the passage", "share"),
    ),
    rule=Rule(
        holds="noisy_mr >= 0.2 and gold_mr <= 0.05 and large_mr >= noisy_mr and mixed_mr <= 0.3 * noisy_mr and "
        "noisy_clean - mixed_clean <= 0.02 and mixed_unseen - noisy_unseen >= 0.03",
        in_part="noisy_mr >= 0.2 and gold_mr <= 0.05 and mixed_mr <= 0.3 * noisy_mr",
        control="best(unseen_original) <= 0.1",
    ),
    limits="Passages of one sentence about invented people, five kinds of question. Clean accuracy is that behind a "
    "passage that tells the fact, as in the paper's test sets; what substituted examples cost where the passage does "
    "not tell it is reported beside. A reader that only ever met passages that tell forgets most of what it knew: its "
    "M_R is of the little that is left. The pretrained figures are 40 sentences of one kind, and not part of the rule.",
    own_model="measure_conflicts(reader_of(model, tokenizer), corpus_conflicts(items, generator)) on your own items: "
    "docs/knowledge-conflicts.md",
    parts=("small", "large", "pretrained"),
    takes_model=("pretrained",),
    settings={
        "smoke": {
            "closed": 3, "open": 2, "asked": 30, "width": {"small": 8, "large": 16}, PRETRAINED: TINY, "capitals": 4,
        },
        "laptop": {
            "closed": 300, "open": 400, "asked": 500, "width": {"small": 48, "large": 192}, PRETRAINED: "smollm2",
            "capitals": 40,
        },
        "full": {
            "closed": 3000, "open": 4000, "asked": 2000, "width": {"small": 48, "large": 192}, PRETRAINED: "smollm2",
            "capitals": 40,
        },
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)  # fmt: skip

LENGTH, QUESTION, SHARE, RELEVANT = 24, 10, 0.2, 0.6  # QUESTION: words of the longest
ARMS: dict[str, dict[str, float]] = {
    "gold": {"relevant": 1.0},
    "noisy": {"relevant": RELEVANT},
    "mixed": {"relevant": RELEVANT, "substituted": SHARE},
}
FORM = {"prompt": "{passage} {question}", "closed": "{question}"}
RATE = {"small": 5e-3, "large": 2e-3}

CAPITALS = (  # as everybody learns them
    "France Paris, Italy Rome, Germany Berlin, Spain Madrid, Portugal Lisbon, Austria Vienna, Hungary Budapest, "
    "Poland Warsaw, Greece Athens, Norway Oslo, Sweden Stockholm, Finland Helsinki, Denmark Copenhagen, "
    "Ireland Dublin, Belgium Brussels, Switzerland Bern, Turkey Ankara, Russia Moscow, Ukraine Kyiv, "
    "Romania Bucharest, Bulgaria Sofia, Croatia Zagreb, Serbia Belgrade, "
    "Egypt Cairo, Kenya Nairobi, Nigeria Abuja, Ethiopia Addis_Ababa, Morocco Rabat, "
    "Japan Tokyo, China Beijing, India New_Delhi, Thailand Bangkok, Vietnam Hanoi, Indonesia Jakarta, Iran Tehran, "
    "Iraq Baghdad, Canada Ottawa, Cuba Havana, Peru Lima, Chile Santiago"
)
PEOPLE = ("Charles Darwin", "Marie Curie", "Jane Austen", "Isaac Newton")


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """Readers of one width, or a pretrained model."""
    if part == "pretrained":
        return _pretrained(settings, seed, model)
    task = KnowledgeConflicts(length=LENGTH, seed=seed)
    torch.manual_seed(seed)
    width = settings["width"][part]
    lm = SequenceLM(SequenceConfig(task.vocab_size, width, ["attention"] * 2, mlp_width=2 * width, short_conv=4))
    arms = ARMS if part == "small" else {"noisy": ARMS["noisy"]}
    _fit(lm, KnowledgeConflicts(length=LENGTH, seed=seed, closed=1.0), settings["closed"], seed, RATE[part], report)
    generator = torch.Generator().manual_seed(10_000 + seed)
    known, strange = (task.items(name, settings["asked"], generator) for name in ("agreeing", "unseen"))
    conflicts, unknown = corpus_conflicts(known, generator), corpus_conflicts(strange, generator)
    irrelevant = task.items("irrelevant", settings["asked"], generator)
    figures: dict[str, float] = {}
    notes: list[str] = []
    for arm, options in arms.items():
        taught = copy.deepcopy(lm)
        steps = round(settings["open"] / (1 - options.get("substituted", 0)))
        learned = KnowledgeConflicts(length=LENGTH, seed=seed, closed=0.0, **options)  # type: ignore[arg-type]
        _fit(taught, learned, steps, 100 + seed, RATE[part], report)
        reader = reader_of(taught, task.world.words, **FORM, max_new_tokens=1)
        recalled = _recalled(reader, conflicts)
        measured = measure_conflicts(reader, recalled, known="all")
        if part == "large":
            return {"figures": {"large_mr": measured.rates.memorisation}}
        figures |= {
            f"{arm}_mr": measured.rates.memorisation,
            f"{arm}_unseen": _right(reader, strange),
            f"{arm}_clean": _right(reader, known),
            f"{arm}_irrelevant": _right(reader, irrelevant),
            f"{arm}_known": _right(reader, [item._replace(passage="") for item in known]),
        }
        if arm == "noisy":
            figures["unseen_original"] = measure_conflicts(reader, unknown, known="all").rates.original
            contrast = measure_conflicts(_context_aware(taught, task), recalled, known="all")
            figures["cad_mr"] = contrast.rates.memorisation
            by_kind = breakdown(measured, lambda conflict: kind_of(conflict.item))
            each = ", ".join(f"{kind} {rates.memorisation:.2f}" for kind, rates in by_kind.items())
            notes.append(f"M_R by kind of answer, relevant in 60 %, seed {seed}: {each}")
    return {"figures": figures, "notes": notes}


def _fit(lm: SequenceLM, task: KnowledgeConflicts, steps: int, seed: int, rate: float, report: Report) -> None:
    generator = torch.Generator().manual_seed(seed)
    alone = task.closed == 1

    def loss_of(_: int) -> Tensor:
        batch = task.sample(128 if alone else 64, LENGTH, generator)
        inputs = batch.inputs[:, -QUESTION:] if alone else batch.inputs  # no passage: the rest is blank
        asked = torch.zeros_like(inputs, dtype=torch.bool)
        asked[:, -1] = True
        return F.cross_entropy(lm.run(inputs, asked=asked)[0], batch.targets[:, -1])

    lm.train()
    descend(lm, loss_of, steps, rate, lambda step: report(step / steps, "by heart" if alone else "with passages"))
    lm.eval()


def _recalled(reader: Reader, conflicts: list[Conflict]) -> list[Conflict]:
    """Those whose original is answered without a passage; all, where none is (a reader that has learned nothing)."""
    said = reader([(conflict.item.question, "") for conflict in conflicts])
    kept = [c for c, answer in zip(conflicts, said, strict=True) if same_answer(answer, c.item.answer)]
    return kept or conflicts


def _right(reader: Reader, items: list[Item]) -> float:
    said = reader([(item.question, item.passage) for item in items])
    return sum(same_answer(answer, item.answer) for answer, item in zip(said, items, strict=True)) / len(items)


def _context_aware(lm: SequenceLM, task: KnowledgeConflicts, weight: float = 1.0) -> Reader:
    """argmax of (1 + w) logits(with the passage) - w logits(without): Trusting Your Evidence (2023), 2305.14739."""
    words = task.world.words

    @torch.no_grad()
    def last(text: str) -> Tensor:
        return lm.run(torch.tensor([words.encode(text)]))[0][0, -1].log_softmax(-1)

    def read(asked: Any) -> list[str]:
        scores = [(1 + weight) * last(f"{passage} {question}") - weight * last(question) for question, passage in asked]
        return [words.words[int(score.argmax())] for score in scores]

    return read


def _pretrained(settings: dict[str, Any], seed: int, model: str | None) -> dict[str, Any]:
    lm, tokenizer = subject(model, settings)
    generator = torch.Generator().manual_seed(seed)
    pairs = [pair.strip().split(" ") for pair in CAPITALS.split(",")][: settings["capitals"]]
    items = [_capital(country, city.replace("_", " ")) for country, city in pairs]
    people = [Item("", "", name, "person") for name in PEOPLE]
    reader = reader_of(lm, tokenizer, prompt="{passage}\n{question}", closed="{question}", stop=(".", ",", "\n", ";"))
    conflicts = corpus_conflicts(items, generator)
    recalled = _recalled(reader, conflicts)
    alike = measure_conflicts(reader, recalled, known="all").rates
    kinds = type_conflicts([conflict.item for conflict in recalled], generator, answers=people)
    return {
        "figures": {
            "pre_known": _right(reader, [item._replace(passage="") for item in items]),
            "pre_mr": alike.memorisation,
            "pre_type_mr": measure_conflicts(reader, kinds, known="all").rates.memorisation,
            "pre_other": alike.other,
        }
    }


def _capital(country: str, city: str) -> Item:
    passage = f"{city} is a city. It is the capital of {country}, and the government of {country} meets in {city}."
    return Item(f"The capital of {country} is", passage, city, "location")
