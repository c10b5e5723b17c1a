"""What an author of a metric suite tests: kdkit's rules for all suites, then the suite's own."""

import pytest
from kdkit_prefix import Prefix

from kdkit.testing import check_metrics


@pytest.mark.parametrize("ignore_case", [False, True])
def test_the_suite_keeps_the_rules_of_metric_suites(ignore_case):
    check_metrics(Prefix(ignore_case=ignore_case))


def test_the_share_ends_at_the_first_character_that_differs():
    assert Prefix().score(["== 12"], ["== 13"], [])["share"] == [0.8]
    assert Prefix(ignore_case=True).score(["== NONE"], ["== none"], [])["share"] == [1.0]
