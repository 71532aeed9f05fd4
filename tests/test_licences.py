"""What is installed with seqmem may be used as freely as seqmem: no package of the run-time dependencies is under the
GPL (the tests' oracles may be)."""

from __future__ import annotations

import importlib.metadata
import re

from packaging.requirements import Requirement


def runtime_packages() -> set[str]:
    """seqmem's dependencies and theirs, as installed here; extras left out."""
    found: set[str] = set()
    waiting = ["seqmem"]
    while waiting:
        name = waiting.pop()
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            key = re.sub(r"[-_.]+", "-", requirement.name).lower()
            if needed and key not in found:
                try:
                    importlib.metadata.distribution(key)
                except importlib.metadata.PackageNotFoundError:
                    continue  # of another platform
                found.add(key)
                waiting.append(key)
    return found


def licence(name: str) -> str:
    """What a package's metadata say of its licence."""
    fields = importlib.metadata.metadata(name)
    classifiers = [c for c in fields.get_all("Classifier") or [] if c.startswith("License")]
    stated = fields.get("License-Expression") or (fields.get("License") or "").splitlines()[:1]
    return " ".join([*classifiers, stated if isinstance(stated, str) else " ".join(stated)])


def test_no_package_is_under_the_gpl() -> None:
    packages = runtime_packages()
    assert {"torch", "transformers", "numpy", "safetensors"} <= packages
    copyleft = re.compile(r"(?<!L)(?<!Lesser )\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)
    assert {name: text for name in packages if copyleft.search(text := licence(name))} == {}
    unknown = {name for name in packages if not licence(name).strip()}
    assert unknown <= {"triton"}, "read these packages' licences and add them to this test"


def test_the_licence_of_a_gpl_package_is_seen() -> None:
    copyleft = re.compile(r"(?<!L)(?<!Lesser )\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)
    assert copyleft.search("License :: OSI Approved :: GNU General Public License v3 (GPLv3)")
    assert copyleft.search("AGPL-3.0-only")
    assert not copyleft.search("LGPL-2.1")
    assert not copyleft.search("License :: OSI Approved :: GNU Lesser General Public License v2 (LGPLv2)")
