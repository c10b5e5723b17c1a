"""What `kdkit predict` reads rows with: the inputs of rows without targets equal those that were trained on."""

from __future__ import annotations

import json

import attrs
import pytest

from kdkit.api import RowSource, Silent
from kdkit_assertions.assertion_jsonl import AssertionJsonl
from kdkit_assertions.assertion_zip import AssertionZip


def test_a_row_without_assertions_makes_the_input_that_the_same_row_was_trained_on(tmp_path):
    row = {"focal_code": "int one() { return 1; }", "test_masked": "void t() { /*<ASSERT_0>*/ }"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**row, "assertions": ["assertEquals(1, one());"]}) + "\n")
    source = AssertionJsonl(train=str(path), validation=str(path), id="")
    trained = source.load(Silent()).train[0]
    prompted = source.prompt("1", row)
    assert isinstance(source, RowSource)
    assert attrs.evolve(prompted, id=trained.id) == attrs.evolve(trained, target="", meta={})


@pytest.mark.parametrize("source", [AssertionZip(), AssertionJsonl(train="", validation="")])
def test_a_row_without_a_test_says_so(source):
    assert source.prompt("1", {"focal_file": "class A {}"}) == "it has no masked test"
