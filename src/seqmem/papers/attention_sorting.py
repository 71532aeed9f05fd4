"""Attention sorting: documents put in the order of the attention that they get, in a small model with a slope towards
the recent, trained on 8 documents and asked about 32, and in a pretrained one that reads articles about nobody."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.context import document_attention, prompts_of, sort_documents
from seqmem.mixers._entries import Seen
from seqmem.mixers._scored import dot_products
from seqmem.mixers.alibi_attention import AlibiAttention
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.articles import made_up_articles

PAPER = Paper(
    slug="attention-sorting",
    uses=("seqmem.context.sort_documents", "seqmem.context.document_attention", "seqmem.tasks.articles"),
    setup="A model of 3 attention layers of width 96, whose scores fall linearly with distance (as ALiBi's, by 1/4 to "
    "1/32 per token), behind a convolution over 3 tokens, learns to say what value a key has that stands in one of 2 "
    "to 8 documents of 5 tokens. It is asked about 32 documents, the right one at every place. A pretrained model "
    "reads 16 articles about invented towns, ships and kings and completes a sentence of one of them, at places spread "
    "evenly. Attention is that of the prompt's last position, a mean over all heads and layers; documents are sorted "
    "by it twice, the best last.",
    baseline="the order in which the documents came; another random order",
    control="the same sorting when the question is about something that is in no document: the marked document must "
    "stay where chance puts it; and a random order must leave the accuracy as it is",
    figures=(
        Figure("first", "trained: right with the document in the first 3 places of 32", "accuracy"),
        Figure("last", "trained: right with it in the last 3 places", "accuracy"),
        Figure("ratio", "trained: attention to the document over that to others at its place, mean over places"),
        Figure("before", "trained: right, mean over all places", "accuracy"),
        Figure("after", "trained: the same after two rounds of sorting", "accuracy"),
        Figure("random", "trained: the same in another random order (baseline and control)", "accuracy"),
        Figure("found", "trained: the document is in the last 3 places after two rounds", "share"),
        Figure("absent", "trained: the same, asked for what no document says (control)", "share"),
        Figure("pre_ratio", "pretrained: attention to the document over that to others at its place"),
        Figure("pre_before", "pretrained: right, in the order that came", "accuracy"),
        Figure("pre_after", "pretrained: right after two rounds of sorting", "accuracy"),
        Figure("pre_found", "pretrained: the document is in the last 3 places after two rounds", "share"),
        Figure("pre_absent", "pretrained: the same, asked about something that no document names (control)", "share"),
    ),
    rule=Rule(
        holds="last - first >= 0.2 and ratio > 1.2 and after - before >= 0.1 and found >= 0.7 and pre_ratio > 1.2 and "
        "pre_after - pre_before >= 0.1 and pre_found >= 0.7",
        in_part="ratio > 1.2 and after - before >= 0.1 and pre_ratio > 1.2 and low(pre_found - pre_absent) > 0",
        control="abs(random - before) < 0.03 and absent <= 0.3 and pre_absent <= 0.5",
    ),
    limits="Documents of a few tokens, a few hundred tokens in all, where the paper has 30,000 and models of billions "
    "of weights. The trained model's recency bias is built in, steeper than ALiBi's own, so that 160 tokens are far: "
    "with ALiBi's slopes it answers everything. Questions repeat a sentence; distractors are not made to mislead.",
    own_model="sort_by_attention(model, tokenizer, documents, question), then model.generate(found.ids)",
    settings={
        "smoke": {"steps": 3, "rows": 1, "documents": 8, "articles": 4, "questions": 2, PRETRAINED: TINY},
        "laptop": {"steps": 300, "rows": 32, "documents": 32, "articles": 16, "questions": 20, PRETRAINED: "smollm2"},
        "full": {"steps": 3000, "rows": 100, "documents": 32, "articles": 64, "questions": 64, PRETRAINED: "smollm2"},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("trained", "pretrained"),
    takes_model=("pretrained",),
)

DOC, ASK, KEYS, VALUES, FILLER = 0, 1, 64, 64, 16
FIRST_VALUE = 2 + KEYS
FIRST_FILLER = FIRST_VALUE + VALUES
VOCABULARY = FIRST_FILLER + FILLER
ROUNDS, LAST, TAUGHT, BATCH, GROWING = 2, 3, 8, 32, 0.7
HEADER = "Here are some facts about places and people. They will be needed to complete a sentence.\n\n"


class RecencyAttention(AlibiAttention):
    """With steeper slopes: 1/4, 1/8, ... 1/2^(heads + 1)."""

    def score(self, query: Tensor, seen: Seen) -> Tensor:
        """The dot products less the distances times the heads' slopes."""
        distance = seen.query_place[:, :, None] - seen.entries.place[:, None]  # (batch, time, entries)
        slopes = 2.0 ** -torch.arange(2, self.heads + 2)
        return dot_products(query, seen.entries.key) - slopes[:, None, None] * distance[:, None]


class Asked(NamedTuple):
    """documents (rows, count, 5): a mark, filler, a key, its value, filler. question (rows, 2) and answer (rows,) about
    the document ``gold`` (rows,); unanswerable (rows, 2): about a key that no document has."""

    documents: Tensor
    question: Tensor
    answer: Tensor
    unanswerable: Tensor


def texts(gold: Tensor, count: int, generator: torch.Generator) -> Asked:
    """One text for each row of ``gold``."""
    rows = len(gold)
    keys = 2 + torch.rand(rows, KEYS, generator=generator).argsort(1)[:, : count + 1]
    values = FIRST_VALUE + torch.randint(VALUES, (rows, count), generator=generator)
    filler = FIRST_FILLER + torch.randint(FILLER, (rows, count, 2), generator=generator)
    parts = [torch.full_like(values, DOC), filler[..., 0], keys[:, :count], values, filler[..., 1]]
    ask = torch.full_like(gold, ASK)
    asked, row = keys[torch.arange(rows), gold], torch.arange(rows)
    return Asked(
        torch.stack(parts, -1), torch.stack([ask, asked], 1), values[row, gold], torch.stack([ask, keys[:, count]], 1)
    )


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """A network trained, or one looked into."""
    return _pretrained(settings, seed, model, report) if part == "pretrained" else _trained(settings, seed, report)


def _trained(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    layer = "seqmem.papers.attention_sorting:RecencyAttention"
    lm = SequenceLM(SequenceConfig(VOCABULARY, 96, [layer] * 3, mlp_width=192, short_conv=3, use_cache=False))
    steps = settings["steps"]

    def loss_of(step: int) -> Tensor:
        """Two documents, later up to eight; all are asked about, one after the other."""
        count = round(2 * (TAUGHT / 2) ** min(1.0, step / (GROWING * steps)))
        rows = BATCH * TAUGHT // count
        drawn = texts(torch.zeros(rows, dtype=torch.long), count, generator)
        order = torch.rand(rows, count, generator=generator).argsort(1)
        pairs = drawn.documents[:, :, 2:4].gather(1, order[..., None].expand(-1, -1, 2))
        asked = F.pad(pairs, (1, 0), value=ASK)  # (batch, documents, 3): ASK, key, value
        tokens = torch.cat([drawn.documents.flatten(1), asked.flatten(1)], 1)
        logits = lm.run(tokens)[0][:, -asked[0].numel() :].unflatten(1, (count, 3))
        return F.cross_entropy(logits[:, :, 1].flatten(0, 1), pairs[..., 1].flatten())  # after the key

    descend(lm, loss_of, steps, 3e-3, lambda step: report(0.7 * step / steps, "training"))
    lm.eval()
    return _asked_everywhere(lm, settings, generator)


@torch.no_grad()
def _asked_everywhere(lm: Any, settings: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
    """All figures of the trained model, the right document being as often at each place."""
    count = settings["documents"]
    right, placed, lost, scores = [], [], [], []
    places = torch.arange(count)
    for _ in range(settings["rows"]):  # each round has every place once
        drawn = texts(places, count, generator)
        sorting = sort_documents(lm, drawn.documents, drawn.question, rounds=ROUNDS)
        anew = torch.rand(count, count, generator=generator).argsort(1)
        answers = []
        for order in (sorting.orders[0], sorting.orders[-1], anew):
            tokens, _owner = prompts_of(drawn.documents, order, drawn.question)
            answers.append(lm.run(tokens)[0][:, -1].argmax(-1) == drawn.answer)
        right.append(torch.stack(answers))
        placed.append((sorting.orders == places[:, None]).int().argmax(-1))  # (rounds + 1, gold)
        scores.append(sorting.scores[0])
        unasked = sort_documents(lm, drawn.documents, drawn.unanswerable, rounds=ROUNDS)
        lost.append((unasked.orders[-1] == places[:, None]).int().argmax(-1))
    answered = torch.stack(right).float().mean(0)  # (order, gold's place)
    before, after, random = answered.mean(1).tolist()
    weight = torch.stack(scores).mean(0)  # (gold's place, place)
    gold = weight.diagonal()
    others = (weight.sum(0) - gold) / (count - 1)
    line = {"x": list(range(1, count + 1)), "y": answered[0].tolist()}
    shares = {"the right document": gold.tolist(), "another": others.tolist()}
    return {
        "figures": {
            "first": float(answered[0, :LAST].mean()),
            "last": float(answered[0, -LAST:].mean()),
            "ratio": float((gold / others).mean()),
            "before": before,
            "after": after,
            "random": random,
            "found": _last(torch.stack(placed)[:, -1], count),
            "absent": _last(torch.stack(lost), count),
        },
        "series": {
            "accuracy against place of the document: trained here": line,
            **{f"attention against place of the document: {k}": {"x": line["x"], "y": v} for k, v in shares.items()},
        },
    }


def _last(places: Tensor, count: int) -> float:
    return float((places >= count - LAST).float().mean())


@torch.no_grad()
def _pretrained(settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    lm, tokenizer = subject(model, settings)
    generator = torch.Generator().manual_seed(seed)
    count, questions = settings["articles"], settings["questions"]
    right, found, lost, scores, gold = [], [], [], [], []

    def ids(text: str) -> Tensor:
        return torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"], device=lm.device)

    for n in range(questions):
        report(n / questions, "articles")
        *articles, stranger = made_up_articles(count + 1, generator)
        place = (n * count // questions + seed) % count
        documents = nn.utils.rnn.pad_sequence([ids(a.text) for a in articles], True, -1)[None]
        header, answer = ids(HEADER)[None], ids(articles[place].answer)
        question, unasked = (ids("\n" + a.question)[None] for a in (articles[place], stranger))
        sorting = sort_documents(lm, documents, question, header, rounds=ROUNDS)
        first, last = (prompts_of(documents, o, question, header) for o in (sorting.orders[0], sorting.orders[-1]))
        again = document_attention(lm, *last).logits
        right.append([_says(lm, first[0], sorting.logits[0], answer), _says(lm, last[0], again, answer)])
        found.append((sorting.orders[-1, 0] == place).int().argmax())
        stray = sort_documents(lm, documents, unasked, header, rounds=ROUNDS).orders[-1, 0]
        lost.append((stray == place).int().argmax())
        scores.append(sorting.scores[0, 0])
        gold.append(place)
    before, after = torch.tensor(right).float().mean(0).tolist()
    weight, marked = torch.stack(scores), F.one_hot(torch.tensor(gold), count).bool()  # (question, place)
    others = weight.masked_fill(marked, 0).sum(0) / (~marked).sum(0)
    return {
        "figures": {
            "pre_ratio": float((weight[marked] / others[torch.tensor(gold)]).mean()),
            "pre_before": before,
            "pre_after": after,
            "pre_found": _last(torch.stack(found), count),
            "pre_absent": _last(torch.stack(lost), count),
        },
        "series": {
            "attention of the pretrained model against place of the document: another": {
                "x": list(range(1, count + 1)),
                "y": others.tolist(),
            }
        },
    }


def _says(lm: Any, prompt: Tensor, logits: Tensor, answer: Tensor) -> bool:
    """Whether each token of the answer is the likeliest; logits (1, vocabulary): those after the prompt (1, time)."""
    if int(logits[0].argmax()) != int(answer[0]):
        return False
    rest = len(answer) - 1
    if not rest:
        return True
    said = lm(torch.cat([prompt[0], answer[:-1]])[None], use_cache=False).logits[0, -rest:].argmax(-1)
    return bool((said == answer[1:]).all())
