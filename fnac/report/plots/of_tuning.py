"""Charts of the fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fnac.report.run_folder import Curve

from .chart import (
    BUDGET_COLOUR,
    SECOND_COLOUR,
    TARGET_COLOUR,
    Picture,
    Theme,
    count_steps,
    draw_legend,
    draw_trace,
    make_picture,
    thinned,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def tuning_pictures(curve: Curve) -> list[Picture]:
    """Loss, validation metric and learning rates of the parameter adaptation."""
    measured = next((name for name in curve.numbers if name.startswith("val_")), "val_")
    metric = measured.removeprefix("val_")

    def loss(axes: Axes, theme: Theme) -> None:
        draw_trace(axes, curve.points("step", "loss"), TARGET_COLOUR, "training")
        axes.set_ylabel("loss")
        count_steps(axes)

    def validation(axes: Axes, theme: Theme) -> None:
        xs, ys = curve.points("epoch", measured)
        epochs = [x + 1 for x in xs]
        axes.plot(epochs, ys, "o-", ms=3.5, lw=1.4, color=TARGET_COLOUR)
        best = max(range(len(ys)), key=ys.__getitem__)
        axes.plot(epochs[best], ys[best], "o", ms=8, mfc="none", mec=BUDGET_COLOUR)
        place = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"best {ys[best]:.1f}", (epochs[best], ys[best]), **place)  # type: ignore
        axes.set_xlim(0, max(epochs) + 1)
        axes.set_ylim(0, max(1.0, 1.25 * max(ys)))
        axes.set_ylabel(f"validation {metric}, %")
        count_steps(axes, "epoch")

    def rate(axes: Axes, theme: Theme) -> None:
        for column, colour, part, wide in (
            ("lr", TARGET_COLOUR, "backbone", 3.2),  # is seen where both are the same
            ("head_lr", SECOND_COLOUR, "head", 1.4),
        ):
            xs, ys = thinned(*curve.points("step", column))
            if xs:
                axes.plot(xs, ys, lw=wide, color=colour, label=part)
        axes.set_ylabel("learning rate")
        count_steps(axes)
        draw_legend(axes, theme)

    panels = [
        (
            measured, "tune_validation", "Validation during tuning", validation,
            f"{metric} on the validation split after each epoch, ringed: the best. A curve that "
            "still rises at its end asks for more epochs; one that falls for a while has learnt "
            "the training images by heart.",
        ),
        (
            "loss", "tune_loss", "Loss during tuning", loss,
            "The training loss, bold: its running mean. It should fall and level off; jumps ask "
            "for a lower learning rate.",
        ),
        (
            "lr", "tune_lr", "Learning rate", rate,
            "How far a step goes, for backbone (tune.lr) and head (tune.head_lr). It should "
            "end near 0.",
        ),
    ]  # fmt: skip
    return [
        make_picture(name, caption, draw, reading=reading)
        for column, name, caption, draw, reading in panels
        if curve.last(column) is not None
    ]
