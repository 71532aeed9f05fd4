"""A process that reads harmed files, format after format, under limits: ``python -m tests.fuzz.child N [FORMAT...]``.

One JSON object per format on standard output: how many files were read (some that are always tried, and N that are
drawn), the slowest, what went wrong.
A reader may return or raise InputError with one line. Anything else is a fault: another exception, more than 5 s, an
allocation beyond 1 GiB over what the process has when it starts, anything unpickled, started or imported.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import hypothesis
import torch
from hypothesis import HealthCheck, Phase

SECONDS, BYTES = 5, 2**30
FORBIDDEN = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
)


class Fault(Exception):
    """What a reader did that it must not."""


class Hung(BaseException):
    """Raised by the alarm; no reader catches it."""


def main(examples: int, names: list[str]) -> None:
    """Read, print."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    place = Path(tempfile.mkdtemp(prefix="seqmem-fuzz-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    os.chdir(place)
    sys.path.insert(0, str(place))
    from tests.fuzz.formats import FORMATS
    from tests.fuzz.mutations import EXPLODED, MODULE
    from tests.fuzz.wrong import WRONG

    Path(f"{MODULE}.py").write_text(f"from pathlib import Path; Path({EXPLODED!r}).touch()\n")
    os.environ["SEQMEM_ASSETS"] = str(place / "folder")
    told: list[str] = []
    sys.addaudithook(lambda event, _: told.append(event) if event in FORBIDDEN else None)
    signal.signal(signal.SIGPROF, _alarm)
    signal.signal(signal.SIGALRM, _alarm)
    for name, form in (FORMATS | WRONG).items():
        if names and name not in names:
            continue
        print(json.dumps(_one(name, form, examples, place / "folder", told)), flush=True)


def _one(name: str, form: Any, examples: int, folder: Path, told: list[str]) -> dict[str, Any]:
    from tests.fuzz.formats import fresh
    from tests.fuzz.mutations import WHOLE

    fresh(folder)
    harmed = form.make(folder)
    whole = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    _read(form, folder, told, sound=True)  # imports what it needs, so that the limit counts only what files ask for
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, resource.RLIM_INFINITY))
    count, slowest = 0, 0.0

    @hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @hypothesis.given(form.harm(whole[harmed.relative_to(folder)]))
    def every_file(data: bytes) -> None:
        nonlocal count, slowest
        fresh(folder)
        for path, content in whole.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        harmed.write_bytes(data)
        count += 1
        began = time.perf_counter()
        try:
            _read(form, folder, told)
        except Fault as fault:
            raise Fault(f"{fault}; the file was {data[:300]!r}") from fault.__cause__
        finally:
            slowest = max(slowest, time.perf_counter() - began)

    fault = ""
    try:
        for data in WHOLE:
            every_file.hypothesis.inner_test(data)
        with contextlib.redirect_stdout(io.StringIO()):
            every_file()
    except Fault as found:
        fault = str(found)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {"format": name, "files": count, "slowest": round(slowest, 3), "fault": fault}


def _read(form: Any, folder: Path, told: list[str], sound: bool = False) -> None:
    from seqmem.errors import InputError
    from tests.fuzz.mutations import EXPLODED, MODULE

    told.clear()
    signal.setitimer(signal.ITIMER_PROF, 0 if sound else SECONDS)  # of this process, however busy the machine is
    signal.alarm(20 * SECONDS)  # should it wait for something
    error: BaseException | None = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            form.read(folder)
    except Hung:
        raise Fault(f"it took more than {SECONDS} s") from None
    except BaseException as found:
        error = found
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    if Path(EXPLODED).exists() or MODULE in sys.modules:
        Path(EXPLODED).unlink(missing_ok=True)
        raise Fault("code was run")
    if told and not sound:
        raise Fault(f"it did {told[0]}")
    if sound and error is not None:
        raise error
    for cause in _causes(error):
        if isinstance(cause, MemoryError) or "allocate memory" in str(cause):
            raise Fault(f"it asked for too much memory: {type(cause).__name__}: {cause}") from error
    if error is not None and not isinstance(error, InputError):
        raise Fault(f"{type(error).__name__}: {error}{_where(error)}") from error
    if error is not None and len(str(error).splitlines()) != 1:
        raise Fault(f"more than one line: {error}")


def _where(error: BaseException) -> str:
    at = error.__traceback__
    places = []
    while at is not None:
        places.append(f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}")
        at = at.tb_next
    return " at " + " ".join(places[-4:])


def _causes(error: BaseException | None) -> Any:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _alarm(*_: Any) -> None:
    raise Hung


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
