"""What goes wrong while a study runs, done to it on purpose: ``python -m seqmem.testing.faults --minutes 60``.

A small study is run undisturbed once. Then, again and again in stores of their own, it is killed, its files are cut,
its disk is full, its clock jumps, and each time it is run to its end: the results must be the undisturbed ones to the
last digit (times aside), nothing finished may have been run again, and what was damaged must be named.
``--experiments 200``: a study of so many, once undisturbed and once while drivers and workers are killed at random
(:mod:`seqmem.testing._random_kills`); progress is told on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqmem.testing._fault_bench import (
    Bench,
    Bomb,
    Fault,
    bound_by_permissions,
    children,
    expect,
    small_disk,
)
from seqmem.testing._random_kills import many

NAN = b"\x00\x00\xc0\x7f"  # in float32
CLOCK = """\
import random, time
chance, slept = random.Random({seed}), 0.0
def asleep(now):
    def clock():
        global slept
        slept += chance.choice([0.0] * 999 + [3600.0])
        return now() + slept
    return clock
day = time.time
time.time = lambda: day() + chance.uniform(-1e6, 1e6)
time.monotonic, time.perf_counter = asleep(time.monotonic), asleep(time.perf_counter)
"""
HUNGRY_STUDY = """\
mixers: [rnn, "hungry:Refused", "hungry:Killed"]
tasks: {parity: {length: 8}}
widths: 8
layers: 1
seeds: 1
learning_rates: 0.01
steps: 100
budget: smoke
"""
HUNGRY = """\
import json, os, resource, signal
from pathlib import Path
import torch
from seqmem.mixers.min_gru import MinGRU


class Refused(MinGRU):
    \"\"\"In call 60 it leaks until the system gives no more, as often as SEQMEM_DEATHS says.\"\"\"

    def forward(self, x, state=None, **flags):
        self.calls = getattr(self, "calls", 0) + self.training
        diary, name = Path(os.environ["SEQMEM_DIARY"]), type(self).__name__
        deaths = json.loads(os.environ["SEQMEM_DEATHS"]).get(name, 0)
        if self.calls == 60 and diary.read_text().split().count(name) < deaths:
            with diary.open("a") as file:
                file.write(name + "\\n")
            self.starve()
        return super().forward(x, state, **flags)

    def starve(self):
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 2**28, held + 2**28))
        leak = []
        while True:
            leak.append(torch.ones(2**22))


class Killed(Refused):
    \"\"\"The kernel ends its process.\"\"\"

    def starve(self):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """The driver is killed at random moments."""
    for _ in range(2):
        if bench.kill_soon(bench.start(workers=bench.chance.choice([0, 1, 2]))) == 0:
            break
    bench.to_the_end(expected, workers=1)


def workers_killed(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """A worker is killed, as the kernel does when memory runs out; the driver goes on."""
    process = bench.start(workers=2)
    while process.poll() is None and not children(process.pid):
        time.sleep(0.05)
    time.sleep(bench.chance.uniform(0.0, 4.0))
    workers = children(process.pid)
    expect(process.poll() is not None or bool(workers), "a study with two workers has none")
    for worker in workers[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    said = process.communicate(timeout=300)[1]
    expect(process.returncode == 0, f"the study ended with {process.returncode}: {said[-300:]}")
    expect(bench.results() == expected, "the results are not those of the undisturbed study")
    bench.to_the_end(expected)


def two_drivers(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """Two drivers share one store."""
    processes = [bench.start(out="out"), bench.start(out="other")]
    for process in processes:
        said = process.communicate(timeout=300)[1]
        expect(process.returncode == 0, f"one of two drivers ended with {process.returncode}: {said[-300:]}")
    expect(bench.results() == bench.results("other") == expected, "two drivers came to different results")


def damaged_results(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """Results are cut in half, emptied, replaced by a pickle, by JSON of another kind, by another one's."""
    bench.fill()
    paths = sorted(bench.finished())
    bomb = bench.folder / "exploded"
    harms: list[Callable[[bytes], bytes]] = [
        lambda data: data[: len(data) // 2],
        lambda _: b"",
        lambda _: pickle.dumps(Bomb(bomb)),
        lambda _: b'{"status": "done"}',
        lambda data: next(p.read_bytes() for p in paths if p.read_bytes() != data),
    ]
    for path, harm in zip(bench.chance.sample(paths, len(harms)), reversed(harms), strict=True):
        path.write_bytes(harm(path.read_bytes()))
    harmed = len(harms)
    code, said = bench.run()
    expect(code == 0, f"the run over damaged results ended with {code}: {said[-300:]}")
    expect(bench.results() == expected, "the results are not those of the undisturbed study")
    aside = list(bench.store.glob("*/*/result.json.damaged"))
    expect(len(aside) == harmed, f"{harmed} results were damaged, {len(aside)} set aside")
    expect(bench.details().count("damaged record is kept") == harmed, "the damaged results are not all named")
    expect(not bomb.exists(), "a pickle was executed")


def damaged_checkpoints(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """Checkpoints of unfinished experiments are cut, filled with pickles or NaN, given a header that claims too much,
    replaced by one of a network of another shape."""
    bench.fill()
    bomb = bench.folder / "exploded"
    mixers = {path.parent.name: json.loads(path.read_text())["mixer"] for path in bench.finished()}
    first = min(mixers)
    stranger = next(bench.store.glob(f"*/{next(h for h in mixers if mixers[h] != mixers[first])}/checkpoint.*"))
    foreign = stranger.read_bytes()
    harms: list[Callable[[bytes], bytes]] = [
        lambda _: foreign,
        lambda data: data[:-4] + NAN,
        lambda data: data[:-100],
        lambda _: pickle.dumps(Bomb(bomb)),
        lambda data: (2**40).to_bytes(8, "little") + data[8:],
        lambda data: data.replace(b'"shape":[', b'"shape":[9', 1),
    ]
    for path, harm in zip(sorted(bench.finished(), key=lambda p: p.parent.name), harms, strict=False):
        path.unlink()  # unfinished again
        checkpoint = path.with_name("checkpoint.safetensors")
        checkpoint.write_bytes(harm(checkpoint.read_bytes()))
    bench.to_the_end(expected)
    aside = list(bench.store.glob("*/*/checkpoint.safetensors.damaged"))
    expect(len(aside) == len(harms), f"{len(harms)} checkpoints were damaged, {len(aside)} set aside")
    expect(bench.details().count("damaged checkpoint is kept") == len(harms), "the damaged checkpoints are not named")
    expect(not bomb.exists(), "a pickle was executed")


def full_disk(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """No file can grow beyond a few bytes; then there is room again."""
    code, said = bench.run(before=small_disk(bench.chance.choice([0, 200, 3_000, 9_000]) + 1))
    expect(code in (1, 2), f"a full disk ended the study with {code}: {said[-300:]}")
    expect("Traceback" not in said, f"a full disk gave a traceback: {said[-300:]}")
    whole = [path for path in bench.store.glob("*/*/*.json") if not _is_json(path)]
    expect(not whole, f"a full disk left half a file: {whole}")
    bench.to_the_end(expected)


def no_store(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """The store cannot be written."""
    bench.store.write_text("a file where the folder should be")
    code, said = bench.run()
    expect(code == 2 and said.count("\n") == 1, f"a store that cannot be written: exit code {code}, {said[-300:]}")


def read_only_store(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """The store may be read and not written, half of the study being in it."""
    bench.fill()
    for path in bench.chance.sample(sorted(bench.finished()), len(expected) // 2):
        path.unlink()
    folders = [bench.store, *(path for path in bench.store.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    code, said = bench.run(before=bound_by_permissions)
    for folder in folders:
        folder.chmod(0o755)
    expect(code == 2 and said.count("\n") == 1, f"a store that is read-only: exit code {code}, {said[-300:]}")
    bench.to_the_end(expected)


def clock(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """The clock of the day jumps about while the study runs, and the clocks that only go forward leap as they do when a
    machine has been asleep, in the driver and in its workers."""
    folder = bench.folder / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK.format(seed=bench.chance.randrange(10**6)))
    bench.kill_soon(bench.start(path=folder, workers=1))
    bench.to_the_end(expected, path=folder, workers=bench.chance.choice([0, 1]))


def out_of_memory(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """A worker leaks until an allocation is refused, another is killed as the kernel does it. One of them once, which
    is made good; the other, as chance decides, every time, which is said."""
    bench.study.write_text(HUNGRY_STUDY)
    (bench.folder / "hungry.py").write_text(HUNGRY)
    diary = bench.folder / "diary"
    causes = {"Refused": "out of memory", "Killed": "SIGKILL (out of memory?)"}

    def how(deaths: Mapping[str, int]) -> dict[str, Any]:
        diary.write_text("")
        variables = {"SEQMEM_DEATHS": json.dumps(deaths), "SEQMEM_DIARY": str(diary)}
        return {"path": bench.folder, "variables": variables}

    code, said = bench.run(**how(dict.fromkeys(causes, 0)))
    expect(code == 0, f"without a leak the study ended with {code}: {said[-300:]}")
    whole = bench.results()
    shutil.rmtree(bench.store)
    once, always = bench.chance.sample(sorted(causes), 2)
    code, said = bench.run(workers=1, **how({once: 1, always: 99}))
    expect(code == 1, f"a study with an experiment that is never whole ended with {code}: {said[-300:]}")
    died = sorted(diary.read_text().split())
    expect(died == sorted([once, always, always]), f"layers that ran out of memory: {died}")
    lost = {f"hungry:{always}"}
    found, wanted = ([r for r in results if r["mixer"] not in lost] for results in (bench.results(), whole))
    expect(found == wanted, "the other experiments did not go on to their results")
    (record,) = (record for record in bench.records() if record["mixer"] in lost)
    detail, page = record["status_detail"], (bench.out / "report.html").read_text()
    expect(record["status"] == "failed", f"{always}, out of memory every time, is not said to have failed")
    expect("tried twice" in detail and causes[always] in detail, f"{always} failed and says only: {detail}")
    expect(causes[always] in page, f"the report does not say how {always} failed")
    bench.to_the_end(whole, **how(dict.fromkeys(causes, 0)))


SCENARIOS: dict[str, Callable[[Bench, list[dict[str, Any]]], None]] = {
    "killed": killed,
    "workers killed": workers_killed,
    "two drivers": two_drivers,
    "damaged results": damaged_results,
    "damaged checkpoints": damaged_checkpoints,
    "full disk": full_disk,
    "no store": no_store,
    "read-only store": read_only_store,
    "clock": clock,
    "out of memory": out_of_memory,
}


def rounds(folder: Path, seed: int, names: Sequence[str] = tuple(SCENARIOS)) -> Iterator[tuple[str, str]]:
    """(scenario, what was not kept or ""), one after the other, without end."""
    whole = Bench(folder / "undisturbed", seed)
    code, said = whole.run()
    if code:
        raise Fault(f"the undisturbed study ended with {code}: {said[-300:]}")
    expected = whole.results()
    count = 0
    while True:
        for name in names:
            place = folder / f"{count}"
            try:
                SCENARIOS[name](Bench(place, seed + count, whole=whole), expected)
                yield name, ""
            except Fault as fault:
                yield name, f"{fault} (seed {seed + count}, {place})"
            else:
                shutil.rmtree(place)
            count += 1


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per round; the exit code is 1 when a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m seqmem.testing.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="how long (default: %(default)s); each fault once")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the damage (default: %(default)s)")
    parser.add_argument(
        "--experiments", type=int, metavar="N", help="instead a study of N under random kills; --minutes has no say"
    )
    parser.add_argument("--only", choices=tuple(SCENARIOS), action="append", help="this fault only; may be repeated")
    given = parser.parse_args(arguments)
    if given.experiments is not None and given.experiments < 1:
        parser.error(f"--experiments is {given.experiments}, expected at least 1")
    folder = Path(tempfile.mkdtemp(prefix="seqmem-faults-"))
    if given.experiments is not None:
        try:
            print(many(folder, given.seed, given.experiments))
        except Fault as broken_promise:
            print(f"{broken_promise} (seed {given.seed}, {folder})")
            return 1
        shutil.rmtree(folder)
        return 0
    names = given.only or list(SCENARIOS)
    until, broken = time.monotonic() + 60 * given.minutes, 0
    for count, (name, fault) in enumerate(rounds(folder, given.seed, names), 1):
        broken += bool(fault)
        print(f"{count:4} {name}: {fault or 'kept'}", flush=True)
        if count >= len(names) and time.monotonic() > until:
            break
    print(f"{broken} of {count} rounds broke a promise" if broken else f"all {count} rounds kept their promises")
    if not broken:
        shutil.rmtree(folder)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
