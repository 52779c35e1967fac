"""The settings class of every stage, to be given as ``settings=``; docs/settings.md lists them."""

from __future__ import annotations

from fnac.adaptation.settings import AdaptSettings, EvalSettings
from fnac.search.settings import SearchSettings
from fnac.stages.derive import DeriveSettings
from fnac.stages.emit import EmitSettings
from fnac.stages.expand import ExpandSettings
from fnac.stages.exporting.settings import ExportSettings
from fnac.stages.shrinking.settings import ShrinkSettings
from fnac.stages.tune_settings import TuneSettings

__all__ = [
    "AdaptSettings",
    "DeriveSettings",
    "EmitSettings",
    "EvalSettings",
    "ExpandSettings",
    "ExportSettings",
    "SearchSettings",
    "ShrinkSettings",
    "TuneSettings",
]
