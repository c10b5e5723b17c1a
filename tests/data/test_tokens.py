from __future__ import annotations

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.options import TokenLimits
from kdkit.api.values import Cut, EncodedExample, Example
from kdkit.data.tokens import collate, encode, fit_source, length_sorted, raw_target_ids, target_ids

words = st.text(alphabet="abmx 0é€𝄞\n", max_size=30)


@st.composite
def cut_texts(draw):
    """A text of parts, some of which may be cut; each of those has an introduction that goes with it."""
    text, cuts = draw(words), []
    for _ in range(draw(st.integers(0, 3))):
        introduction, stretch, between = draw(words), draw(words), draw(words)
        start = len(text) + len(introduction)
        cuts.append(
            Cut(
                drop_start=len(text),
                start=start,
                end=start + len(stretch),
                drop_end=start + len(stretch),
                drop_below=draw(st.integers(0, 12)),
                keep=draw(st.sampled_from(["head", "tail"])),
            )
        )
        text += introduction + stretch + between
    return Example(id="a", source=text, target=draw(words), cuts=tuple(draw(st.permutations(cuts))))


def ids_of(text: str) -> list[int]:
    return tiny.tokenizer()(text)["input_ids"]


def text_of(ids) -> str:
    return tiny.tokenizer().batch_decode([ids], skip_special_tokens=True)[0]


@given(cut_texts(), st.integers(1, 60), st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_nothing_is_ever_longer_than_its_limit_and_all_of_it_ends_with_the_end_token(example, source, target):
    (row,) = encode([example], tiny.tokenizer(), TokenLimits(max_source=source, max_target=target))
    assert len(row.source_ids) <= source
    assert len(row.target_ids) <= target
    assert row.source_ids[-1] == row.target_ids[-1] == tiny.tokenizer().eos_token_id


@given(cut_texts())
@settings(max_examples=100, deadline=None)
def test_what_fits_is_untouched(example):
    whole = ids_of(example.source)
    limits = TokenLimits(max_source=len(whole), max_target=500)
    (row,) = encode([example], tiny.tokenizer(), limits)
    assert list(row.source_ids) == whole
    assert list(row.target_ids) == ids_of(example.target)


def pieces(text: str, cut: Cut) -> set[str]:
    """Every text that shortening or dropping the stretch may leave."""
    before, stretch, after = text[: cut.start], text[cut.start : cut.end], text[cut.end :]
    parts = (
        [stretch[:n] for n in range(len(stretch) + 1)]
        if cut.keep == "head"
        else [stretch[n:] for n in range(len(stretch) + 1)]
    )
    return {before + part + after for part in parts} | {text[: cut.drop_start] + text[cut.drop_end :]}


@given(cut_texts().filter(lambda example: len(example.cuts) == 1), st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_one_cut_leaves_a_head_or_tail_of_its_stretch_or_takes_it_with_its_introduction(example, limit):
    if len(ids_of(example.source)) <= limit:
        return
    (cut,) = example.cuts
    limits = TokenLimits(max_source=limit)
    left = {
        text: ids
        for text in pieces(example.source, cut)
        for ids in [tiny.tokenizer()(text, truncation=True, max_length=limit)["input_ids"]]
    }
    assert fit_source(example, tiny.tokenizer(), limits) in left.values()


def parts(*stretches: tuple[str, str], end: str, **options) -> Example:
    """Introductions and stretches, each stretch a cut."""
    text, cuts = "", []
    for introduction, stretch in stretches:
        start = len(text) + len(introduction)
        cuts.append(
            Cut(
                drop_start=len(text),
                start=start,
                end=start + len(stretch),
                drop_end=start + len(stretch),
                **options,
            )
        )
        text += introduction + stretch
    return Example(id="a", source=text + end, target="", cuts=tuple(cuts))


def fitted(example: Example, limit: int) -> str:
    return text_of(fit_source(example, tiny.tokenizer(), TokenLimits(max_source=limit)))


# Digits that the tiny rows never put side by side are one token each.
DIGITS = "0123456789" * 3


def test_digits_are_one_token_each():
    assert len(ids_of(DIGITS)) == len(DIGITS) + 1


@pytest.mark.parametrize(("keep", "kept"), [("head", "0123"), ("tail", "6789")])
def test_a_stretch_keeps_as_many_tokens_as_there_is_room_for(keep, kept):
    example = parts(("[", DIGITS), end="]", keep=keep)
    assert fitted(example, 7) == f"[{kept}]"


def test_cuts_are_made_in_their_order_and_no_further_than_needed():
    example = parts(("(", "01234"), ("[", "56789"), end="]")
    assert fitted(example, 12) == "(012[56789]"
    backwards = Example(id="a", source=example.source, target="", cuts=example.cuts[::-1])
    assert fitted(backwards, 12) == "(01234[567]"


def test_a_later_cut_finds_its_place_after_earlier_ones_moved_it():
    example = parts(("(", "01234"), ("[", "56789"), ("{", "01234"), end="}")
    # The first is dropped with its bracket, the second too, the third is shortened.
    assert fitted(example, 5) == "{01}"


def test_below_its_least_length_a_stretch_goes_with_its_introduction():
    example = parts(("[", DIGITS), end="]", drop_below=4)
    assert fitted(example, 7) == "[0123]"
    assert fitted(example, 6) == "]"


def test_with_no_cuts_the_end_of_the_source_goes():
    assert fitted(Example(id="a", source=DIGITS, target=""), 5) == "0123"


def rows_of(lengths) -> list[EncodedExample]:
    return [
        EncodedExample(id=str(i), source_ids=(3,) * length, target_ids=(4,) * (1 + length % 3))
        for i, length in enumerate(lengths)
    ]


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5))
def test_a_batch_holds_every_row_and_padding_beside_it(sizes):
    rows = [
        EncodedExample(id=str(i), source_ids=tuple(range(5, 5 + s)), target_ids=tuple(range(50, 50 + t)))
        for i, (s, t) in enumerate(sizes)
    ]
    batch = collate(rows, pad_id=0)
    assert batch.ids == tuple(row.id for row in rows)
    assert batch.source_ids_BS.shape == batch.source_mask_BS.shape == (len(rows), max(s for s, _ in sizes))
    assert batch.labels_BT.shape == (len(rows), max(t for _, t in sizes))
    for row, ids_S, mask_S, labels_T in zip(
        rows, batch.source_ids_BS, batch.source_mask_BS, batch.labels_BT, strict=True
    ):
        assert tuple(ids_S[mask_S == 1].tolist()) == row.source_ids
        assert set(ids_S[mask_S == 0].tolist()) <= {0}
        assert tuple(labels_T[labels_T != -100].tolist()) == row.target_ids


@given(lengths, st.integers(1, 9))
def test_sorted_batches_hold_every_row_once_longest_first(sizes, batch):
    rows = rows_of(sizes)
    flat = [row for one in length_sorted(rows, batch) for row in one]
    assert sorted(row.id for row in flat) == sorted(row.id for row in rows)
    assert [len(row.source_ids) for row in flat] == sorted(sizes, reverse=True)


@pytest.mark.parametrize("text", ["<s>3</s> 3", "</s>", "<pad>a", "<unk></s>\n</s>"])
def test_a_target_that_spells_the_end_of_texts_is_text(text):
    (ids,) = target_ids(tiny.tokenizer(), [text])
    assert ids.index(tiny.tokenizer().eos_token_id) == len(ids) - 1
    assert tiny.tokenizer().pad_token_id not in ids
    assert text_of(ids) == text
    (row,) = encode([Example(id="a", source="s", target=text)], tiny.tokenizer(), TokenLimits(max_target=3))
    assert row.target_ids == (*ids[:2], ids[-1])


@given(words)
@settings(max_examples=50, deadline=None)
def test_any_other_target_has_the_ids_that_the_tokenizer_gives(text):
    assert target_ids(tiny.tokenizer(), [text, "</s>", text])[::2] == raw_target_ids(tiny.tokenizer(), [text, text])
