"""Semantic segmentation: losses, mean IoU, panels of image, truth and prediction."""

from __future__ import annotations

from .task import Segmentation, class_ids, fit_logits, open_task, whole_picture_transform

__all__ = ["Segmentation", "class_ids", "fit_logits", "open_task", "whole_picture_transform"]
