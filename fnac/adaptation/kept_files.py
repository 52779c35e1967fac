"""The files that a resumed run reuses, each checked against its digest in ``digests.json``.

A file and its digest cannot be written in one instant. So the digest is added before the file is
put in its place, and that of the file before it stays: killed anywhere, the file has one of both.
"""

from __future__ import annotations

import hashlib
import json
import os
from fnmatch import fnmatch
from pathlib import Path

from fnac.errors import TrainingError
from fnac.passes.files import write_atomically

DIGESTS = "digests.json"
NEEDED = ("config.yaml", "fingerprint.json", "latency.json", "search/limit.json", "start_of.json")
"""Files that cannot be made again as they were; a stage makes each other one again."""
_BLOCK = 1 << 20


class KeptFiles:
    """Writes files of a run folder together with their digests, and checks them later."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the run, whole or not at all."""
        self._note(name, hashlib.sha256(data).hexdigest())
        write_atomically(self.folder / name, data)

    def take(self, part: Path, name: str) -> None:
        """Move the finished file ``part`` to the run's file ``name``."""
        self._note(name, digest_of(part))
        os.replace(part, self.folder / name)

    def note(self, name: str) -> None:
        """Record the digest of a file that is already in place."""
        self._note(name, digest_of(self.folder / name))

    def forget(self, folder: str) -> None:
        """Drop the digests of the logs in ``folder``: its stage writes to them again."""
        kept = self._read() if (self.folder / DIGESTS).exists() else {}
        left = {name: value for name, value in kept.items() if not fnmatch(name, f"{folder}/*.csv")}
        if left != kept:
            self._write(left)

    def note_logs(self, folder: str) -> None:
        """Record the digests of the logs in ``folder``, whose stage is done."""
        for path in sorted((self.folder / folder).glob("*.csv")):
            self.note(f"{folder}/{path.name}")

    def check(self) -> None:
        """Check files against their digests; TrainingError names the first changed one.

        Also the first of ``NEEDED`` that is gone.
        """
        for name, digests in self._read().items():
            path = self.folder / name
            if name in NEEDED and not path.is_file():
                raise TrainingError(
                    f"{path}: it is gone, and the run was begun with it; put it back, or begin a "
                    "new run"
                )
            if path.is_file() and digest_of(path) not in digests:
                raise TrainingError(
                    f"{path}: it is not as this run left it (its digest is not the one in "
                    f"{DIGESTS}); put it back as it was, or begin a new run"
                )

    def _note(self, name: str, digest: str) -> None:
        kept = self._read() if (self.folder / DIGESTS).exists() else {}
        before = kept.get(name, [])[-1:]
        kept[name] = [*before, digest] if digest not in before else before
        self._write(kept)

    def _write(self, kept: dict[str, list[str]]) -> None:
        write_atomically(self.folder / DIGESTS, (json.dumps(kept, indent=1) + "\n").encode())

    def _read(self) -> dict[str, list[str]]:
        path = self.folder / DIGESTS
        form = "one file name and its digests per line"
        try:
            kept = json.loads(path.read_bytes())
        except OSError as error:
            raise TrainingError(
                f"{path}: cannot be read ({error.strerror}), so the run's files cannot be checked; "
                "put it back, or begin a new run"
            ) from error
        except ValueError as error:
            raise TrainingError(f"{path}: {error}; wanted {form}; begin a new run") from error
        if not isinstance(kept, dict) or not all(isinstance(v, list) for v in kept.values()):
            raise TrainingError(f"{path}: wanted {form}; begin a new run")
        return kept


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
