"""The report's charts, light and dark."""

from __future__ import annotations

from .chart import Picture
from .of_classes import confusion, precision_recall
from .of_costs import Tried, architecture_picture, stage_madds, trade_off, tried
from .of_search import alphas_picture, search_pictures
from .of_tuning import tuning_pictures

__all__ = [
    "Picture",
    "Tried",
    "alphas_picture",
    "architecture_picture",
    "confusion",
    "precision_recall",
    "search_pictures",
    "stage_madds",
    "trade_off",
    "tried",
    "tuning_pictures",
]
