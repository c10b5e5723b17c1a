"""A recipe option as a field of an attrs class, and the checks that options share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import validators

if TYPE_CHECKING:
    from collections.abc import Callable


def option(
    help_text: str,
    *,
    default: Any = attrs.NOTHING,
    factory: Any = None,
    check: Any = None,
    neutral: Any = attrs.NOTHING,
    usual: Any = None,
) -> Any:
    """An attrs field that is a recipe option.

    Args:
        help_text: One sentence; shown by `kdkit plugins show`, the docs and editors.
        default: Its default; an option without one must be given.
        factory: Makes a mutable default.
        check: An attrs validator.
        neutral: Of an option that is added to a released component: the value at which the component does what it did
            before. At that value the option is left out of all digests, so that runs, caches and teachers made before
            are found again. None is always left out.
        usual: Of a default that is made from other fields: what the docs say it is.
    """
    metadata = {"help": help_text, "neutral": neutral, "usual": usual}
    if factory is not None:
        return attrs.field(factory=factory, validator=check, metadata=metadata)
    return attrs.field(default=default, validator=check, metadata=metadata)


def one_of(*choices: object) -> Callable[[Any, Any, Any], None]:
    """Validator: the value is one of these; the choices reach the docs and the JSON Schema."""
    return validators.in_(choices)


positive = validators.gt(0)
at_least_one = validators.ge(1)
not_negative = validators.ge(0)
share = validators.and_(validators.ge(0.0), validators.le(1.0))
