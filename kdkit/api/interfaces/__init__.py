"""The methods of each kind of component. A class fits by having the methods; it inherits nothing.

A component class is `attrs.frozen(kw_only=True)`; its fields are its recipe options, each with a type, a default where
there is a sensible one, a validator where not every value is allowed, and `metadata={"help": "one sentence"}`
(see `kdkit.option`). Making one is cheap and pure: files, weights and devices appear only in its methods.
Its module imports torch, transformers and the like only inside methods, so that listing plugins stays quick.
"""

from __future__ import annotations

from kdkit.api.interfaces.abilities import (
    FolderStudent,
    InputChecker,
    LimitedTeacher,
    ModelTeacher,
    NamedStudent,
    PrunedStudent,
    RemarkingStudent,
    TrimmedTeacher,
    WritingTeacher,
)
from kdkit.api.interfaces.codecs import (
    BatchCodec,
    Codec,
    EntriesCodec,
    FittedCodec,
    HeadCodec,
    SampledCodec,
    SparseCodec,
    StateCodec,
)
from kdkit.api.interfaces.data import (
    AttributedSource,
    DataSource,
    FetchedSource,
    KeyedSource,
    PromptSource,
    RecordedSource,
    RowSource,
    StreamedSource,
)
from kdkit.api.interfaces.experiments import OpenSearch, OpenTracker, Reference, Search, Tracker
from kdkit.api.interfaces.losses_and_suites import (
    CheckedSuite,
    DirectedSuite,
    FeatureLoss,
    LossMixer,
    MetricSuite,
    SampledLoss,
    ScheduledLoss,
    TemperedLoss,
)
from kdkit.api.interfaces.models import EndingModel, HeadModel, LeanModel, ModelKind, RuledTexts, TextModel, Tokenizer
from kdkit.api.interfaces.teachers_and_students import (
    EntriesTeacher,
    HeadTeacher,
    OpenTeacher,
    Student,
    Teacher,
)

__all__ = [
    "AttributedSource",
    "BatchCodec",
    "CheckedSuite",
    "Codec",
    "DataSource",
    "DirectedSuite",
    "EndingModel",
    "EntriesCodec",
    "EntriesTeacher",
    "FeatureLoss",
    "FetchedSource",
    "FittedCodec",
    "FolderStudent",
    "HeadCodec",
    "HeadModel",
    "HeadTeacher",
    "InputChecker",
    "KeyedSource",
    "LeanModel",
    "LimitedTeacher",
    "LossMixer",
    "MetricSuite",
    "ModelKind",
    "ModelTeacher",
    "NamedStudent",
    "OpenSearch",
    "OpenTeacher",
    "OpenTracker",
    "PromptSource",
    "PrunedStudent",
    "RecordedSource",
    "Reference",
    "RemarkingStudent",
    "RowSource",
    "RuledTexts",
    "SampledCodec",
    "SampledLoss",
    "ScheduledLoss",
    "Search",
    "SparseCodec",
    "StateCodec",
    "StreamedSource",
    "Student",
    "Teacher",
    "TemperedLoss",
    "TextModel",
    "Tokenizer",
    "Tracker",
    "TrimmedTeacher",
    "WritingTeacher",
]
