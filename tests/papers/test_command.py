"""``seqmem papers`` and ``seqmem reproduce``: what they print, write and return."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqmem.cli import main
from seqmem.papers.evidence import Evidence


def lines(capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    out, err = capsys.readouterr()
    return out, err.splitlines()


def test_the_list(diary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["papers", "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    by_slug = {row["slug"]: row for row in rows}
    assert {"n", "slug", "title", "year", "room", "state", "verdict", "seeds", "seconds"} <= rows[0].keys()
    assert by_slug["toy"]["state"] == "built"
    assert by_slug["toy"]["verdict"] is None
    assert by_slug["lag-system"]["state"] == "checked"
    assert by_slug["lag-system"]["seeds"] == 3
    assert main(["papers", "--room", "theory", "--state", "built", "toy"]) == 0
    out, _ = lines(capsys)
    assert out.count("theory") == 1
    assert main(["papers", "no paper has these words"]) == 0
    assert main(["papers", "--room", "kitchen"]) == 2


def test_a_run(diary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "toy", "--out", "pages", "--workers", "0"]) == 0
    out, err = lines(capsys)
    assert "A Toy <b>Paper</b>" in out
    assert "0.5 to 0.52" in out
    assert "low(gain) > 0.4 and exact == 0.5: true" in out
    assert "holds" in out
    assert len(err) == 4  # a line of progress for each part
    page = (tmp_path / "pages" / "toy.html").read_text()
    assert "A Toy &lt;b&gt;Paper&lt;/b&gt;" in page
    assert "&lt;larger&gt; &amp;" in page
    for word in ("It gains.", "A gain.", "low(gain) &gt; 0.4", "0.5 &gt; 0.4", "It is a toy.", "--model NAME_OR_PATH"):
        assert word in page, word
    assert 'href="toy.html"' in (tmp_path / "pages" / "index.html").read_text()


def test_json_alone_on_standard_output(diary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "toy", "lag-system", "--budget", "smoke", "--json", "--workers", "0"]) == 0
    out, _ = lines(capsys)
    found = json.loads(out)
    assert [evidence["slug"] for evidence in found] == ["toy", "lag-system"]
    assert all(set(evidence) == set(Evidence.__annotations__) for evidence in found)


def any_model_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqmem.papers.command.require_language_model", lambda name: None)


def test_failures(diary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    any_model_is_there(monkeypatch)
    monkeypatch.setenv("SEQMEM_TEST_FAILS", "second 0")
    assert main(["reproduce", "toy", "--budget", "smoke", "--workers", "0"]) == 1
    out, err = lines(capsys)
    assert "failed" in out
    assert err[-1].startswith("seqmem: toy, second, seed 0: RuntimeError: two lines of trouble")
    assert main(["reproduce", "toy", "--budget", "smoke", "--workers", "0", "--model", "unable"]) == 2
    assert "model 'unable' has no attention" in lines(capsys)[1][-1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["reproduce"], "one of the three"),
        (["reproduce", "lag-sytem"], "Did you mean 'lag-system'?"),
        (["reproduce", "--room", "theroy"], "Did you mean 'theory'?"),
        (["reproduce", "lag-system", "--model", "gpt2"], "cannot be given 'gpt2'"),
        (["reproduce", "toy", "--model", "./nowhere"], "no language model './nowhere'"),
        (["reproduce", "toy", "--model", "empty"], "config.json' cannot be read"),
        (["reproduce", "toy", "--model", "kjv"], "asset 'kjv' is no language model but"),
        (["reproduce", "toy", "--seeds", "0"], "seeds is 0"),
        (["reproduce", "toy", "--workers", "-1"], "workers is -1"),
        (["reproduce", "toy", "--budget", "huge"], "invalid choice"),
        (["reproduce", "toy", "--out", "file/pages"], "out folder"),
        (["reproduce", "toy", "--store", "file/store"], "store folder"),
    ],
)
def test_bad_input_runs_nothing(
    diary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert main(words) == 2
    out, err = lines(capsys)
    assert out == ""
    assert len(err) == 1
    assert complaint in err[0]
    assert diary.read_text() == ""


def test_a_model_for_all_that_take_one(
    diary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    any_model_is_there(monkeypatch)
    assert (
        main(["reproduce", "--room", "theory", "--budget", "smoke", "--model", "gpt2", "--workers", "0", "--json"]) == 0
    )
    out, err = lines(capsys)
    assert [evidence["slug"] for evidence in json.loads(out)] == ["toy"]
    assert "train their own models and are left out with --model" in err[0]


def test_control_c(diary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.papers import toy

    def stop(*_: object) -> dict[str, object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(toy, "measure", stop)
    assert main(["reproduce", "toy", "--workers", "0"]) == 130
    assert "run the same command again" in lines(capsys)[1][-1]
