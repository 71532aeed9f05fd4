"""Stories and questions as text, for any language model."""

from __future__ import annotations

from typing import NamedTuple

import torch

from seqmem.errors import InputError
from seqmem.tasks._draw import any_of
from seqmem.tasks.temporal.timeline import ACTIONS, BEFORE, MEANWHILE, PEOPLE, THEN, Told, tell_timelines

LINKS = {THEN: "Then", BEFORE: "Before that", MEANWHILE: "Meanwhile"}
COUNTED = ("one hour", "two hours", "three hours", "four hours")


class Asked(NamedTuple):
    """``story``; ``question``, "Was it before ... that ...?", and its ``twin`` with "after", whose answers, ``answer``
    and ``twin_answer``, are "yes" and "no" or the other way round. ``events``: in the order in which they begin."""

    story: str
    question: str
    answer: str
    twin: str
    twin_answer: str
    events: tuple[str, ...]


def asked_about(
    count: int, events: int, agreement: float, generator: torch.Generator, *, hours: bool = False
) -> list[Asked]:
    """``count`` stories with a question and its twin about two events whose order follows from the story. hours: say
    how long each event lasted. agreement: see :func:`~seqmem.tasks.temporal.tell_timelines`."""
    told = tell_timelines(count, events, agreement, generator)
    pairs = any_of(told.before.flatten(1), generator).tolist()
    turned = (torch.rand(count, 2, generator=generator, dtype=torch.float64) < 0.5).tolist()
    asked = []
    for row, (at, (swap, after)) in enumerate(zip(pairs, turned, strict=True)):
        names, story = _written(told, row, hours)
        first, second = names[at // events], names[at % events]
        about, other = (second, first) if swap else (first, second)
        holds = swap == after  # "it was before OTHER that ABOUT", or after
        word, twin = ("after", "before") if after else ("before", "after")
        started = sorted(range(events), key=lambda n, row=row: int(told.start[row, n]))  # type: ignore[misc]
        asked.append(
            Asked(
                story,
                f"Was it {word} {other} that {about}?",
                "yes" if holds else "no",
                f"Was it {twin} {other} that {about}?",
                "no" if holds else "yes",
                tuple(names[n] for n in started),
            )
        )
    return asked


class Choices(NamedTuple):
    """``story``, a question with several right answers, its ``candidates``, and which of them are ``right``."""

    story: str
    question: str
    candidates: tuple[str, ...]
    right: tuple[bool, ...]


def choices_about(count: int, events: int, agreement: float, generator: torch.Generator) -> list[Choices]:
    """ "Which took longer than ...?" and "which ended before ... began?", in turns; of the second kind only events are
    candidates of which the story says it."""
    told = tell_timelines(count, events, agreement, generator)
    chosen = []
    draws = torch.rand(count, events, generator=generator, dtype=torch.float64)
    for row in range(count):
        names, story = _written(told, row, True)
        known = told.before[row] | told.before[row].T
        if row % 2:
            about = int((known.any(0) * draws[row]).argmax())
            others = [n for n in range(events) if bool(known[about, n])]
            right = [bool(told.before[row, n, about]) for n in others]
            question = f"Which of these ended before {names[about]}?"
        else:
            about = int(draws[row].argmax())
            others = [n for n in range(events) if n != about]
            right = [bool(told.hours[row, n] > told.hours[row, about]) for n in others]
            question = f"Which of these took longer than when {names[about]}?"
        chosen.append(Choices(story, question, tuple(names[n] for n in others), tuple(right)))
    return chosen


def ordering_prompt(asked: Asked, generator: torch.Generator) -> str:
    """The story, and its events in a random order, to be said in the order in which they began."""
    order = torch.rand(len(asked.events), generator=generator, dtype=torch.float64).argsort().tolist()
    listed = "; ".join(asked.events[n] for n in order)
    return f"{asked.story}\nEvents: {listed}\nThe same in the order in which they began:"


def _written(told: Told, row: int, hours: bool) -> tuple[list[str], str]:
    """The events, as they are told, and the story."""
    names = [
        f"{PEOPLE[person].capitalize()} {ACTIONS[action]}"
        for person, action in zip(told.person[row].tolist(), told.action[row].tolist(), strict=True)
    ]
    if len(set(names)) < len(names):
        raise InputError(f"the story names an event twice: {names}")
    sentences = []
    for name, link, lasted in zip(names, told.link[row].tolist(), told.hours[row].tolist(), strict=True):
        said = f"{name} for {COUNTED[lasted - 1]}." if hours else f"{name}."
        sentences.append(f"{LINKS[link]} {said}" if link in LINKS else said)
    return names, " ".join(sentences)
