"""How far off probabilities would be at a temperature at which they are not known.

Letters in names of arrays: P positions, K entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kdkit.data.guests.guest import IdArray, LogpArray


def share_of_others(logp_PK: LogpArray, rest_P: LogpArray, count_P: IdArray, *, ratio: float) -> tuple[float, float]:
    """The least and the greatest mean share of a token's other entries at another temperature.

    Of `count` others with the mass `rest` together, none likelier than the least entry known, the sum of p ** (1 /
    ratio) is greatest (above 1; least below) where all are alike: count ** (1 - 1 / ratio) * rest ** (1 / ratio). At
    the other end each is as likely as the least entry known, as long as there is mass.

    Args:
        logp_PK: Log-probabilities of the entries known; -inf where there is none.
        rest_P: The mass of the others.
        count_P: How many others there are.
        ratio: The temperature, over the one at which these are known.
    """
    power = 1 / ratio
    known_P = np.exp(logp_PK * power).sum(axis=1)
    least_P = np.exp(np.where(np.isneginf(logp_PK), np.inf, logp_PK).min(axis=1))
    alike_P = np.maximum(count_P, 1) ** (1 - power) * rest_P**power
    few_P = rest_P / least_P * least_P**power
    ends = [float((sum_P / (sum_P + known_P)).mean()) for sum_P in (alike_P, few_P)]
    return min(ends), max(ends)
