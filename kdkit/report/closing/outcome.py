"""What `kdkit.run` gives: the scores and costs of a run, which a notebook shows as the run's end."""

from __future__ import annotations

from typing import Self

import attrs

from kdkit.api.values import Report
from kdkit.errors import KdkitError


@attrs.frozen(kw_only=True, repr=False)
class RunReport(Report):
    """The end of a run. A notebook shows its verdict, its first scores, where the student is and what to do next."""

    @classmethod
    def of(cls, report: Report) -> Self:
        """The same values."""
        return cls(**{name: getattr(report, name) for name in attrs.fields_dict(Report)})

    def _repr_html_(self) -> str | None:
        from kdkit.report.closing.run import closing_html

        try:
            return closing_html(self.run_dir)
        except KdkitError:
            return None  # the folder is gone or changed: the line alone is shown
