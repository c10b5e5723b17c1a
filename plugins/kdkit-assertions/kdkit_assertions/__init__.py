"""Test assertions for kdkit: data sets of Java and Python tests, and metric suites that judge assertions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit import hookimpl

if TYPE_CHECKING:
    from kdkit.api import Register
    from kdkit_assertions.compressed_logits import decode_compressed_logits
    from kdkit_assertions.thesis_metrics import score_thesis

__all__ = ["decode_compressed_logits", "score_thesis"]

_LAZY = {
    "decode_compressed_logits": "kdkit_assertions.compressed_logits",
    "score_thesis": "kdkit_assertions.thesis_metrics",
}


def __getattr__(name: str) -> Any:
    """Public functions are imported when first used, so that listing plugins stays quick."""
    if name not in _LAZY:
        raise AttributeError(f"module 'kdkit_assertions' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


@hookimpl
def register_datasets(register: Register) -> None:
    """Java and Python tests, and Python functions."""
    register("assertion-zip", "kdkit_assertions.assertion_zip:AssertionZip")
    register("assertion-jsonl", "kdkit_assertions.assertion_jsonl:AssertionJsonl")
    register("python-tests", "kdkit_assertions.python_tests:PythonTests")
    register("python-functions", "kdkit_assertions.python_functions:PythonFunctions")


@hookimpl
def register_metrics(register: Register) -> None:
    """Strict comparison of assertions, the thesis's published one, and running them."""
    register("assertions", "kdkit_assertions.strict_metrics:Assertions")
    register("assertions-thesis", "kdkit_assertions.thesis_metrics:ThesisAssertions")
    register("execution", "kdkit_assertions.execution:Execution")


@hookimpl
def register_references(register: Register) -> None:
    """The thesis's published runs."""
    register("thesis-codet5", "kdkit_assertions.thesis_reference:ThesisCodeT5")
