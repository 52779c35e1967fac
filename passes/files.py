"""Files are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FileNotWritableError

LFS_POINTER = b"version https://git-lfs."
"""How a file begins that git put in the place of a large one that it did not fetch."""


def is_lfs_pointer(path: Path) -> bool:
    """Say whether a file is a Git LFS pointer instead of the content it points to."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def model_file(path: Path) -> Path:
    """Return the ONNX file that a folder stands for: model.onnx, target.onnx, or its only one.

    A path that is no folder, and a folder that does not tell, come back as they are.
    """
    if not path.is_dir():
        return path
    for name in ("model.onnx", "target.onnx"):  # of a whole run, of a tuning
        if (path / name).is_file():
            return path / name
    models = onnx_files(path)
    return models[0] if len(models) == 1 else path


def onnx_files(folder: Path) -> list[Path]:
    """Return the ONNX files that lie in a folder, by name."""
    return sorted(path for path in folder.glob("*.onnx") if path.is_file())


def write_atomically(path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Write ``data`` to ``path`` through a temporary file in the same folder and a rename.

    A file of pieces is never held as a whole.

    Raises FileNotWritableError naming the path and the reason; an old file stays as it was.
    """
    with writing(path):
        _write(path, [data] if isinstance(data, bytes) else data)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OS error on writing ``path`` into a FileNotWritableError."""
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        if path.exists() and not path.is_file():
            raise OSError("not a regular file; it would be replaced by one")
        yield
    except OSError as error:
        raise FileNotWritableError(
            f"{path}: cannot be written ({error.strerror or error}); name another file"
        ) from error


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    path = path.resolve()  # through a link: what it points to is what is written
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
