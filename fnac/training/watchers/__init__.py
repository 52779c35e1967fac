"""Who looks at a training while it runs: callbacks of a user, TensorBoard, W&B, MLflow."""

from __future__ import annotations

from .services import SERVICES, check_services, open_services
from .watcher import Training, Watcher, Watchers, watched_by, watching

__all__ = [
    "SERVICES",
    "Training",
    "Watcher",
    "Watchers",
    "check_services",
    "open_services",
    "watched_by",
    "watching",
]
