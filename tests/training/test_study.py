"""Studies: their words, and one line for each thing that can be wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqmem.errors import InputError
from seqmem.training.expand import expand
from seqmem.training.study import make_study

TOY = "tests.training.toy:Toy"


def from_text(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return path


def test_the_words_of_a_file(tmp_path: Path) -> None:
    path = from_text(
        tmp_path,
        f"""
mixers: [attention, lstm, {TOY}]
tasks:
  mqar: {{length: 128, pairs: [4, 8, 16]}}
widths: [32, 64]
learning_rates: [0.0003, 1e-3, 0.003]
seeds: 3
budget: laptop
""",
    )
    experiments = expand(make_study(path))
    assert len(experiments) == 3 * 2 * 3 * 3
    assert len({e.hash for e in experiments}) == len(experiments)
    first = experiments[0]
    assert (first.mixer, first.task, first.study_width, first.seed) == ("attention", "mqar", 32, 0)
    assert first.task_options["pairs"] == [4, 8, 16]
    assert first.task_options["length"] == 128
    assert {e.learning_rate for e in experiments} == {0.0003, 0.001, 0.003}
    assert all((e.source is None) == (e.mixer != TOY) for e in experiments)


def test_published_figures(tmp_path: Path) -> None:
    path = from_text(
        tmp_path,
        """
tasks: [parity]
published:
  - {task: parity, source: A Paper (2020), figures: {lstm: 1, gla: [[1e3, 0.5], [2000, 1]]}, scaled: true}
""",
    )
    (entry,) = make_study(path).published
    assert entry.figures == {"lstm": 1.0, "gla": [(1000.0, 0.5), (2000.0, 1.0)]}
    assert (entry.at, entry.scaled) == ("training", True)


def test_the_words_of_the_command_line() -> None:
    study = make_study(
        mixers=f"lstm,{TOY}", tasks="parity", widths="8,16", lengths="4,8", learning_rates="1e-3", seeds=2
    )
    experiments = expand(study)
    assert len(experiments) == 2 * 2 * 2 * 2
    assert {e.task_options["length"] for e in experiments} == {4, 8}
    assert {e.learning_rate for e in experiments} == {0.001}


def test_the_default_study_is_the_one_of_the_readme() -> None:
    study = make_study()
    assert [m.name for m in study.mixers] == ["attention", "lstm", "min_gru", "retention", "mamba", "gated_delta_net"]
    assert [t.name for t in study.tasks] == ["mqar", "bytes"]
    assert study.budget == "laptop"


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = from_text(tmp_path, "mixers: lstm\ntasks: [parity]\nseeds: 3\nbudget: smoke\n")
    assert [e.seed for e in expand(make_study(path, seeds=1))] == [0]
    assert len(expand(make_study(path, seeds=None))) == 3


def test_options_of_mixers_and_one_thing_twice(tmp_path: Path) -> None:
    path = from_text(
        tmp_path, "mixers: [{attention: {heads: 2}}, attention: {heads: 2}, lstm]\ntasks: parity\nbudget: smoke"
    )
    experiments = expand(make_study(path))
    assert [(e.mixer, e.mixer_options) for e in experiments] == [("attention", {"heads": 2}), ("lstm", {})]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mixer: [lstm]", "study.yaml: unknown key 'mixer'. Did you mean 'mixers'?"),
        ("mixers: [lstn]", "study.yaml: mixers: unknown mixer 'lstn'. Did you mean 'lstm'?"),
        ("mixers: []", "study.yaml: mixers is [], expected a list of mixers"),
        ("mixers:", "study.yaml: mixers is None, expected"),
        ("mixers: [3]", "study.yaml: mixers is [3], expected"),
        ("mixers: [lstm: 3]", "study.yaml: mixers is [{'lstm': 3}], expected"),
        ("mixers: [{lstm: {hedas: 2}}]", "has no option 'hedas'"),
        ("mixers: [nowhere_at_all:Layer]", "study.yaml: mixers: cannot import 'nowhere_at_all'"),
        ("mixers: ['tests.training.toy:NotALayer']", "expected a class derived from torch.nn.Module"),
        ("mixers: ['tests.training.toy:Tyo']", "Did you mean 'Toy'?"),
        ("mixers: [{attention: {heads: 4}}]\nwidths: 30", "study.yaml: widths: Attention: width 30 is not divisible"),
        ("tasks: [mqra]", "study.yaml: tasks: unknown task 'mqra'. Did you mean 'mqar'?"),
        ("tasks: [mqra]\nlengths: 8", "study.yaml: tasks: unknown task 'mqra'. Did you mean 'mqar'?"),
        ("tasks: {mqar: {lenght: 8}}", "study.yaml: tasks: task 'mqar' has no option 'lenght'. Did you mean 'length'?"),
        ("tasks: {mqar: {length: 0}}", "study.yaml: tasks: task 'mqar'"),
        ("tasks: {bytes: {path: nowhere.txt}}", "study.yaml: tasks: "),
        ("lengths: 0", "study.yaml: lengths is 0, expected whole numbers of at least 1"),
        ("tasks: digits\nlengths: 8", "study.yaml: lengths: task 'digits' has no option 'length'"),
        ("widths: [32, wide]", "study.yaml: widths is [32, 'wide'], expected whole numbers"),
        ("widths: []", "study.yaml: widths is [], expected"),
        ("learning_rates: [-1]", "study.yaml: learning_rates is [-1], expected numbers above 0"),
        ("learning_rates: fast", "study.yaml: learning_rates is 'fast', expected numbers above 0"),
        ("seeds: true", "study.yaml: seeds is True, expected a whole number"),
        ("seeds: 0", "study.yaml: seeds is 0, expected a whole number"),
        ("seeds: '3'", "study.yaml: seeds is '3', expected a whole number"),
        (
            "budget: lapptop",
            "study.yaml: budget is 'lapptop', expected one of smoke, laptop, full. Did you mean 'laptop'?",
        ),
        ("budget: [smoke]", "study.yaml: budget is ['smoke'], expected one of"),
        ("tune_seeds: 0", "study.yaml: tune_seeds is 0, expected a whole number of at least 1"),
        ("published: 3", "study.yaml: published is 3, expected a list of {task, figures"),
        ("published: [{task: parity, figures: {lstm: high}, source: x}]", "study.yaml: published is [{'task'"),
        (
            "published: [{task: pariti, figures: {lstm: 0.5}, source: x}]",
            "study.yaml: published: task 'pariti' is not in the study. Did you mean 'parity'? Its tasks: parity",
        ),
        ("mixers: [lstm\ntasks: x", "study.yaml', line 2, is not YAML"),
        ("- lstm", "study.yaml' holds ['lstm'], expected keys"),
        ("", "study.yaml' holds None, expected keys"),
        ("title: 2001-99-99", "study.yaml' is not YAML: month must be in 1..12"),
        ("seeds: " + "9" * 5000, "study.yaml' is not YAML: Exceeds the limit"),
        ("notes: " + "[" * 3000, "study.yaml' is nested too deeply"),
        ("a: &a [1, *a]", "study.yaml' stands for more than 100,000 values"),
        ("a: &a0 [x]\n" + "".join(f"b{n}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(12)), "100,000"),
        ("title: " + "x" * 100_000, "characters, expected at most 100,000"),
        ("mixers: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_one_line_for_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    defaults = "".join(
        f"{key}\n" for key in ("mixers: [lstm]", "tasks: [parity]", "budget: smoke") if key.split()[0] not in text
    )
    path = from_text(tmp_path, f"{text}\n{defaults}" if text and not text.startswith("-") else text)
    with pytest.raises(InputError) as error:
        expand(make_study(path))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_one_line_for_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        make_study(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        make_study(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary.yaml' is not"):
        make_study(tmp_path / "binary.yaml")


def test_the_command_line_is_named_where_it_is_wrong() -> None:
    with pytest.raises(InputError, match=r"^--mixers: unknown mixer 'lstn'"):
        expand(make_study(mixers="lstn"))
    with pytest.raises(InputError, match=r"^--learning-rates is 'x', expected numbers above 0"):
        make_study(learning_rates="x")
    for text, words in (("2001-99-99", "is not YAML: month"), ("[", "is not YAML"), ("a: b: c", "is not YAML")):
        with pytest.raises(InputError, match=rf"^--mixers {words}"):
            make_study(mixers=text)
    with pytest.raises(InputError, match=r"^--mixers: unknown mixer ''"):
        expand(make_study(mixers=""))
    with pytest.raises(InputError, match=r"^--widths is"):
        make_study(widths="32,,64")
