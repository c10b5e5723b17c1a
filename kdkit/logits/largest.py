"""The largest entries of what a cache keeps of each token, as log-probabilities, whatever its codec.

Letters: T target tokens, K entries, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kdkit.api.interfaces import BatchCodec, SampledCodec, SparseCodec
from kdkit.errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kdkit.logits.cache import LogitCache

    IdArray = npt.NDArray[np.int64]
    LogpArray = npt.NDArray[np.float64]


def check_kept(cache: LogitCache, *, temperature: float) -> None:
    """Refuse a cache whose probabilities at a temperature nobody knows.

    Raises:
        UsageError: It keeps draws, or entries that are known at other temperatures.
    """
    codec = cache.codec
    if isinstance(codec, SampledCodec):
        raise UsageError(
            f"{cache.folder} keeps draws from the teacher's distributions ({cache.identity.codec}), and no "
            "log-probabilities; capture again with topk"
        )
    if isinstance(codec, SparseCodec) and temperature not in codec.exact_temperatures:
        known = ", ".join(f"{each:g}" for each in codec.exact_temperatures)
        raise UsageError(f"{cache.folder} knows probabilities at temperature {known} only, not at {temperature:g}")


def largest_entries(cache: LogitCache, key: bytes, *, entries: int, temperature: float) -> tuple[IdArray, LogpArray]:
    """The ids and log-probabilities of the largest entries of a record's tokens, largest first, `[T, K]`.

    K is less than asked for where the vocabulary or what the cache keeps is smaller.

    Raises:
        DamagedData: The record is not what was written.
    """
    if isinstance(cache.codec, SparseCodec):
        ids_TK, logp_TK = _kept(cache, key, temperature)
    else:
        logits_TV = cache.decode(key).astype(np.float64) / temperature
        logits_TV -= logits_TV.max(axis=1, keepdims=True, initial=-np.inf)
        logp_TK = logits_TV - np.log(np.exp(logits_TV).sum(axis=1, keepdims=True))
        ids_TK = np.broadcast_to(np.arange(logp_TK.shape[1]), logp_TK.shape)
    order_TK = np.lexsort((ids_TK, -logp_TK), axis=1)[:, :entries]
    return np.take_along_axis(ids_TK, order_TK, axis=1), np.take_along_axis(logp_TK, order_TK, axis=1)


def _kept(cache: LogitCache, key: bytes, temperature: float) -> tuple[IdArray, LogpArray]:
    """All entries that a sparse codec keeps."""
    from kdkit.api.values import SparseTargets

    (coder,) = cache.coders([key])
    assert isinstance(coder, BatchCodec), "a sparse codec gives targets"
    targets = coder.targets([cache.get(key)], vocab_size=cache.vocab_size, device="cpu")
    assert isinstance(targets, SparseTargets)
    values_TK = targets.values_BTK[0].double().numpy() / temperature
    log_tail_T1 = targets.log_tail_BT[temperature][0].double().numpy()[:, None]
    values_TK = values_TK - values_TK.max(axis=1, keepdims=True, initial=-np.inf)
    share_TK = values_TK - np.log(np.exp(values_TK).sum(axis=1, keepdims=True))
    return targets.ids_BTK[0].long().numpy(), share_TK + np.log1p(-np.exp(log_tail_T1))
