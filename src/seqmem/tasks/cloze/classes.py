"""Which words of a book are names, nouns, verbs and prepositions, found from the book itself.

Prepositions are a list. The other classes are open, and no tagger is used: a *word* has one class throughout a book,
and one that the book does not show clearly has none, so that many words are left out and few are wrong.

    entity       capitalised in nine of ten places in which a capital says something, and in at least two of these
    noun         stands at least three times behind an article or possessive and before a mark or a function word, in
                 six of ten places behind one of the former, and three times as often as it stands like a verb
    verb         stands behind a pronoun in the nominative, an auxiliary or "to" at least three times, in one of ten of
                 its places, and three times as often as it stands like a noun

Words with an apostrophe, titles and numerals have none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from seqmem.tasks.cloze.text import TITLES

CLASSES = ("entity", "noun", "verb", "preposition")

PREPOSITIONS = frozenset(
    (
        "about", "above", "across", "after", "against", "along", "among", "around", "at", "before", "behind",
        "below", "beneath", "beside", "between", "beyond", "by", "down", "during", "from", "in", "inside",
        "into", "near", "of", "off", "on", "onto", "over", "past", "through", "to", "toward", "towards",
        "under", "until", "up", "upon", "with", "within", "without",
    )
)  # fmt: skip
DETERMINERS = frozenset(("the", "a", "an", "my", "his", "its", "their", "our", "your"))
SUBJECTS = frozenset(
    (
        "i", "he", "she", "we", "they", "who",
    )
)  # fmt: skip
AUXILIARIES = frozenset(
    (
        "will", "would", "can", "could", "should", "must", "may", "might", "shall", "did", "didn't", "couldn't",
        "wouldn't", "to",
    )
)  # fmt: skip
OTHERS = frozenset(
    (
        "and", "or", "but", "nor", "so", "yet", "for", "as", "if", "when", "while", "where", "why", "how",
        "because", "than", "then", "there", "here", "not", "now", "was", "were", "is", "are", "be", "been",
        "being", "am", "had", "has", "have", "do", "does", "it", "you", "him", "me", "us", "them", "what",
        "which", "whom", "whose", "all", "both", "such", "only", "own", "same", "too", "very", "just", "never",
        "ever", "also", "still", "even", "again", "most", "more", "much", "many", "other", "another", "one",
        "two", "three", "first", "last", "this", "that", "these", "those", "some", "every", "no", "each", "any",
        "her", "himself", "herself", "itself", "themselves", "myself", "yourself", "thyself", "ye", "thee",
        "thou", "thy", "thine", "out", "away", "back", "off", "almost", "thus", "often", "always", "sometimes",
        "soon", "rather", "well", "like", "ere", "though", "although", "perhaps", "indeed", "however", "hardly",
        "scarcely", "quite", "nearly", "once", "else", "cannot", "don't",
    )
)  # fmt: skip
FUNCTION = PREPOSITIONS | DETERMINERS | SUBJECTS | AUXILIARIES | OTHERS
MARKS = frozenset(".!?,;:")
OFTEN, CLEARLY, CAPITAL = 3, 3, 0.9
BEHIND, ITSELF = 0.6, 0.1  # of a noun's places behind a determiner, of a verb's places


def word_classes(sentences: Sequence[Sequence[str]]) -> dict[str, str]:
    """word -> class of :data:`CLASSES`, for the words that have one. Names keep their capital, all others are lower
    case."""
    capital, small = Counter[str](), Counter[str]()
    behind, like_noun, like_verb = Counter[str](), Counter[str](), Counter[str]()
    for sentence in sentences:
        low = [word.lower() for word in sentence]
        for n in range(1, len(sentence)):  # the first word has a capital anyway
            word = sentence[n]
            if not word[0].isalpha():
                continue
            (capital if word[0].isupper() else small)[word] += 1
            after = low[n + 1] if n + 1 < len(low) else "."
            determined = low[n - 1] in DETERMINERS
            behind[low[n]] += determined
            like_noun[low[n]] += determined and (after in MARKS or after in FUNCTION)
            like_verb[low[n]] += low[n - 1] in SUBJECTS or low[n - 1] in AUXILIARIES
    classes = dict.fromkeys(sorted(PREPOSITIONS), "preposition")
    for word in {**capital, **small}:
        if word.lower() in FUNCTION or word.lower() in TITLES or len(word) < 2 or not word.isalpha() or word.isupper():
            continue
        upper, lower = capital[word.capitalize()], small[word.lower()]
        if word[0].isupper():
            if capital[word] >= 2 and capital[word] >= CAPITAL * (capital[word] + lower):
                classes[word] = "entity"
        elif upper < CAPITAL * (upper + lower):
            noun, verb = like_noun[word], like_verb[word]
            if noun >= max(OFTEN, CLEARLY * verb, BEHIND * behind[word]):
                classes[word] = "noun"
            elif verb >= max(OFTEN, CLEARLY * noun, ITSELF * lower):
                classes[word] = "verb"
    return classes
