"""From parts to evidence: nothing twice, failures told, models told apart, workers and Ctrl-C."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from seqmem.errors import InputError
from seqmem.papers import MODULES, check, load
from seqmem.papers.evidence import judge
from seqmem.papers.identity import identity
from seqmem.papers.run import chosen, plan, reproduce
from seqmem.training.events import Event
from seqmem.training.store import Store
from tests.papers import toy


def test_the_evidence(diary: Path) -> None:
    found = check("toy")
    assert (found.verdict, found.seeds, found.budget) == ("holds", 3, "laptop")
    assert found.title == "A Toy <b>Paper</b>"
    by_name = {figure["name"]: figure for figure in found.figures}
    assert by_name["exact"]["values"] == [0.5]
    assert by_name["exact"]["low"] is None
    assert by_name["gain"]["values"] == [0.5, 0.51, 0.52]
    assert by_name["gain"]["mean"] == pytest.approx(0.51)
    assert by_name["gain"]["low"] == pytest.approx(0.5)
    assert by_name["null"] == {
        "name": "null", "what": "the gain where nothing is added (control)", "unit": "units",
        "mean": 0.0, "low": 0.0, "high": 0.0, "values": [0.0, 0.0, 0.0],
    }  # fmt: skip
    lines = found.series["gain against size: toy"]
    assert [line["seed"] for line in lines] == [0, 1, 2]
    assert lines[1]["y"] == [1.0, 2.0, None]
    assert found.notes == ["a note"]
    assert found.rule["holds"]["clauses"][0]["text"] == "low(gain) > 0.4"
    assert found.environment["threads"] == 1
    assert diary.read_text().splitlines() == ["first 0 None", "second 0 None", "second 1 None", "second 2 None"]


def test_nothing_is_run_twice_and_more_seeds_run_what_is_missing(diary: Path) -> None:
    first = check("toy")
    diary.write_text("")
    assert check("toy") == first
    assert diary.read_text() == ""
    assert check("toy", seeds=4).seeds == 4
    assert diary.read_text() == "second 3 None\n"


def test_a_part_is_another_where_anything_differs(diary: Path) -> None:
    (built,) = [load("toy")]
    part = plan([built])["toy"][1]
    changes: dict[str, Any] = {
        "slug": "other", "part": "first", "seed": 5, "budget": "full", "settings": {}, "identity": "m", "source": "s",
    }  # fmt: skip
    hashes = {part.model_copy(update={name: value}).hash for name, value in changes.items()}
    assert len(hashes | {part.hash}) == len(changes) + 1
    assert part.model_copy(update={"model": "/moved"}).hash == part.hash
    assert plan([built])["toy"][1].hash == part.hash


def test_another_version_or_source_is_run_again(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check("toy", "smoke")
    diary.write_text("")
    monkeypatch.setattr("seqmem.__version__", "9.9")
    check("toy", "smoke")
    assert len(diary.read_text().splitlines()) == 2


def test_a_part_that_fails_has_no_verdict_and_is_tried_again(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQMEM_TEST_FAILS", "second 1")
    found = check("toy")
    assert found.verdict == "failed"
    (problem,) = found.problems
    assert problem["part"] == "second"
    assert problem["detail"].startswith("RuntimeError: two lines of trouble (see ")
    assert found.rule["holds"]["value"] is None
    monkeypatch.delenv("SEQMEM_TEST_FAILS")
    diary.write_text("")
    assert check("toy").verdict == "holds"
    assert diary.read_text() == "second 1 None\n"


def test_a_figure_that_is_not_measured_is_a_failure(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "measure", lambda part, *_: {"figures": {} if part == "first" else {"gain": 1, "null": 0}})
    found = check("toy", "smoke")
    assert found.verdict == "failed"
    assert "figure 'exact' was measured 0 times" in found.problems[0]["detail"]


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ({"exact": [0.5], "gain": [0.5, 0.6], "null": [0.0, 0.0]}, "holds"),
        ({"exact": [0.4], "gain": [0.5, 0.6], "null": [0.0, 0.0]}, "holds in part"),
        ({"exact": [0.5], "gain": [0.0, 0.1], "null": [0.0, 0.0]}, "does not hold here"),
        ({"exact": [0.5], "gain": [0.5, 0.6], "null": [0.5, 0.6]}, "invalid"),
        ({"exact": [0.5], "gain": [0.5, 0.6], "null": [float("nan"), 0.0]}, "invalid"),
        ({"exact": [0.5], "gain": [float("nan"), 0.6], "null": [0.0, 0.0]}, "does not hold here"),
    ],
)
def test_verdicts(figures: dict[str, list[float]], verdict: str) -> None:
    assert judge(toy.PAPER, figures)[0] == verdict


def test_what_a_verdict_means(diary: Path) -> None:
    assert check("toy", "smoke").meaning.startswith("smoke: says nothing")
    assert "with 1 seed" in check("toy", seeds=1).meaning
    assert check("toy").meaning == "the claim was seen in this experiment"


def test_models(diary: Path, tmp_path: Path) -> None:
    assert check("toy", "smoke", model="gpt2").model == "gpt2"
    assert "second 0 gpt2" in diary.read_text()
    with pytest.raises(InputError, match="no attention"):
        check("toy", "smoke", model="unable")
    with pytest.raises(InputError, match="lag-system trains its own models and cannot be given 'gpt2'"):
        check("lag-system", "smoke", model="gpt2")


def test_models_are_told_apart_by_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    seen = {identity("gpt2"), identity(str(folder))}
    save_file({"w": torch.zeros(2)}, folder / "model.safetensors")
    seen.add(identity(str(folder)))
    save_file({"v": torch.zeros(2)}, folder / "model.safetensors")
    seen.add(identity(str(folder)))
    (folder / "config.json").write_text("{}")
    seen.add(identity(str(folder)))
    seen.add(identity(str(folder / "model.safetensors")))
    assert len(seen) == 6
    moved = tmp_path / "moved"
    same = identity(str(folder))
    folder.rename(moved)
    assert identity(str(moved)) == same
    assert identity("no such/name/at all") == "no such/name/at all"


def test_workers_and_a_failure_among_others(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQMEM_TEST_FAILS", "second 0")
    events: list[Event] = []
    (found,) = reproduce([load("toy")], Store(), "laptop", workers=1, progress=events.append)
    assert found.verdict == "failed"
    assert len(found.problems) == 1
    assert sorted(diary.read_text().splitlines()) == [
        "first 0 None", "second 0 None", "second 1 None", "second 2 None",
    ]  # fmt: skip
    assert {event.words for event in events if event.kind == "step"} <= {"half-way"}
    assert [event.result["status"] for event in events if event.kind == "finished"].count("failed") == 1


def test_an_interruption_keeps_what_is_finished(diary: Path) -> None:
    def stop(event: Event) -> None:
        if event.kind == "started" and event.job.label == "toy · second · seed 1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(reproduce([load("toy")], Store(), workers=0, progress=stop))
    diary.write_text("")
    assert check("toy").verdict == "holds"
    assert diary.read_text().splitlines() == ["second 1 None", "second 2 None"]


def test_a_paper_of_the_main_script_needs_this_process(diary: Path) -> None:
    built = load("toy")
    part = plan([built])["toy"][0].model_copy(update={"module": "__main__"})
    assert "workers=0" in part.obstacle()


def test_what_can_be_asked_for(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqmem.papers.card import Card, cards

    assert [built.paper.slug for built in chosen(["toy", "lag-system", "toy"])] == ["toy", "lag-system"]
    assert {"toy", "lag-system"} <= {built.paper.slug for built in chosen([], "theory")}
    card = Card(n=9_998, slug="unbuilt", title="U", year=2024, room="survey", claim="C", seen="S")
    monkeypatch.setitem(cards(), "unbuilt", card)
    with pytest.raises(InputError, match=r"'unbuilt' \(U, 2024\) is not built yet; .*'seqmem papers' lists all"):
        load("unbuilt")
    with pytest.raises(InputError, match="unknown paper 'lag-systm'"):
        load("lag-systm")
    for wrong in (([], None, False), (["toy"], "theory", False), (["toy"], None, True)):
        with pytest.raises(InputError, match="one of the three"):
            chosen(*wrong)
    monkeypatch.setattr("seqmem.papers.run.MODULES", {"toy": MODULES["toy"]})
    with pytest.raises(InputError, match="no paper of room 'survey' is built yet; rooms that have some: theory"):
        chosen([], "survey")
    with pytest.raises(InputError, match="seeds is 0"):
        plan([load("toy")], seeds=0)
    with pytest.raises(InputError, match="budget is 'huge'"):
        plan([load("toy")], "huge")


def test_an_exact_paper_has_one_run_and_no_interval(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "PAPER", replace(toy.PAPER, exact=True, seeds=None))
    found = check("toy")
    assert (found.verdict, found.seeds, found.meaning) == ("holds", 1, "the claim was seen in this experiment")
    assert all(figure["low"] is None for figure in found.figures)


def test_a_model_is_given_to_the_parts_that_take_one(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "PAPER", replace(toy.PAPER, takes_model=("second",)))
    check("toy", "smoke")
    check("toy", "smoke", model="mine")
    assert diary.read_text().splitlines() == ["first 0 None", "second 0 None", "second 0 mine"]
    with pytest.raises(ValueError, match="takes_model"):
        replace(toy.PAPER, takes_model=("third",))
