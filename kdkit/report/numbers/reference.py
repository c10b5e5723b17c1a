"""Published numbers: a recipe's `[reference]`, matched to configurations by the values of its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins
from kdkit.errors import PluginError
from kdkit.plugins.structure import Structurer
from kdkit.report.numbers.configurations import same_value
from kdkit.report.read.scored import flat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.values import PublishedRun
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.configurations import Configuration


@attrs.frozen(kw_only=True, eq=False)
class Published:
    """Published runs.

    Attributes:
        source: Who published them, where and when.
        runs: The runs.
    """

    source: str
    runs: tuple[PublishedRun, ...]

    def of(self, configuration: Configuration) -> PublishedRun | None:
        """The published run that is set up as a configuration: each of its values is the configuration's."""
        for run in self.runs:
            if all(same_value(value, _setting(configuration, key)) for key, value in run.values.items()):
                return run
        return None

    def score(self, configuration: Configuration, key: RowKey) -> float | None:
        """The published value of a student's score."""
        run = self.of(configuration)
        return None if run is None or key.model != "student" else run.scores.get((key.against, key.suite, key.metric))


def load_reference(reference: Mapping[str, Any] | None) -> Published | None:
    """What a resolved `[reference]` table names; None where there is none.

    Raises:
        PluginError: It cannot be had: its plugin is not installed, or of another version.
    """
    if reference is None:
        return None
    structurer = Structurer(plugins.load())
    _, component = structurer.component("references", reference, ("reference",))
    if structurer.problems:
        raise PluginError("; ".join(sentence for _, sentence in structurer.problems))
    return Published(source=component.source, runs=tuple(component.runs()))


def _setting(configuration: Configuration, key: str) -> object:
    """A key of a configuration's recipe: of its own values, else what its runs have."""
    values = flat(dict(configuration.values))
    if key in values:
        return values[key]
    return configuration.runs[0].recipe.get(key) if configuration.runs else None
