"""An n-gram model with a cache, the baseline of gaps: Kneser-Ney smoothing, and the words of the context again.

Improved backing-off for M-gram language modeling (1995); the cache: A Cache-Based Natural Language Model for Speech
Recognition (1990).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from seqmem.errors import InputError

Words = tuple[object, ...]


class CachedNgrams:
    """Interpolated Kneser-Ney, with counts c, discount D, and for every order the number N1+ of different words beside:

        p(w | h) = max(c(h w) - D, 0) / c(h) + D N1+(h .) / c(h) p(w | h without its first word)

    where below the highest order c(h w) is N1+(. h w), the number of different words before it, and the last p is
    uniform. With a cache: (1 - share) p(w | h) + share (count of w in the context) / (words of the context).

    sentences: of words of any kind, to learn from. order: words of an n-gram. share: of the cache.
    """

    def __init__(
        self, sentences: Iterable[Sequence[object]], order: int = 3, *, discount: float = 0.75, share: float = 0.1
    ) -> None:
        if order < 1 or not 0 < discount < 1 or not 0 <= share < 1:
            raise InputError(
                f"order is {order}, discount {discount} and share {share}, expected an order of at least 1, a discount "
                "between 0 and 1 and a share from 0 to below 1"
            )
        self.order, self.discount, self.share = order, discount, share
        grams: Counter[Words] = Counter()
        for sentence in sentences:
            words = tuple(sentence)
            grams.update(words[n : n + order] for n in range(len(words) - order + 1))
        if not grams:
            raise InputError(f"no sentence has {order} words, expected some")
        self.counts: list[Counter[Words]] = [grams]  # of the highest order, then of ever shorter ones
        for _ in range(order - 1):
            self.counts.append(Counter(gram[1:] for gram in self.counts[-1]))  # N1+(. h w)
        self.totals: list[Counter[Words]] = []
        self.followers: list[Counter[Words]] = []
        for counts in self.counts:
            total, follows = Counter[Words](), Counter[Words]()
            for gram, count in counts.items():
                total[gram[:-1]] += count
                follows[gram[:-1]] += 1
            self.totals.append(total)
            self.followers.append(follows)
        self.vocabulary = len({gram[0] for gram in self.counts[-1]})

    def probability(self, word: object, before: Sequence[object]) -> float:
        """p(word | the last words of ``before``), without the cache."""
        history = tuple(before)[len(before) - min(len(before), self.order - 1) :]
        found = 1 / (self.vocabulary + 1)  # one more: a word never seen
        for level in range(self.order - 1, self.order - 2 - len(history), -1):
            part = history[len(history) - (self.order - 1 - level) :]
            total = self.totals[level][part]
            if not total:
                break
            kept = max(self.counts[level][(*part, word)] - self.discount, 0) / total
            found = kept + self.discount * self.followers[level][part] / total * found
        return found

    def choose(
        self, query: Sequence[object], gap: int, candidates: Sequence[object], context: Sequence[object] = ()
    ) -> int:
        """Which candidate makes the words from the gap to ``order - 1`` behind it likeliest; the cache knows the
        ``context`` and counts for the gap."""
        seen: defaultdict[object, int] = defaultdict(int)
        for word in context:
            seen[word] += 1
        scores = []
        for candidate in candidates:
            words = [*query[:gap], candidate, *query[gap + 1 :]]
            own = self.probability(candidate, words[:gap])
            if context:
                own = (1 - self.share) * own + self.share * seen[candidate] / len(context)
            later = range(gap + 1, min(gap + self.order, len(words)))
            scores.append(math.log(own) + sum(math.log(self.probability(words[n], words[:n])) for n in later))
        return scores.index(max(scores))
