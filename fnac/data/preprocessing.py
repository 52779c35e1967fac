"""Mean, std and colour order of images: from a network's manifest or from the user."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from fnac.errors import UsageError
from fnac.findings import Finding
from fnac.passes.graph.contract import IMAGENET_MEAN, IMAGENET_STD, Contract, Triple, state_input

logger = logging.getLogger(__name__)

Stated = Triple | str
"""Three numbers on pixels / 255, in text or as they are, or the name of a preset."""

PRESETS: dict[str, tuple[Triple, Triple, str]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD, "RGB"),
    "tf": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "RGB"),
    "caffe": ((103.939 / 255, 116.779 / 255, 123.68 / 255), (1 / 255, 1 / 255, 1 / 255), "BGR"),
}
"""Name -> mean, std (on pixels / 255, in the order of the channels) and colour order."""
SAME = 1e-3
"""How far two means or standard deviations may be apart by rounding."""
EXAMPLE = "three numbers on pixels / 255, e.g. 0.485,0.456,0.406, or " + ", ".join(PRESETS)

ASSUMED = (
    "Preprocessing was assumed: the file does not state its mean and std, so ImageNet's were "
    "taken (RGB, mean 0.485,0.456,0.406, std 0.229,0.224,0.225). If the network was trained with "
    "others, accuracy is lost; state them with --mean and --std (imagenet, tf, caffe or numbers)."
)


def preprocessing(manifest: Mapping[str, Any]) -> tuple[Triple, Triple, str]:
    """Return mean, std (on pixels / 255) and colour order; ImageNet's if the file states none."""
    stated = Contract.read(manifest).input
    mean, std = stated.on_unit_range()
    return mean, std, stated.color


def padding(manifest: Mapping[str, Any]) -> Triple | None:
    """Return the colour of the padding (0 to 255), or None if it is the mean."""
    return Contract.read(manifest).input.pad


def manifest_size(manifest: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the input (H, W), or None: the manifest's, or its ``sides``."""
    stated = Contract.read(manifest).input
    return stated.sides or stated.size


def parse_stated(mean: Stated | None, std: Stated | None) -> tuple[Triple, Triple, str] | None:
    """Return mean, std and colour order that a user stated; None: nothing was stated.

    Raises UsageError for one without the other, for numbers that are not on pixels / 255.
    """
    if mean is None and std is None:
        return None
    named = {value for value in (mean, std) if isinstance(value, str) and value in PRESETS}
    if named:
        rest = {value for value in (mean, std) if value is not None} - named
        if len(named) > 1 or rest:
            raise UsageError(
                f"--mean {_shown(mean)} --std {_shown(std)}: {sorted(named)[0]} brings mean, std "
                "and colour order along; give it alone"
            )
        return PRESETS[named.pop()]
    if mean is None or std is None:
        raise UsageError("mean and std: one of them was given; wanted both or neither")
    means, stds = _triple(mean, "mean"), _triple(std, "std")
    if max(map(abs, means)) > 2 or max(stds) > 2:
        raise UsageError(
            f"--mean {_shown(mean)} --std {_shown(std)}: these are on pixels of 0 to 255; "
            "divide them by 255"
        )
    if min(stds) <= 0:
        raise UsageError(f"--std {_shown(std)}: wanted numbers above 0")
    return means, stds, "RGB"


def state_preprocessing(manifest: dict[str, Any], mean: Stated | None, std: Stated | None) -> None:
    """Write preprocessing into a manifest: the user's, else the file's, else the assumed one.

    Warns if the user's is another than the file states.
    """
    stated = parse_stated(mean, std)
    if stated is not None:
        _tell_other(manifest, stated)
        mean, std, color = stated
        unit = (0.0, 1.0)
        state_input(manifest, mean=mean, std=std, color=color, range=unit, pad=None, assumed=False)
        return
    state_input(manifest)


def state_pixels(manifest: dict[str, Any]) -> None:
    """Write into the manifest of a network that takes whole numbers that they are the pixels.

    What the manifest says already stays.
    """
    if "preprocessing" not in manifest:
        pixels = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "range": (0.0, 255.0)}
        state_input(manifest, **pixels, assumed=False)


def _tell_other(manifest: Mapping[str, Any], stated: tuple[Triple, Triple, str]) -> None:
    """Warn if a user states another preprocessing than a file does."""
    if Contract.read(manifest).input.assumed or not manifest.get("preprocessing"):
        return
    mean, std, color = preprocessing(manifest)
    numbers = zip((*mean, *std), (*stated[0], *stated[1]), strict=True)
    if color != stated[2] or max(abs(one - other) for one, other in numbers) > SAME:
        told = [
            f"mean {_shown(means)}, std {_shown(stds)}, {order}"
            for means, stds, order in ((mean, std, color), stated)
        ]
        logger.warning(
            "--mean, --std: the file states %s; %s is taken instead, which is of another network "
            "unless the file is wrong", *told,
        )  # fmt: skip


def preprocessing_findings(manifest: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return the finding that a network's preprocessing was assumed, if so."""
    assumed = Contract.read(manifest).input.assumed
    return (Finding("assumed preprocessing", ASSUMED),) if assumed else ()


def tell_assumed(manifest: Mapping[str, Any]) -> None:
    """Warn if a network's preprocessing is assumed; once per command."""
    for finding in preprocessing_findings(manifest):
        logger.warning("%s", finding)


def _triple(value: Stated, name: str) -> Triple:
    try:
        numbers = value.split(",") if isinstance(value, str) else value
        first, second, third = (float(number) for number in numbers)
    except ValueError:
        raise UsageError(f"--{name} {value}: wanted {EXAMPLE}") from None
    if not all(map(math.isfinite, (first, second, third))):
        raise UsageError(f"--{name} {value}: wanted {EXAMPLE}")
    return first, second, third


def _shown(value: Stated | None) -> str:
    if value is None or isinstance(value, str):
        return value or "(none)"
    return ",".join(f"{number:g}" for number in value)
