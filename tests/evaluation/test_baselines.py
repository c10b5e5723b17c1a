"""Baselines that are no models: the most frequent target, and that of the nearest training row."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.values import Example
from kdkit.evaluation import baselines
from kdkit.evaluation.baselines import most_frequent_target, nearest_targets

words = st.lists(st.sampled_from(["int", "Sum", "sum", "(", ")", ";", "x1", "größe"]), max_size=6).map(" ".join)


def rows(sources, targets=None):
    targets = targets if targets is not None else [f"target {row}" for row in range(len(sources))]
    return [Example(id=str(i), source=s, target=t) for i, (s, t) in enumerate(zip(sources, targets, strict=True))]


def test_the_most_frequent_target_is_the_first_of_those_that_are_equally_frequent():
    assert most_frequent_target(rows("abcde", ["x", "y", "z", "z", "y"])) == "y"


def vectors(texts, known):
    """TF-IDF by hand: (1 + log count) * (1 + log((1 + N) / (1 + rows with it))), of length 1."""
    tokens = [Counter(re.findall(r"\w+|[^\w\s]", text)) for text in texts]
    frequency = Counter(token for text in known for token in set(re.findall(r"\w+|[^\w\s]", text)))
    made = []
    for counts in tokens:
        vector = {
            token: (1 + math.log(count)) * (1 + math.log((1 + len(known)) / (1 + frequency[token])))
            for token, count in counts.items()
            if token in frequency
        }
        length = math.sqrt(sum(value**2 for value in vector.values())) or 1
        made.append({token: value / length for token, value in vector.items()})
    return made


@settings(deadline=None, max_examples=20)
@given(st.lists(words, min_size=1, max_size=8), st.lists(words, max_size=5))
def test_the_nearest_row_is_that_of_the_greatest_cosine(known, asked):
    found = nearest_targets(rows(known), asked)
    of_known, of_asked = vectors(known, known), vectors(asked, known)
    for target, vector in zip(found, of_asked, strict=True):
        cosines = [sum(value * other.get(token, 0) for token, value in vector.items()) for other in of_known]
        row = int(target.split()[1])
        assert cosines[row] == pytest.approx(max(cosines), abs=1e-5)


def test_of_equally_similar_rows_the_first_is_taken():
    known = rows(["a b", "c d", "c d", "x y"])
    assert nearest_targets(known, ["c d", "d c", "unknown", ""]) == ["target 1", "target 1", "target 0", "target 0"]


def test_a_source_that_is_known_finds_its_own_target():
    known = rows([f"assert f({n}, {n * n}) == {n + 1}" for n in range(50)])
    assert nearest_targets(known, [row.source for row in known]) == [row.target for row in known]


def test_upper_case_and_signs_tell_rows_apart():
    known = rows(["f(x)", "F(x)", "f[x]"])
    assert nearest_targets(known, ["F(x)", "f[x]"]) == ["target 1", "target 2"]


def test_sources_without_any_token_are_all_alike():
    assert nearest_targets(rows(["", "  "]), ["a", "b"]) == ["target 0", "target 0"]
    assert nearest_targets(rows(["a"]), []) == []


def test_a_few_rows_at_a_time_find_the_same(monkeypatch):
    known, asked = rows([f"f{n % 7} g{n % 5} h" for n in range(60)]), [f"g{n % 5} f{n % 7}" for n in range(40)]
    whole = nearest_targets(known, asked)
    monkeypatch.setattr(baselines, "_CELLS", 130)  # two at a time
    assert nearest_targets(known, asked) == whole
