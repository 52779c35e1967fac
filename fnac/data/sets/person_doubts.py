"""Problems of labelled persons: windows that miss the joints, joints that mean nothing, no mirror.

Each of these trains and measures without an error and ends in a number that is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from fnac.findings import Finding

from .joints import JointSet
from .persons import PADDING, Person

OFTEN = 0.01
"""Share of a joint's labels at the image's corner above which they are doubtful."""
MISSED = 0.1
"""Share of persons whose windows may miss most of their joints."""
TOO_LARGE = 4.0
"""Sides of a person in extents of the labelled joints above which a box is doubtful."""


def mirror_findings(joints: JointSet) -> tuple[Finding, ...]:
    """Return a finding if joints keep their names in a mirrored image that should swap them."""
    todo = "set flip false, or give 'mirror' in a YAML file as --data"
    if joints.sideless:
        text = (
            f"no joint's name says a side ({_listed(joints.names)}), and no 'mirror' is given: in "
            f"a mirrored image (flip) all keep their names; {todo} ([] if no two swap)"
        )
    elif joints.unpaired and joints.mirror is not None:
        text = (
            f"'mirror' leaves out joints {_listed(joints.unpaired)}, which name a side: in a "
            "mirrored image (flip) they keep their names; add their pairs"
        )
    elif joints.unpaired:
        text = (
            f"joints {_listed(joints.unpaired)} name a side, and the other side's joint is not "
            f"there: in a mirrored image (flip) they keep their names; {todo}"
        )
    else:
        return ()
    return (Finding("unpaired-joints", f"data: {text}"),)


def person_doubts(name: str, items: Sequence[object]) -> Iterator[Finding]:
    """Return what is doubtful about the persons of split ``name``; other items are passed over."""
    persons = [one for one in items if isinstance(one, Person) and one.counted]
    if persons:
        yield from _twice(name, persons)
        yield from _at_corner(name, persons)
        yield from _missed(name, persons)
        yield from _too_large(name, persons)


def _twice(name: str, persons: Sequence[Person]) -> Iterator[Finding]:
    times = Counter((str(one.image), one.joints.tobytes()) for one in persons)
    more = sum(count - 1 for count in times.values())
    if more:
        first = next(one for one in persons if times[str(one.image), one.joints.tobytes()] > 1)
        who = "1 person is" if more == 1 else f"{more} persons are"
        yield Finding(
            f"persons-twice-{name}",
            f"data: {who} in '{name}' twice, with the same joints in the same image (first "
            f"{first.where}), and trained on and measured that often; remove them",
        )


def _at_corner(name: str, persons: Sequence[Person]) -> Iterator[Finding]:
    """Find labels at the image's first pixel, or at 0, 0 counted from 1."""
    places = np.stack([one.joints for one in persons])
    labelled = places[..., 2] > 0
    corner = labelled & np.isin(places[..., :2], (0, -1)).all(-1)
    corner &= places[..., 0] == places[..., 1]
    counts, of = corner.sum(0), labelled.sum(0)
    doubtful = [i for i in np.flatnonzero(counts > 1) if counts[i] > OFTEN * of[i]]
    if doubtful:
        told = ", ".join(f"{i} for {counts[i]} of {of[i]} persons" for i in map(int, doubtful[:4]))
        first = persons[int(np.flatnonzero(corner[:, doubtful[0]])[0])]
        yield Finding(
            f"joints-at-corner-{name}",
            f"data: joints of '{name}' are labelled at (0, 0), the image's corner (joint {told}; "
            f"first {first.where}): if they are missing ones, set their visibility to 0",
        )


def _missed(name: str, persons: Sequence[Person]) -> Iterator[Finding]:
    shares = [_inside(one) for one in persons]
    none, few = [share == 0 for share in shares], [share < 0.5 for share in shares]
    if not any(none) and sum(few) <= MISSED * len(persons):
        return
    first = persons[int(np.argmin(shares))]
    x0, y0, x1, y1 = first.box
    yield Finding(
        f"joints-outside-box-{name}",
        f"data: the boxes of {sum(few)} of {len(persons)} persons of '{name}' miss most of their "
        f"labelled joints, of {sum(none)} all (first {first.where}: the box is x {x0:.0f} to "
        f"{x1:.0f}, y {y0:.0f} to {y1:.0f}): the network sees what the box shows; correct boxes, "
        "or centres and scales",
    )


def _inside(person: Person) -> float:
    """Return the share of the labelled joints that lie in what is cut out."""
    joints = person.joints[person.joints[:, 2] > 0, :2]
    off = np.abs(joints - np.asarray(person.centre))
    return float((off <= np.asarray(person.window) / 2 + 1).all(-1).mean())


def _too_large(name: str, persons: Sequence[Person]) -> Iterator[Finding]:
    ratios = []
    for one in persons:
        joints = one.joints[one.joints[:, 2] > 0, :2]
        extent = float(np.ptp(joints, axis=0).max())
        if 2 * len(joints) >= len(one.joints) and len(joints) > 1 and extent > 0:
            ratios.append(max(one.window) / PADDING / extent)
    if ratios and (middle := float(np.median(ratios))) > TOO_LARGE:
        yield Finding(
            f"boxes-too-large-{name}",
            f"data: the persons of '{name}' are {middle:.0f} times as large as what their joints "
            f"span (in the middle of {len(ratios)}; first {persons[0].where}): they are small in "
            "what is cut out; look at the unit of boxes or scales",
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(f"'{name}'" for name in names[:8]) + more
