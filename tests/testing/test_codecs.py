"""The check of codecs: each classic mistake is found, with a bound of each logit and without one."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from kdkit.builtin.codecs.sampled import Sampled
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.codecs.u4_lz4 import U4LZ4
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.errors import DamagedData, UsageError
from kdkit.testing import check_codec

FAULTS = {
    "all zeros": np.zeros_like,
    "argmax only": lambda x_TV: np.where(x_TV == x_TV.max(1, keepdims=True, initial=-1e9), x_TV, np.float32(-30)),
    "rows reversed": lambda x_TV: x_TV[::-1],
    "x 0.9": lambda x_TV: x_TV * np.float32(0.9),
    "two entries swapped": lambda x_TV: x_TV[:, _swapped(x_TV.shape[1])],
    "ids off by one": lambda x_TV: np.roll(x_TV, 1, axis=1),
    "clipped from above": lambda x_TV: np.minimum(x_TV, np.float32(2)),
    "2 bits for 6": None,
}


def _swapped(vocab_size):
    order = np.arange(vocab_size)
    order[[0, -1]] = order[[-1, 0]]
    return order


@attrs.frozen(kw_only=True)
class SixBits:
    """Each row on a grid of 64 steps; `fault` is what is wrong with what comes back."""

    fault: str = ""

    @property
    def steps(self):
        return 3 if self.fault == "2 bits for 6" else 63

    def encode(self, block):
        x_TV = block.logits_TV
        if np.isneginf(x_TV).any() and self.fault != "masks lost":
            raise UsageError("a logit is -inf, for which six bits have no place")
        if x_TV.min(initial=0) <= -1e4 and self.fault not in {"masks lost", "low masks lost"}:
            raise UsageError("a logit is so low that six bits have no step left for the others")
        low_T1, high_T1 = x_TV.min(1, keepdims=True, initial=1e9), x_TV.max(1, keepdims=True, initial=-1e9)
        step_T1 = np.maximum((high_T1 - low_T1) / np.float32(self.steps), np.float32(1e-30))
        with np.errstate(invalid="ignore"):  # where masks are lost
            codes_TV = np.rint((x_TV - low_T1) / step_T1).astype(np.uint8)
        return np.concatenate([low_T1, step_T1], axis=1).astype("<f4").tobytes() + codes_TV.tobytes()

    def decode(self, payload, *, tokens, vocab_size):
        if tokens < 0 or len(payload) != tokens * (8 + vocab_size):
            raise DamagedData("not as long as it should be")
        grid_T2 = np.frombuffer(payload[: tokens * 8], "<f4").reshape(tokens, 2)
        codes_TV = np.frombuffer(payload[tokens * 8 :], np.uint8).reshape(tokens, vocab_size)
        with np.errstate(all="ignore"):
            x_TV = np.nan_to_num(grid_T2[:, :1] + grid_T2[:, 1:] * codes_TV.astype(np.float32))
        wrong = FAULTS.get(self.fault)
        return np.ascontiguousarray(x_TV if wrong is None else wrong(x_TV))

    def bytes_per_token(self, vocab_size):
        return 8 + vocab_size


def half_a_step(logits_TV):
    x_TV = logits_TV.astype(np.float64)
    span_T1 = x_TV.max(1, keepdims=True) - x_TV.min(1, keepdims=True)
    return span_T1 / 63 / 2 + 1e-4 * np.abs(x_TV).max(1, keepdims=True)


HOW = {"bound": {"bound": half_a_step}, "lossy": {"lossy": True}}


@pytest.mark.parametrize("how", HOW)
def test_a_codec_of_six_bits_passes(how):
    check_codec(SixBits(), **HOW[how])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_wrong_codec_is_found(fault, how):
    with pytest.raises(AssertionError, match=r"misses its stated bound|gives? back|nats|keeps the largest"):
        check_codec(SixBits(fault=fault), **HOW[how])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("masks lost", r"-inf.*; keep masked logits, or refuse them with a UsageError"),
        ("low masks lost", r"loses the largest logit of a row that has others of -10000; keep masked logits"),
    ],
)
def test_masked_logits_are_kept_or_refused(how, fault, message):
    with pytest.raises(AssertionError, match=message):
        check_codec(SixBits(fault=fault), **HOW[how])


@pytest.mark.parametrize("codec", [U8LZ4(), U4LZ4(), U8LZ4(clip=10.0), Subspace(step=0.3)], ids=repr)
def test_lossy_codecs_that_ship_pass_without_a_bound(codec):
    check_codec(codec, lossy=True)


@pytest.mark.parametrize(
    ("codec", "arguments", "sentence"),
    [
        (SixBits(), {}, "does not say how near its logits come"),
        (Subspace(), {"up_to_constant": True}, "does not say how near its logits come"),
        (SixBits(), {"bound": lambda _: np.inf}, "so wide that a codec that gives nothing but zeros would keep it"),
        (SixBits(), {"bound_of": lambda _: half_a_step}, "learns no state that bound_of= could read"),
        (SixBits(), {"bound": half_a_step, "bound_of": lambda _: half_a_step}, "learns no state"),
        (Subspace(), {"bound": half_a_step, "bound_of": lambda _: half_a_step}, "both bound= and bound_of="),
        (SixBits(), {"lossy": True, "up_to_constant": True}, "up_to_constant= without a bound"),
        (SixBits(), {"bound": half_a_step, "kl": 0.1}, "without lossy=True"),
        (Sampled(), {"top1": 0.9}, "keeps a sample"),
        (SixBits(), {"lossy": True, "kl": 1e-5}, "and may be 1e-05"),
        (SixBits(), {"lossy": True, "top1": 0.999}, "and must in 0.999"),
    ],
)
def test_nothing_that_the_check_is_told_is_ignored(codec, arguments, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_codec(codec, **arguments)


@attrs.frozen(kw_only=True)
class WrongTopK(TopK):
    """Keeps other entries, or other masses, than it says; of both its targets and its logits."""

    fault: str

    def encode(self, block):
        x_TV = block.logits_TV
        if self.fault == "smallest":
            x_TV = -x_TV
        if self.fault == "sharper":
            x_TV = x_TV * np.float32(1.3)
        if self.fault == "no others":
            x_TV = np.where(x_TV < x_TV.max(1, keepdims=True, initial=-1e9) - 3, np.float32(-1e4), x_TV)
        return super().encode(attrs.evolve(block, logits_TV=x_TV))


@pytest.mark.parametrize("fault", ["smallest", "sharper", "no others"])
def test_a_sparse_codec_is_held_to_the_probabilities_that_it_says_are_exact(fault):
    with pytest.raises(AssertionError, match=r"keeps the largest|nats"):
        check_codec(WrongTopK(fault=fault, k=16, temperatures=(1.0, 2.0)))


@attrs.frozen(kw_only=True)
class Biased(Sampled):
    """Draws from a sharper distribution than it should."""

    def encode(self, block):
        return super().encode(attrs.evolve(block, logits_TV=block.logits_TV * np.float32(1.5)))


def test_a_codec_of_samples_is_held_to_their_means():
    with pytest.raises(AssertionError, match="on average, which has"):
        check_codec(Biased())
