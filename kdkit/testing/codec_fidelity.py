"""How near a codec must come to the logits that it encodes. Letters: T target tokens, V vocabulary, K entries kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.testing.blocks import flat_block, synthetic_block

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    import numpy as np
    import numpy.typing as npt

    from kdkit.api.interfaces import Codec, FittedCodec
    from kdkit.api.interfaces.codecs import SampledCodec, SparseCodec
    from kdkit.api.values import FloatArray, SparseTargets, TeacherBlock

    Bound: TypeAlias = Callable[[FloatArray], FloatArray | float]
    # Tokens, vocabulary and seed to a block.
    BlockMaker: TypeAlias = Callable[[int, int, int], TeacherBlock]
    Doubles: TypeAlias = npt.NDArray[np.float64]

# Four bits a logit come within both.
MOST_KL = 0.05
LEAST_TOP1 = 0.7
# How much flatter or sharper distributions may come back. Rounding changes this by less than 1 %.
_SLOPE = 0.05
SIZES = (50, 300)
_TOKENS = 200
_DRAWN_TOKENS = 2000


@attrs.frozen(kw_only=True)
class Nearness:
    """What the author of a codec says of its errors: a bound of each, or that they are small on the whole."""

    bound: Bound | None
    bound_of: Callable[[Codec], Bound] | None
    up_to_constant: bool
    is_lossy: bool
    kl: float | None
    top1: float | None

    def check(self, codec: Codec | FittedCodec) -> None:
        """Refuse arguments that mean nothing for a codec, or contradict it: no argument is ignored."""
        from kdkit.api.interfaces import FittedCodec, SampledCodec, SparseCodec

        is_bounded = self.bound is not None or self.bound_of is not None
        is_sparse = isinstance(codec, SparseCodec)
        is_sample = isinstance(codec, SampledCodec) and codec.is_sample
        has_floors = self.kl is not None or self.top1 is not None
        for is_wrong, sentence in (
            (
                not (is_bounded or self.is_lossy or is_sparse),
                (
                    "does not say how near its logits come to the original: give bound= (or bound_of= for a "
                    "codec that learns), or lossy=True for one without a bound"
                ),
            ),
            (
                self.bound_of is not None and not isinstance(codec, FittedCodec),
                "learns no state that bound_of= could read; give bound=",
            ),
            (self.bound is not None and self.bound_of is not None, "is given both bound= and bound_of=; give one"),
            (self.up_to_constant and not is_bounded, "is given up_to_constant= without a bound that it could change"),
            (has_floors and not (self.is_lossy or is_sparse), "is given kl= or top1= without lossy=True"),
            (has_floors and is_sample, "keeps a sample, whose means are compared: leave out kl= and top1="),
        ):
            assert not is_wrong, f"{codec!r} {sentence}"

    def of(self, fitted: Codec) -> Nearness:
        """The same, with the bound of a codec that has its state."""
        return self if self.bound_of is None else attrs.evolve(self, bound=self.bound_of(fitted), bound_of=None)


def check_bound(codec: Codec, block: TeacherBlock, decoded_TV: FloatArray, nearness: Nearness) -> None:
    """Each decoded logit is within the bound, if one is stated."""
    import numpy as np

    if nearness.bound is None:
        return
    tokens, vocab_size = block.logits_TV.shape
    excess_TV = _errors(block, decoded_TV, nearness) - nearness.bound(block.logits_TV)
    assert excess_TV.max(initial=-np.inf) <= 0, (
        f"{codec!r} misses its stated bound by {excess_TV.max():g} on a {tokens} x {vocab_size} block"
    )


def check_fidelity(codec: Codec, block_of: BlockMaker | None, nearness: Nearness, sizes: Sequence[int] = SIZES) -> None:
    """What comes back is what went in, as far as the codec promises it: also where no bound of each logit is stated.

    Args:
        codec: The codec, with its state if it learns one.
        block_of: Makes the only blocks that the codec can encode; None for one that encodes any.
        nearness: What is promised.
        sizes: The vocabularies to try.
    """
    from kdkit.api.interfaces import SampledCodec, SparseCodec

    if nearness.bound is not None:
        _check_bound_says_something(codec, (block_of or flat_block)(_TOKENS, sizes[0], 1), nearness)
    if isinstance(codec, SampledCodec) and codec.is_sample:
        _check_means(codec)
    elif isinstance(codec, SparseCodec):
        for size in sizes:
            _check_kept(codec, flat_block(_TOKENS, size, 1), nearness)
            _check_kept(codec, synthetic_block(_TOKENS, size), nearness)
    elif nearness.is_lossy:
        for size in sizes:
            _check_close(codec, (block_of or flat_block)(_TOKENS, size, 1), nearness)
            if block_of is None:
                _check_winners(codec, synthetic_block(_TOKENS, size))


def _check_bound_says_something(codec: Codec, block: TeacherBlock, nearness: Nearness) -> None:
    assert nearness.bound is not None
    import numpy as np

    nothing_TV = np.zeros_like(block.logits_TV)
    assert (_errors(block, nothing_TV, nearness) > nearness.bound(block.logits_TV)).any(), (
        f"the stated bound of {codec!r} is so wide that a codec that gives nothing but zeros would keep it"
    )


def _errors(block: TeacherBlock, decoded_TV: FloatArray, nearness: Nearness) -> Doubles:
    import numpy as np

    error_TV = decoded_TV.astype(np.float64) - block.logits_TV
    if nearness.up_to_constant:
        error_TV -= error_TV.mean(axis=1, keepdims=True)
    return np.abs(error_TV)


def _check_close(codec: Codec, block: TeacherBlock, nearness: Nearness) -> None:
    """Rows and entries are where they were, distributions as sharp as they were, and near in top-1 and KL."""
    import numpy as np

    tokens, vocab_size = block.logits_TV.shape
    decoded_TV = codec.decode(codec.encode(block), tokens=tokens, vocab_size=vocab_size).astype(np.float64)
    x_TV = block.logits_TV.astype(np.float64)
    logp_TV, logq_TV = log_softmax(x_TV), log_softmax(decoded_TV)
    p_TV = np.exp(logp_TV)
    of = f"of a {tokens} x {vocab_size} block"
    _check_places(codec, logp_TV, logq_TV, of)
    _check_top1(codec, float((x_TV.argmax(1) == decoded_TV.argmax(1)).mean()), nearness, of)
    _check_kl(codec, float((p_TV * (logp_TV - logq_TV)).sum(1).mean()), nearness, of)
    centred_TV = x_TV - (p_TV * x_TV).sum(1, keepdims=True)
    slope = float((p_TV * centred_TV * decoded_TV).sum() / (p_TV * centred_TV**2).sum())
    assert abs(slope - 1) <= _SLOPE, (
        f"{codec!r} gives back logits {of} that are {slope:.3f} times as far apart as they were"
    )


def _check_winners(codec: Codec, block: TeacherBlock) -> None:
    """Where one logit is far above the others, it stays so in every row."""
    tokens, vocab_size = block.logits_TV.shape
    decoded_TV = codec.decode(codec.encode(block), tokens=tokens, vocab_size=vocab_size)
    kept = float((block.logits_TV.argmax(1) == decoded_TV.argmax(1)).mean())
    assert kept == 1, (
        f"{codec!r} keeps a logit that is far above all others as the largest in {kept:.3f} of "
        f"{tokens} rows of {vocab_size}, and must in all"
    )


def _check_places(codec: Codec, logp_TV: Doubles, logq_TV: Doubles, of: str) -> None:
    """Each row, and each entry, is most like itself (by correlation, which a tail at one value does not upset)."""
    import numpy as np

    def direction_of_each(vectors: Doubles) -> Doubles:
        centred = vectors - vectors.mean(1, keepdims=True)
        directions: Doubles = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        return directions

    for what, before, after in (("row", logp_TV, logq_TV), ("vocabulary entry", logp_TV.T, logq_TV.T)):
        nearest = (direction_of_each(after) @ direction_of_each(before).T).argmax(1)
        wrong = np.flatnonzero(nearest != np.arange(len(before)))
        assert not wrong.size, (
            f"{codec!r} gives back {what} {wrong[0]} {of} more like {what} {nearest[wrong[0]]} than like itself"
        )


def _check_top1(codec: Codec, found: float, nearness: Nearness, of: str) -> None:
    least = LEAST_TOP1 if nearness.top1 is None else nearness.top1
    assert found >= least, (
        f"{codec!r} keeps the largest logit as the largest in {found:.3f} of the rows {of}, and must in {least:g}"
    )


def _check_kl(codec: Codec, found: float, nearness: Nearness, of: str) -> None:
    most = MOST_KL if nearness.kl is None else nearness.kl
    assert found <= most, (
        f"{codec!r} gives back distributions {of} that are {found:.4g} nats (KL, mean over tokens) from what they "
        f"were, and may be {most:g}"
    )


def _check_kept(codec: SparseCodec, block: TeacherBlock, nearness: Nearness) -> None:
    """Of the kept entries and of all others together the probabilities are right, at each temperature."""
    import numpy as np

    tokens, vocab_size = block.logits_TV.shape
    targets = _targets(codec, block)
    of = f"of a {tokens} x {vocab_size} block"
    ids_TK = targets.ids_BTK[0].long().numpy()
    is_kept_TK = ids_TK >= 0
    assert is_kept_TK.any(1).all(), f"{codec!r} keeps no entry of a row {of}"
    values_TK = np.where(is_kept_TK, targets.values_BTK[0].double().numpy(), -np.inf)
    best_T = np.take_along_axis(ids_TK, values_TK.argmax(1)[:, None], 1)[:, 0]
    _check_top1(codec, float((block.logits_TV.argmax(1) == best_T).mean()), nearness, of)
    for temperature in codec.exact_temperatures:
        p_TV = np.exp(log_softmax(block.logits_TV.astype(np.float64) / temperature))
        p_TK = np.where(is_kept_TK, np.take_along_axis(p_TV, np.maximum(ids_TK, 0), 1), 0)
        others_T = (p_TV.sum(1) - p_TK.sum(1)).clip(0)
        tail_T = np.exp(targets.log_tail_BT[temperature][0].double().numpy())
        q_TK = np.exp(log_softmax(values_TK / temperature)) * (1 - tail_T)[:, None]
        kl_T = _terms(p_TK, q_TK).sum(1) + _terms(others_T, tail_T)
        _check_kl(codec, float(kl_T.mean()), nearness, f"{of} at temperature {temperature:g}")


def _terms(p: Doubles, q: Doubles) -> Doubles:
    """Of a KL divergence. What is less than float32 can tell from nothing is taken for nothing."""
    import numpy as np

    p = np.where(p > 1e-7, p, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * (np.log(p) - np.log(q)), 0)


def _check_means(codec: SampledCodec) -> None:
    """Of many samples of one distribution the mean is that distribution, within six standard errors of draws."""
    import numpy as np

    vocab_size = 20
    temperature = codec.exact_temperatures[0]
    one_V = flat_block(1, vocab_size, 1).logits_TV[0] * np.float32(temperature / 3)
    # A constant of each row, which no softmax sees, for codecs that draw the same for the same logits.
    logits_TV = one_V + np.arange(_DRAWN_TOKENS, dtype=np.float32)[:, None] / 1024
    targets = _targets(codec, attrs.evolve(flat_block(1, 1), logits_TV=logits_TV))
    ids_TK, values_TK = targets.ids_BTK[0].long().numpy(), targets.values_BTK[0].double().numpy()
    share_TK = np.exp(log_softmax(np.where(ids_TK >= 0, values_TK, -np.inf) / temperature))
    mean_V = np.bincount(ids_TK[ids_TK >= 0], weights=share_TK[ids_TK >= 0], minlength=vocab_size) / _DRAWN_TOKENS
    p_V = np.exp(log_softmax(one_V[None].astype(np.float64) / temperature))[0]
    excess_V = np.abs(mean_V - p_V) - 6 * np.sqrt(p_V * (1 - p_V) / _DRAWN_TOKENS)
    worst = int(excess_V.argmax())
    assert excess_V[worst] <= 0, (
        f"{_DRAWN_TOKENS} samples that {codec!r} draws of one distribution give entry {worst} the probability "
        f"{mean_V[worst]:.4f} on average, which has {p_V[worst]:.4f}"
    )


def _targets(codec: SparseCodec, block: TeacherBlock) -> SparseTargets:
    from kdkit.api.interfaces import BatchCodec
    from kdkit.api.values import SparseTargets

    tokens, vocab_size = block.logits_TV.shape
    assert isinstance(codec, BatchCodec), f"{codec!r} has exact_temperatures, but no targets that are exact there"
    targets = codec.targets([(codec.encode(block), tokens)], vocab_size=vocab_size, device="cpu")
    assert isinstance(targets, SparseTargets), (
        f"{codec!r} has exact_temperatures, but its targets are {type(targets).__name__} and not SparseTargets"
    )
    return targets


def log_softmax(logits_TV: Any) -> Doubles:
    """Logarithms of probabilities, in float64."""
    import numpy as np

    below_TV = logits_TV - logits_TV.max(axis=1, keepdims=True)
    result: Doubles = below_TV - np.log(np.exp(below_TV).sum(axis=1, keepdims=True))
    return result
