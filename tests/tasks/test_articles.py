"""Articles whose facts are invented."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.articles import made_up_articles


def test_the_question_is_answered_by_its_own_article_alone(generator: torch.Generator) -> None:
    articles = made_up_articles(40, generator)
    for article in articles:
        assert article.text.count(article.question + article.answer) == 1
        assert sum(article.name in other.text for other in articles) == 1
        assert sum(article.question in other.text for other in articles) == 1
    assert len({article.name for article in articles}) == 40


def test_the_generator_alone_decides() -> None:
    a, b = (made_up_articles(5, torch.Generator().manual_seed(4)) for _ in range(2))
    assert a == b
    assert a != made_up_articles(5, torch.Generator().manual_seed(5))


def test_answers_cannot_be_guessed(generator: torch.Generator) -> None:
    """No answer is given to more than about one question in twelve of its kind."""
    counts = Counter(article.answer for _ in range(20) for article in made_up_articles(100, generator))
    assert max(counts.values()) / 2000 < 0.04
    assert len(counts) == 48


def test_too_many_say_so(generator: torch.Generator) -> None:
    for count in (0, 181, 2.0):
        with pytest.raises(InputError, match=r"expected a whole number from 1 to 180"):
            made_up_articles(count, generator)  # type: ignore[arg-type]
