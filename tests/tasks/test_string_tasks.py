"""String tasks: answers by solvers written anew, probabilities and regression against exact values, the runner."""

from __future__ import annotations

import codecs
import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from seqmem.errors import InputError
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.tasks.string_tasks import (
    KINDS,
    LEVELS,
    Answered,
    CharNGram,
    Grammar,
    Item,
    ask,
    battery,
    by_bin,
    ciphers,
    edit_distance,
    effects,
    kind_of,
    logistic_regression,
    matched,
    numbers,
    short,
    solver,
    spoken,
    told,
    words,
)
from seqmem.tasks.text import Draws

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def shifted(text: str, by: int) -> str:
    return "".join(chr((ord(c) - 97 + by) % 26 + 97) if c.isalpha() else c for c in text)


def pigged(text: str, ending: str, after_vowel: str) -> str:
    said = []
    for word in text.split():
        cut = 0
        while cut < len(word) and (word[cut] not in "aeiouy" or (word[cut] == "y" and cut == 0)):
            cut += 2 if word[cut : cut + 2] == "qu" else 1
        said.append(word[cut:] + (word[:cut] if cut else after_vowel) + ending)
    return " ".join(said)


def typed(text: str, rows: tuple[str, ...], by: int) -> str:
    def key(c: str) -> str:
        for row in rows:
            if c in row:
                return row[(row.index(c) + by) % len(row)]
        return c

    return "".join(map(key, text))


def swapped(text: str, step: int) -> str:
    """From the articles' side: each changes places with its neighbour, in place."""
    said = text.split()
    n = 0
    while n < len(said):
        if said[n] in ("a", "an", "the") and 0 <= n + step < len(said):
            said[n], said[n + step] = said[n + step], said[n]
            n += step > 0
        n += 1
    return " ".join(said)


def line(text: str, slope: int, offset: int) -> str:
    value = Fraction(slope, 5) * int(text) + offset
    return str(int(value)) if value.denominator == 1 else f"{float(value):.1f}"


def born(text: str, order: tuple[int, int, int]) -> str:
    told, name = text.split("; ")
    (date,) = [one.split()[1:] for one in told.split(", ") if one.split()[0] == name]
    return " ".join(date[n] for n in order)


QWERTY, DVORAK = ("qwertyuiop", "asdfghjkl", "zxcvbnm"), ("pyfgcrl", "aoeuidhtns", "qjkxbmwvz")
SOLVERS: dict[tuple[str, str], Callable[[str], str]] = {
    **{("shift", str(by)): lambda text, by=by: shifted(text, -by) for by in range(1, 26)},
    **{("shift", f"encode_{by}"): lambda text, by=by: shifted(text, by) for by in range(1, 26)},
    ("pig_latin", "ay"): lambda text: pigged(text, "ay", ""),
    ("pig_latin", "way"): lambda text: pigged(text, "ay", "w"),
    ("pig_latin", "yay"): lambda text: pigged(text, "ay", "y"),
    ("pig_latin", "hay"): lambda text: pigged(text, "hay", ""),
    ("pig_latin", "uv"): lambda text: pigged(text, "uv", ""),
    ("acronyms", "first"): lambda text: "".join(word[0] for word in text.split()),
    ("acronyms", "second"): lambda text: "".join(word[1] for word in text.split()),
    ("reversal", "all"): lambda text: " ".join(word[::-1] for word in text[::-1].split()),
    ("reversal", "but_first"): lambda text: " ".join([text.split()[0], *reversed(text.split()[1:])]),
    ("sorting", "ascending"): lambda text: " ".join(min(itertools.permutations(text.split()))),
    ("sorting", "descending"): lambda text: " ".join(max(itertools.permutations(text.split()))),
    ("counting", "words"): lambda text: str(text.count(" ") + 1),
    ("counting", "spaces"): lambda text: str(text.count(" ")),
    ("counting", "letters"): lambda text: str(sum(c.isalpha() for c in text)),
    ("counting", "further_letters"): lambda text: str(sum(c.isalpha() for c in text) - 1),
    ("article_swapping", "next"): lambda text: swapped(text, 1),
    ("article_swapping", "previous"): lambda text: swapped(text, -1),
    ("linear", "9/5x+32"): lambda text: line(text, 9, 32),
    ("linear", "7/5x+31"): lambda text: line(text, 7, 31),
    ("multiplication", "forwards"): lambda text: str(math.prod(map(int, text.split()))),
    ("multiplication", "backwards"): lambda text: str(math.prod(int(n[::-1]) for n in text.split()))[::-1],
    ("birthdays", "day_first"): lambda text: born(text, (0, 1, 2)),
    ("birthdays", "year_first"): lambda text: born(text, (2, 1, 0)),
    ("keyboard", "qwerty"): lambda text: typed(text, QWERTY, -1),
    ("keyboard", "dvorak"): lambda text: typed(text, DVORAK, -1),
    ("keyboard", "encode_qwerty"): lambda text: typed(text, QWERTY, 1),
    ("keyboard", "encode_dvorak"): lambda text: typed(text, DVORAK, 1),
}


def test_there_are_eleven_kinds_with_a_common_and_rare_variants() -> None:
    assert len(KINDS) == 11
    assert {(kind.name, name) for kind in KINDS.values() for name in kind.variants} == set(SOLVERS)
    assert all(len(kind.variants) >= 2 for kind in KINDS.values())
    assert KINDS["shift"].common == "13"


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_another_solver(generator: torch.Generator, kind: str) -> None:
    draws = Draws(generator)
    for name, variant in KINDS[kind].variants.items():
        for n in range(30):
            given = variant.draw(n % 3, draws)
            assert variant.solve(given) == SOLVERS[kind, name](given), given
            if variant.undo is not None:
                assert variant.undo(variant.solve(given)) == given


def test_ciphers_by_hand() -> None:
    assert ciphers.shift("Hello, world", 13) == "H" + codecs.encode("ello, world", "rot13")
    assert ciphers.shift("xyz", 28) == "zab"
    assert ciphers.keyboard("cat p", "qwerty") == "vsy q"
    assert ciphers.pig_latin("stone old quiet young by") == "onestay olday ietquay oungyay ybay"
    for layout in ciphers.KEYBOARDS.values():
        assert sorted("".join(layout)) == list(LETTERS)


def test_words_and_numbers_by_hand() -> None:
    assert words.article_swapping("in the old box lay a key") == "in old the box lay key a"
    assert words.article_swapping("in old the box lay key a", "previous") == "in the old box lay a key"
    assert words.article_swapping("the") == words.article_swapping("the", "previous") == "the"
    assert numbers.linear("100") == "212"
    assert numbers.linear("-40") == "-40"
    assert numbers.linear("-20", 7, 31) == "3"
    assert numbers.linear("1") == "33.8"
    assert numbers.linear("-18") == "-0.4"
    assert numbers.multiplication("21 3", backwards=True) == "63"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: kind_of("shfit"), "unknown kind 'shfit'. Did you mean 'shift'?"),
        (lambda: kind_of("linear").variant("9/5"), "has no variant '9/5'"),
        (lambda: words.acronym("a boat", 2), "the word 'a' has no letter 2"),
        (lambda: words.counting("a", "wrods"), "unknown 'wrods' to count"),
        (lambda: words.article_swapping("a", "left"), "unknown neighbour 'left'"),
        (lambda: ciphers.keyboard("a", "azerty"), "unknown keyboard 'azerty'"),
        (lambda: numbers.linear("1.5"), "'1.5' is no whole number"),
        (lambda: numbers.multiplication("3"), "expected two whole numbers"),
        (lambda: numbers.birthday("nade 1 may 1950; fi"), "does not say the birthday of 'fi'"),
        (lambda: CharNGram("a", 9), "order=9, expected 1 to 7"),
        (lambda: CharNGram(""), "is empty"),
        (lambda: Grammar({"S": [(0.5, ("a",))]}), "sum to 0.5, expected 1"),
        (lambda: Grammar({"A": [(1.0, ("a",))]}), "no rule for its start 'S'"),
        (lambda: ask(solver, []), "there are no items"),
        (lambda: ask(3, [ITEM]), "the model is a int"),
        (lambda: solver("Sing.\nText: la\nAnswer:"), "names no rule"),
        (lambda: by_bin([], bins=1), "bins=1 of 0 answers"),
        (lambda: logistic_regression([[1.0]], [2], ["x"]), "expected finite numbers"),
        (lambda: logistic_regression([[1.0], [1.0]], [0, 1], ["x"]), "['x'] are the same for all items"),
    ],
)
def test_bad_input_says_so(call: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


ITEM = Item("linear", "9/5x+32", "Multiply this number by 9/5 and add 32.", "100", "212", -5.0, -9.0, "high", True)


def test_the_grammar_knows_the_probabilities_of_its_sentences(generator: torch.Generator) -> None:
    """All sentences of a small grammar, one of them with two derivations, sum to one; draws follow them."""
    rules = {
        "S": [(0.6, ("A", "B")), (0.4, ("B",))],
        "A": [(0.5, ("x",)), (0.5, ("x", "y"))],
        "B": [(0.25, ("z",)), (0.5, ("y", "z")), (0.25, ("x", "y"))],
    }
    small = Grammar(rules)
    exact: Counter[str] = Counter()
    for p, right in rules["S"]:
        for parts in itertools.product(*(rules[symbol] for symbol in right)):
            exact[" ".join(word for _, said in parts for word in said)] += p * math.prod(q for q, _ in parts)
    assert sum(exact.values()) == pytest.approx(1)
    for sentence, probability in exact.items():
        assert math.exp(small.log_probability(sentence)) == pytest.approx(probability, rel=1e-12)
    assert small.log_probability("z z") == small.log_probability("") == -math.inf
    draws = Draws(generator)
    drawn = Counter(small.sentence(draws) for _ in range(4000))
    for sentence, probability in exact.items():
        assert drawn[sentence] / 4000 == pytest.approx(probability, abs=0.03)
    english = Grammar()
    assert all(math.isfinite(english.log_probability(english.sentence(draws))) for _ in range(20))


def slow_p(text: str, order: int, context: str, x: str) -> Fraction:
    """Witten and Bell by counting in the text, from the longest context down."""
    if order == 0:
        return Fraction(1, 256)
    shorter = slow_p(text, order - 1, context[1:] if len(context) == order - 1 else context, x)
    if len(context) < order - 1:
        return shorter
    follows = Counter(text[n + len(context)] for n in range(len(text) - len(context)) if text[n:].startswith(context))
    if not follows:
        return shorter
    return (follows[x] + len(follows) * shorter) / (sum(follows.values()) + len(follows))


def test_the_ngram_model_is_that_of_witten_and_bell() -> None:
    text = "abracadabra\ncab\nabba"
    for order in (1, 2, 4):
        model = CharNGram(text, order)
        for said in ("abra", "cabbage", "zz", "b"):
            p = model.probabilities(said)
            whole = "\n" + said
            for n in range(len(said)):
                context = whole[max(0, n + 1 - (order - 1)) : n + 1]
                assert p[n] == pytest.approx(float(slow_p(f"\n{text}\n", order, context, said[n])), rel=1e-12)
            assert model(said) == pytest.approx(np.log(p).sum())
    one = CharNGram("aab", 1)  # a line break on either side
    assert one.probabilities("ab").tolist() == pytest.approx([(2 + 3 / 256) / 8, (1 + 3 / 256) / 8])


def slow_distance(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(slow_distance(a[1:], b) + 1, slow_distance(a, b[1:]) + 1, slow_distance(a[1:], b[1:]) + (a[0] != b[0]))


def test_edit_distance_is_that_of_the_recursion(generator: torch.Generator) -> None:
    draws = Draws(generator)
    for _ in range(60):
        a, b = ("".join(draws.choice("abc") for _ in range(draws.below(6))) for _ in range(2))
        assert edit_distance(a, b) == slow_distance(a, b)
    assert edit_distance("kitten", "sitting") == 3


@pytest.mark.parametrize("kind", KINDS)
def test_levels_differ_in_probability_at_equal_lengths(generator: torch.Generator, kind: str) -> None:
    for by in ("output", "input"):
        items = battery(kind, generator, variants=[KINDS[kind].common], by=by, per_level=6)  # type: ignore[arg-type]
        assert [item.level for item in items] == [level for level in LEVELS for _ in range(6)]
        assert len({item.input for item in items}) == 18
        log_p = {level: [getattr(i, f"log_p_{by}") for i in items if i.level == level] for level in LEVELS}
        lengths = {level: sorted(len(getattr(i, by)) for i in items if i.level == level) for level in LEVELS}
        assert lengths["high"] == lengths["medium"] == lengths["low"]
        assert sum(log_p["high"]) >= sum(log_p["medium"]) >= sum(log_p["low"])
        assert all(item.output == SOLVERS[kind, item.variant](item.input) and item.frequent for item in items)


def test_the_same_generator_makes_the_same_battery() -> None:
    made = [battery("shift", torch.Generator().manual_seed(3), variants=["13", "12"], per_level=2) for _ in range(2)]
    assert made[0] == made[1]
    with pytest.raises(InputError, match="raise pool=3"):
        battery("linear", torch.Generator().manual_seed(0), variants=["9/5x+32"], per_level=40, pool=3)


def test_matched_items_have_the_same_letters(generator: torch.Generator) -> None:
    sentences = ["the man saw a dog", "a bird came in by the old door"]
    items = matched("keyboard", "qwerty", sentences, generator)
    assert [item.output for item in items[:2]] == sentences
    for n, sentence in enumerate(sentences):
        assert {"".join(sorted(item.output)) for item in items[n::2]} == {"".join(sorted(sentence))}
        assert items[n].log_p_output > items[n + 4].log_p_output
    with pytest.raises(InputError, match="not every text is an answer"):
        matched("sorting", "ascending", sentences, generator)


def test_the_runner_asks_functions_and_language_models(generator: torch.Generator) -> None:
    items = battery("reversal", generator, variants=["all"], per_level=2)
    assert all(one.right and one.distance == 0 for one in ask(solver, items))
    quoted = ask(lambda prompt: f'\n"{solver(prompt)}"\nand so on', items)
    assert all(one.right for one in quoted)
    wrong = ask(lambda prompt: "no", items)
    assert [one.distance for one in wrong] == [edit_distance("no", item.output) for item in items]
    torch.manual_seed(0)
    lm = SequenceLM(SequenceConfig(256, 16, layers=["attention"])).eval()
    done: list[int] = []
    said = ask(lm, items, prompt=short, report=done.append)
    assert done[-1] == len(items)
    assert [one.item for one in said] == items
    for one in said[:2]:  # greedy, byte by byte
        ids = list(short(one.item).encode())
        start = len(ids)
        for _ in range(len(one.item.output) + 4):
            ids.append(int(lm(torch.tensor([ids])).logits[0, -1].argmax()))
        text = bytes(ids[start:]).decode(errors="replace").split("\n")
        assert one.said in {part.strip().strip("\"'`“”‘’ ") for part in text}
    assert solver(spoken(ITEM, [replace(ITEM, input="5", output="41")])) == "212"


def test_a_table_of_two_by_two_has_exact_effects() -> None:
    """One binary column: the coefficient is the log odds ratio, its variance the sum of the inverse counts."""
    a, b, c, d = 30, 12, 9, 25  # right and wrong with the column, then without
    x = [[1.0]] * (a + b) + [[0.0]] * (c + d)
    y = [1] * a + [0] * b + [1] * c + [0] * d
    intercept, effect = logistic_regression(x, y, ["x"])
    assert effect.coefficient == pytest.approx(math.log(a * d / (b * c)), rel=1e-8)
    assert effect.error == pytest.approx(math.sqrt(1 / a + 1 / b + 1 / c + 1 / d), rel=1e-8)
    assert effect.p == pytest.approx(math.erfc(effect.coefficient / effect.error / math.sqrt(2)), rel=1e-8)
    assert intercept.coefficient == pytest.approx(math.log(c / d), rel=1e-8)
    assert intercept.error == pytest.approx(math.sqrt(1 / c + 1 / d), rel=1e-8)


def test_effects_are_those_of_scikit_learn_and_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(-40, 9, 300), rng.normal(3, 0.1, 300), rng.integers(0, 2, 300)])
    y = (rng.random(300) < 1 / (1 + np.exp(-(0.1 * x[:, 0] + 4 + x[:, 2])))).astype(float)
    found = logistic_regression(x, y, ["a", "b", "c"])
    mean, sd = x.mean(0), x.std(0)
    oracle = LogisticRegression(C=1e12, tol=1e-10, max_iter=5000).fit((x - mean) / sd, y)
    slopes = oracle.coef_[0] / sd
    assert [one.coefficient for one in found[1:]] == pytest.approx(slopes.tolist(), rel=1e-3)
    whole = np.column_stack([np.ones(300), x])
    best = np.array([one.coefficient for one in found])

    def loss(b: np.ndarray) -> float:
        return float((np.logaddexp(0, whole @ b) - y * (whole @ b)).sum())

    steps = np.diag([1e-3, 1e-4, 1e-3, 1e-3])

    def second(i: np.ndarray, j: np.ndarray) -> float:
        corners = loss(best + i + j) - loss(best + i - j) - loss(best - i + j) + loss(best - i - j)
        return corners / (4 * i.sum() * j.sum())

    hessian = np.array([[second(i, j) for j in steps] for i in steps])
    assert [one.error for one in found] == pytest.approx(np.sqrt(np.diag(np.linalg.inv(hessian))).tolist(), rel=1e-2)


def test_what_no_regression_can_say() -> None:
    same = logistic_regression([[1.0], [2.0]], [1, 1], ["x"])
    assert [(one.coefficient, one.error, one.p) for one in same] == [(0.0, math.inf, 1.0)] * 2
    apart = logistic_regression([[float(n)] for n in range(20)], [0] * 10 + [1] * 10, ["x"])
    assert all(math.isnan(one.p) for one in apart)


def test_effects_and_bins_of_answers() -> None:
    """Right more often the likelier the answer is, by construction; the task's column is constant and left out."""
    rng = np.random.default_rng(1)
    made = []
    for n in range(400):
        item = replace(ITEM, log_p_output=-float(n) / 10, log_p_input=float(rng.normal()))
        right = bool(rng.random() < 1 - n / 400)
        made.append(Answered(item, "", right, 0 if right else 3))
    found = {one.name: one for one in effects(made)}
    assert set(found) == {"intercept", "log p(output)", "log p(input)"}
    assert found["log p(output)"].coefficient > 1
    assert found["log p(output)"].p < 1e-10
    assert found["log p(input)"].p > 0.01
    bins = by_bin(made, bins=4)
    assert [one.count for one in bins] == [100] * 4
    assert [one.right for one in bins] == sorted(one.right for one in bins)
    assert bins[0].low == pytest.approx(-39.9)
    assert bins[0].distance == pytest.approx(3 * (1 - bins[0].right))
    lines = told(bins, width=10).split("\n")
    assert len(lines) == 5
    assert lines[-1].endswith(" " + "#" * round(10 * bins[-1].right))
    with pytest.raises(InputError, match="do not differ"):
        effects([Answered(ITEM, "", True, 0)])
