"""The nouns of kdkit: frozen values that pass between stages.

Tensor and array names end in their shape: B batch, S source, T target, V vocabulary, D hidden.
The vocabulary is always the last axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.api.values.batches import IGNORED, LabelPlaces, TokenBatch
from kdkit.api.values.blocks import (
    EntriesBlock,
    Grid,
    KnownLogits,
    OutputHead,
    RecordedLogits,
    StateBlock,
    TeacherBlock,
)
from kdkit.api.values.corpus import FORMS, SPLITS, Corpus, Cut, Drop, EncodedExample, Example, SplitName
from kdkit.api.values.losses import END, LossParts, Moment, TokenCounts
from kdkit.api.values.origins import Origin
from kdkit.api.values.pruning import (
    MEASURES,
    Importance,
    KeptLayers,
    KeptWidth,
    Measuring,
    Pruning,
    Width,
    bits_of,
    layers_in_words,
)
from kdkit.api.values.results import (
    AxisValue,
    Cost,
    Difference,
    Direction,
    Interval,
    ModelSize,
    Outcome,
    Prediction,
    PublishedRun,
    Report,
    Score,
    WrittenText,
)
from kdkit.api.values.targets import (
    DenseTargets,
    FactoredTargets,
    QuantizedTargets,
    SparseTargets,
    Targets,
    TeacherRows,
)

if TYPE_CHECKING:
    from kdkit.api.arrays import FloatArray as FloatArray

__all__ = [
    "END",
    "FORMS",
    "IGNORED",
    "MEASURES",
    "SPLITS",
    "AxisValue",
    "Corpus",
    "Cost",
    "Cut",
    "DenseTargets",
    "Difference",
    "Direction",
    "Drop",
    "EncodedExample",
    "EntriesBlock",
    "Example",
    "FactoredTargets",
    "Grid",
    "Importance",
    "Interval",
    "KeptLayers",
    "KeptWidth",
    "KnownLogits",
    "LabelPlaces",
    "LossParts",
    "Measuring",
    "ModelSize",
    "Moment",
    "Origin",
    "Outcome",
    "OutputHead",
    "Prediction",
    "Pruning",
    "PublishedRun",
    "QuantizedTargets",
    "RecordedLogits",
    "Report",
    "Score",
    "SparseTargets",
    "SplitName",
    "StateBlock",
    "Targets",
    "TeacherBlock",
    "TeacherRows",
    "TokenBatch",
    "TokenCounts",
    "Width",
    "WrittenText",
    "bits_of",
    "layers_in_words",
]
