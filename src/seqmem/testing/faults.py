"""What goes wrong while a study runs, done to it on purpose: ``python -m seqmem.testing.faults --minutes 60``.

A small study is run undisturbed once. Then, again and again in stores of their own, it is killed, its files are cut,
its disk is full, its clock jumps, and each time it is run to its end: the results must be the undisturbed ones to the
last digit (times aside), nothing finished may have been run again, and what was damaged must be named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

STUDY = """\
mixers: [min_gru, rnn]
tasks: {parity: {length: 8}}
widths: 8
layers: 1
seeds: 2
learning_rates: [0.01, 0.001]
steps: 150
budget: smoke
"""
TIMES = ("train_tokens_per_second", "decode_microseconds", "wall_seconds", "versions", "status_detail")


class Fault(Exception):
    """A promise that was not kept."""


class Bench:
    """A study, the store that it runs in, and chance."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.store, self.out = folder / "store", folder / "out"
        folder.mkdir(parents=True, exist_ok=True)
        self.study = folder / "study.yaml"
        self.study.write_text(STUDY)

    def start(self, *, workers: int = 0, limit: int | None = None, path: Path | None = None, out: str = "out") -> Any:
        """``seqmem compare`` as a process. limit: the largest file that it may write, in bytes."""
        words = [sys.executable, "-m", "seqmem", "compare", str(self.study), "--out", str(self.folder / out)]
        words += ["--store", str(self.store), "--workers", str(workers)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(path or ""), *sys.path]))}
        return subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=_limited(limit) if limit else None,
        )  # fmt: skip

    def run(self, **how: Any) -> tuple[int, str]:
        """Exit code and what was said on standard error, of a run to its end."""
        process = self.start(**how)
        try:
            said = process.communicate(timeout=300)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            raise Fault("a run hung for five minutes") from None
        return process.returncode, said

    def kill_soon(self, process: Any, longest: float = 12.0) -> int:
        """SIGKILL after a while that chance decides, unless it has ended by then; its exit code."""
        until = time.monotonic() + self.chance.uniform(0.0, longest)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        if process.poll() is None:
            process.kill()
        process.communicate()
        return int(process.returncode)

    def finished(self) -> dict[Path, tuple[int, int]]:
        """Every stored result, by what tells whether it was written again."""
        return {path: (s.st_mtime_ns, s.st_ino) for path in self.store.glob("*/*/result.json") if (s := path.stat())}

    def results(self, out: str = "out") -> list[dict[str, Any]]:
        """The lines of results.jsonl without the times."""
        lines = (self.folder / out / "results.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]

    def details(self) -> str:
        """All that the results say of how they ended."""
        lines = (self.out / "results.jsonl").read_text().splitlines()
        return "; ".join(json.loads(line)["status_detail"] for line in lines)

    def to_the_end(self, expected: list[dict[str, Any]], **how: Any) -> None:
        """Run undisturbed, and compare."""
        before = self.finished()
        code, said = self.run(**how)
        _expect(code == 0, f"the run after it ended with {code}: {said[-300:]}")
        _expect(self.results() == expected, "the results are not those of the undisturbed study")
        after = self.finished()
        again = [path for path, mark in before.items() if after.get(path) != mark]
        _expect(not again, f"finished results were written again: {again}")


def killed(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """The driver is killed at random moments."""
    for _ in range(3):
        if bench.kill_soon(bench.start(workers=bench.chance.choice([0, 1, 2]))) == 0:
            break
    bench.to_the_end(expected, workers=1)


def workers_killed(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """A worker is killed, as the kernel does when memory runs out; the driver goes on."""
    process = bench.start(workers=2)
    while process.poll() is None and not _children(process.pid):
        time.sleep(0.05)
    time.sleep(bench.chance.uniform(0.0, 4.0))
    children = _children(process.pid)
    _expect(process.poll() is not None or bool(children), "a study with two workers has none")
    for child in children[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    said = process.communicate(timeout=300)[1]
    _expect(process.returncode == 0, f"the study ended with {process.returncode}: {said[-300:]}")
    _expect(bench.results() == expected, "the results are not those of the undisturbed study")
    bench.to_the_end(expected)


def two_drivers(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """Two drivers share one store."""
    processes = [bench.start(out="out"), bench.start(out="other")]
    for process in processes:
        said = process.communicate(timeout=300)[1]
        _expect(process.returncode == 0, f"one of two drivers ended with {process.returncode}: {said[-300:]}")
    _expect(bench.results() == bench.results("other") == expected, "two drivers came to different results")


def damaged_results(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """Results are cut in half, emptied, replaced by a pickle, by JSON of another kind."""
    bench.run()
    paths = sorted(bench.finished())
    bomb = bench.folder / "exploded"
    harms: list[Callable[[bytes], bytes]] = [
        lambda data: data[: len(data) // 2],
        lambda _: b"",
        lambda _: pickle.dumps(Bomb(bomb)),
        lambda _: b'{"status": "done"}',
    ]
    for path, harm in zip(bench.chance.sample(paths, len(harms)), harms, strict=True):
        path.write_bytes(harm(path.read_bytes()))
    harmed = len(harms)
    code, said = bench.run()
    _expect(code == 0, f"the run over damaged results ended with {code}: {said[-300:]}")
    _expect(bench.results() == expected, "the results are not those of the undisturbed study")
    aside = list(bench.store.glob("*/*/result.json.damaged"))
    _expect(len(aside) == harmed, f"{harmed} results were damaged, {len(aside)} set aside")
    _expect(bench.details().count("damaged record is kept") == harmed, "the damaged results are not all named")
    _expect(not bomb.exists(), "a pickle was executed")


def damaged_checkpoints(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """Checkpoints of unfinished experiments are cut, filled with pickles, given a header that claims too much."""
    bench.run()
    bomb = bench.folder / "exploded"
    harms: list[Callable[[bytes], bytes]] = [
        lambda data: data[:-100],
        lambda _: pickle.dumps(Bomb(bomb)),
        lambda data: (2**40).to_bytes(8, "little") + data[8:],
        lambda data: data.replace(b'"shape":[', b'"shape":[9', 1),
    ]
    for path, harm in zip(sorted(bench.finished()), harms, strict=False):
        path.unlink()  # unfinished again
        checkpoint = path.with_name("checkpoint.safetensors")
        checkpoint.write_bytes(harm(checkpoint.read_bytes()))
    bench.to_the_end(expected)
    aside = list(bench.store.glob("*/*/checkpoint.safetensors.damaged"))
    _expect(len(aside) == len(harms), f"{len(harms)} checkpoints were damaged, {len(aside)} set aside")
    _expect(bench.details().count("damaged checkpoint is kept") == len(harms), "the damaged checkpoints are not named")
    _expect(not bomb.exists(), "a pickle was executed")


def full_disk(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """No file can grow beyond a few bytes; then there is room again."""
    code, said = bench.run(limit=bench.chance.choice([0, 200, 3_000, 9_000]) + 1)
    _expect(code in (1, 2), f"a full disk ended the study with {code}: {said[-300:]}")
    _expect("Traceback" not in said, f"a full disk gave a traceback: {said[-300:]}")
    whole = [path for path in bench.store.glob("*/*/*.json") if not _is_json(path)]
    _expect(not whole, f"a full disk left half a file: {whole}")
    bench.to_the_end(expected)


def no_store(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """The store cannot be written."""
    bench.store.write_text("a file where the folder should be")
    code, said = bench.run()
    _expect(code == 2 and said.count("\n") == 1, f"a store that cannot be written: exit code {code}, {said[-300:]}")
    bench.store.unlink()
    bench.to_the_end(expected)


def clock(bench: Bench, expected: list[dict[str, Any]]) -> None:
    """The clock of the day jumps about while the study runs."""
    folder = bench.folder / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import random, time\nchance, now = random.Random({bench.chance.random()}), time.time\n"
        "time.time = lambda: now() + chance.uniform(-1e6, 1e6)\n"
    )
    bench.kill_soon(bench.start(path=folder))
    bench.to_the_end(expected, path=folder)


SCENARIOS: dict[str, Callable[[Bench, list[dict[str, Any]]], None]] = {
    "killed": killed,
    "workers killed": workers_killed,
    "two drivers": two_drivers,
    "damaged results": damaged_results,
    "damaged checkpoints": damaged_checkpoints,
    "full disk": full_disk,
    "no store": no_store,
    "clock": clock,
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
                SCENARIOS[name](Bench(place, seed + count), expected)
                yield name, ""
            except Fault as fault:
                yield name, f"{fault} (seed {seed + count}, {place})"
            else:
                shutil.rmtree(place)
            count += 1


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def _limited(size: int) -> Callable[[], None]:
    def limit() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error where it is written, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def _expect(kept: bool, otherwise: str) -> None:
    if not kept:
        raise Fault(otherwise)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per round; the exit code is 1 when a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m seqmem.testing.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="how long (default: %(default)s); each fault once")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the damage (default: %(default)s)")
    parser.add_argument("--only", choices=tuple(SCENARIOS), action="append", help="this fault only; may be repeated")
    given = parser.parse_args(arguments)
    names = given.only or list(SCENARIOS)
    until, broken = time.monotonic() + 60 * given.minutes, 0
    folder = Path(tempfile.mkdtemp(prefix="seqmem-faults-"))
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
