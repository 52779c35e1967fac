"""One variable of a MATLAB file, with an error that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fnac.errors import DataError


def read_matlab(path: Path, variable: str, wanted: str) -> npt.NDArray[Any] | None:
    """Return a variable of a MATLAB file, None where it holds no such one; raises DataError."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found = loadmat(path).get(variable)
    except (OSError, ValueError, NotImplementedError, MatReadError) as error:
        # what scipy raises for a file that is missing, spoilt, or of MATLAB's HDF5 kind
        raise DataError(f"{path}: not a MATLAB file ({error}); wanted {wanted}") from error
    return None if found is None else np.asarray(found)
