"""What `kdkit.run` gives: the scores and costs of a run, which a notebook and rich show as the run's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs

from kdkit.api.values import Report
from kdkit.errors import KdkitError

if TYPE_CHECKING:
    from rich.console import RenderableType


@attrs.frozen(kw_only=True, repr=False)
class RunReport(Report):
    """The end of a run.

    A notebook and rich's `print` show its verdict, its first scores, where the student is and what to do next.
    """

    @classmethod
    def of(cls, report: Report) -> Self:
        """The same values."""
        return cls(**{name: getattr(report, name) for name in attrs.fields_dict(Report)})

    def __rich__(self) -> RenderableType:
        """What a terminal shows: the same as `kdkit run` at its end."""
        from kdkit.report.closing.run import closing
        from kdkit.report.page.terminal import Folded

        try:
            return Folded(closing(self.run_dir))
        except KdkitError:
            return repr(self)

    def _repr_html_(self) -> str | None:
        from kdkit.report.closing.run import closing_html

        try:
            return closing_html(self.run_dir)
        except KdkitError:
            return None  # the folder is gone or changed: the line alone is shown
