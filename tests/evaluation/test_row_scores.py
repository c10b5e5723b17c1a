"""Each row's scores on disk, and what is made of them: means over seeds, paired differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kdkit.errors import DamagedData, Mismatch, MissingInput
from kdkit.evaluation.intervals import bootstrap_intervals
from kdkit.evaluation.resampling import compare, mean_over_seeds
from kdkit.evaluation.row_scores import FILE, RowKey, RowScores
from kdkit.evaluation.scoring import Column, differences_of

OURS, THEIRS = RowKey("student", "truth", "s", "m"), RowKey("labels-only", "truth", "s", "m")
NAN = float("nan")


def run(values, key=OURS, *, weights=None, gaps=None, ids=None) -> RowScores:
    """Rows with one score."""
    said = {key: np.array(values if gaps is None else gaps, dtype=float)}
    rows = len(said[key])
    return RowScores(
        ids=tuple(ids) if ids is not None else tuple(map(str, range(rows))),
        values=said if gaps is None else {},
        gaps=said if gaps is not None else {},
        weights={key: np.array(weights, dtype=float)} if weights is not None else {},
    )


def difference(ours, theirs, *, resamples=200, seed=0):
    return compare(ours, theirs, OURS, THEIRS, resamples=resamples, seed=seed)


# --- documents and exponentials


def test_blocks_of_one_text_are_drawn_together():
    """Each document of four equal blocks: the interval is that of the documents, twice as wide as of so many rows."""
    draw = np.random.default_rng(0)
    documents = draw.normal(size=50)
    blocks, names = np.repeat(documents, 4), tuple(f"d{i // 4}" for i in range(200))
    whole, rows = run(documents), run(blocks)
    apart = RowScores(ids=rows.ids, values=rows.values, documents=names)
    known = {"resamples": 400, "seed": 1}
    of_documents, of_rows, of_blocks = (mean_over_seeds([each], OURS, **known) for each in (whole, rows, apart))
    assert of_blocks.value == pytest.approx(of_documents.value)
    assert (of_blocks.low, of_blocks.high) == pytest.approx((of_documents.low, of_documents.high))
    assert of_blocks.count == 200
    assert 1.6 < (of_blocks.high - of_blocks.low) / (of_rows.high - of_rows.low) < 2.5
    low, high = bootstrap_intervals(blocks[:, None], document_R=apart.document_numbers, **known)[:, 0]
    assert (low, high) == pytest.approx((of_documents.low, of_documents.high))


def test_a_perplexity_is_the_exponential_of_a_mean_over_tokens():
    key = OURS._replace(suite="tokens", metric="perplexity")
    logs, weights = {key: np.array([1.0, 2.0, NAN])}, {key: np.array([3.0, 1.0, 0.0])}
    one = RowScores(ids=("a", "b", "c"), values={}, logs=logs, weights=weights)
    found = mean_over_seeds([one], key, resamples=200, seed=0)
    assert found.value == pytest.approx(np.exp(5 / 4))
    assert found.count == 2
    assert np.exp(1) - 1e-9 <= found.low <= found.high <= np.exp(2) + 1e-9
    other = RowScores(ids=one.ids, values={}, logs={key: logs[key] + 1}, weights=weights)
    apart = compare([other], [one], key, key, resamples=200, seed=0)
    assert apart.value == pytest.approx(np.exp(9 / 4) - np.exp(5 / 4))
    assert apart.low > 0


# --- on disk


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8), max_size=6),
    st.data(),
)
def test_what_is_read_is_what_was_written(tmp_path_factory, ids, data):
    folder = tmp_path_factory.mktemp("rows")
    column = npst.arrays(np.float64, len(ids), elements=st.floats(width=64, allow_nan=True))
    gap = RowKey("teacher", "truth", "tokens", "ece")
    written = RowScores(
        ids=tuple(ids),
        values={OURS: data.draw(column)},
        weights={OURS: data.draw(column)},
        gaps={gap: data.draw(npst.arrays(np.float64, (len(ids), 15)))},
        logs={gap._replace(metric="perplexity"): data.draw(column)},
        documents=tuple(f"d{i // 2}" for i in range(len(ids))),
    )
    written.write(folder)
    found = RowScores.read(folder)
    assert found.ids == written.ids
    assert found.documents == written.documents
    for name in ("values", "weights", "gaps", "logs"):
        assert getattr(found, name).keys() == getattr(written, name).keys()
        for key, array in getattr(written, name).items():
            np.testing.assert_array_equal(getattr(found, name)[key], array)


def test_a_file_that_was_cut_or_is_something_else_is_damaged(tmp_path):
    run([1.0, 2.0]).write(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    for content in (whole[:-30], whole[:10], b"", b"PK"):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(DamagedData, match=r"rows\.npz is damaged"):
            RowScores.read(tmp_path)


def test_a_flipped_byte_is_damage_or_changes_nothing(tmp_path):
    run([1.0, 2.0, NAN], weights=[1, 2, 3]).write(tmp_path)
    whole, draw = (tmp_path / FILE).read_bytes(), np.random.default_rng(0)
    damaged = 0
    for place in draw.integers(0, len(whole), 150):
        content = bytearray(whole)
        content[place] ^= int(draw.integers(1, 256))
        (tmp_path / FILE).write_bytes(content)
        try:
            found = RowScores.read(tmp_path)
        except DamagedData:
            damaged += 1
            continue
        assert found.ids == ("0", "1", "2")
        np.testing.assert_array_equal(found.values[OURS], [1.0, 2.0, NAN])
        np.testing.assert_array_equal(found.weights[OURS], [1, 2, 3])
    assert damaged > 75


@pytest.mark.parametrize(
    "arrays",
    [
        {"values": np.zeros(2)},
        {"ids": np.array(["a", "b"]), "m|t|s|x": np.zeros(3)},
        {"ids": np.array(["a", "b"]), "m|t|s|x": np.zeros((2, 2))},
        {"ids": np.array(["a", "b"]), "m|t|s": np.zeros(2)},
        {"ids": np.array(["a", "b"]), "m|t|s|x|other": np.zeros(2)},
        {"ids": np.array(["a", {}], dtype=object)},
    ],
    ids=["no ids", "too long", "too wide", "short name", "unknown kind", "objects"],
)
def test_arrays_that_kdkit_does_not_write_are_damage(tmp_path, arrays):
    np.savez(tmp_path / FILE, **arrays)
    with pytest.raises(DamagedData, match=r"delete it and evaluation\.json there"):
        RowScores.read(tmp_path)


def test_a_folder_without_the_file_is_named(tmp_path):
    with pytest.raises(MissingInput, match="its evaluation has not finished"):
        RowScores.read(tmp_path)


# --- one seed


values = st.lists(st.floats(-5, 5) | st.just(NAN), min_size=8, max_size=8)


@settings(deadline=None, max_examples=40)
@given(values, values, st.integers(0, 5))
def test_of_one_seed_and_equal_weights_it_is_the_mean_difference_of_a_row(ours, theirs, seed):
    columns = [Column(suite="s", metric="m", values_R=np.array(each)) for each in (ours, theirs)]
    if np.isnan(columns[0].values_R - columns[1].values_R).all():
        with pytest.raises(Mismatch, match="no row counts for both"):
            difference([run(ours)], [run(theirs, THEIRS)])
        return
    found = difference([run(ours)], [run(theirs, THEIRS)], seed=seed)
    (expected,) = differences_of(columns[:1], columns[1:], resamples=200, seed=seed, than="labels-only")
    for field in ("value", "low", "high"):
        assert getattr(found, field) == pytest.approx(getattr(expected, field), abs=1e-9)
    assert (found.count, found.model, found.than) == (expected.count, "student", "labels-only")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.integers(0, 4)), min_size=1, max_size=12))
def test_weights_count_as_repeated_rows_would(rows):
    ours, theirs, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if not weights.any():
        return
    found = difference([run(ours, weights=weights)], [run(theirs, THEIRS, weights=weights)])
    repeated = np.repeat(ours - theirs, weights.astype(int))
    assert found.value == pytest.approx(repeated.mean(), abs=1e-9)
    assert found.low <= found.value <= found.high
    assert found.count == np.count_nonzero(weights)


@settings(deadline=None, max_examples=40)
@given(values, values, values, values)
def test_the_other_way_round_it_is_the_negative(a, b, c, d):
    ours, theirs = [run(a), run(b)], [run(c, THEIRS), run(d, THEIRS)]
    if any(np.isnan(np.add(x, y)).all() for x, y in ((a, c), (b, d))):
        return
    found = difference(ours, theirs)
    turned = compare(theirs, ours, THEIRS, OURS, resamples=200, seed=0)
    assert turned.value == pytest.approx(-found.value, abs=1e-9)
    # Of an even number of resamples the ends lie between two of them, on either side alike.
    assert [turned.low, turned.high] == pytest.approx([-found.high, -found.low], abs=1e-9)


def test_pairing_finds_what_is_far_less_than_rows_differ_among_each_other():
    theirs = np.random.default_rng(0).random(300)
    found = difference([run(theirs + 0.01)], [run(theirs, THEIRS)])
    assert 0.0099 < found.low <= found.high < 0.0101


# --- several seeds


def simulated(draw, *, rows, seeds, effect, of_seed, of_row):
    """Two sides of as many runs: rows differ, and seeds, and both sides share the rows."""
    of_rows = draw.normal(0, 1, rows)
    ours = [of_rows + effect + draw.normal(0, of_seed) + draw.normal(0, of_row, rows) for _ in range(seeds)]
    theirs = [of_rows + draw.normal(0, of_seed) + draw.normal(0, of_row, rows) for _ in range(seeds)]
    return [run(each) for each in ours], [run(each, THEIRS) for each in theirs]


@pytest.mark.parametrize(
    ("seeds", "of_seed", "least"),
    [(1, 0.0, 0.91), (3, 0.0, 0.91), (3, 0.3, 0.89), (5, 0.3, 0.90), (2, 0.3, 0.86)],
    ids=["one seed", "rows alone", "three seeds", "five seeds", "two seeds"],
)
def test_an_interval_holds_the_true_difference_about_95_times_in_100(seeds, of_seed, least):
    draw = np.random.default_rng(0)
    held = []
    for experiment in range(200):
        sides = simulated(draw, rows=60, seeds=seeds, effect=0.4, of_seed=of_seed, of_row=0.5)
        found = difference(*sides, resamples=300, seed=experiment)
        held.append(found.low <= 0.4 <= found.high)
    assert np.mean(held) >= least


def test_an_interval_of_rows_alone_is_not_much_too_wide():
    draw = np.random.default_rng(1)
    held = []
    for experiment in range(200):
        sides = simulated(draw, rows=60, seeds=1, effect=0.4, of_seed=0.0, of_row=0.5)
        found = difference(*sides, resamples=300, seed=experiment)
        held.append(found.low <= 0.4 <= found.high)
    assert np.mean(held) <= 0.985


@pytest.mark.parametrize(
    ("of_row", "of_seed", "of_both"),
    [(1.0, 0.05, 0.05), (0.1, 0.5, 0.2), (0.05, 0.0, 2.0), (0.3, 0.1, 1.0)],
    ids=["rows", "seeds", "rows by seeds", "all three"],
)
def test_an_interval_holds_the_truth_and_is_no_wider_than_it_takes_whatever_varies(of_row, of_seed, of_both):
    draw, seeds, rows = np.random.default_rng(2), 3, 60
    zero = [run(np.zeros(rows), THEIRS)] * seeds
    held, widths, needed = [], [], []
    for _ in range(150):
        values_RS = 0.4 + draw.normal(0, of_row, (rows, 1)) + draw.normal(0, of_seed, seeds)
        values_RS = values_RS + draw.normal(0, of_both, (rows, seeds))
        found = difference([run(column) for column in values_RS.T], zero, resamples=200)
        held.append(found.low <= 0.4 <= found.high)
        widths.append(found.high - found.low)
        over_seeds = 4.303 * values_RS.mean(axis=0).std(ddof=1) / np.sqrt(seeds)
        needed.append(2 * np.hypot(over_seeds, 1.96 * of_row / np.sqrt(rows)))
    assert np.mean(held) >= 0.9
    assert np.mean(widths) <= 1.15 * np.mean(needed)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=2, max_size=4))
def test_no_interval_of_a_share_leaves_0_to_1_and_none_of_a_loss_goes_below_0(columns):
    share = mean_over_seeds([run(column) for column in columns], OURS, resamples=50, seed=0)
    assert 0 <= share.low <= share.value <= share.high <= 1
    loss_key = RowKey("student", "truth", "loss", "hard")
    loss = mean_over_seeds([run(column, loss_key) for column in columns], loss_key, resamples=50, seed=0)
    assert 0 <= loss.low <= loss.value <= loss.high


def test_an_interval_of_two_seeds_is_wide_and_that_of_a_difference_is_not_cut():
    runs = [run([0.1] * 9), run([0.9] * 9)]
    share = mean_over_seeds(runs, OURS, resamples=50, seed=0)
    assert (share.low, share.high) == (0, 1)
    apart = difference(runs, [run([0.5] * 9, THEIRS)] * 2)
    assert apart.low < -1
    assert apart.high > 1


def test_seeds_that_disagree_widen_the_interval():
    theirs = [run(np.zeros(50), THEIRS)] * 3
    alike = difference([run(np.full(50, 0.1))] * 3, theirs)
    unlike = difference([run(np.full(50, shift)) for shift in (-0.2, 0.1, 0.4)], theirs)
    assert alike.value == pytest.approx(unlike.value)
    assert alike.high - alike.low < 1e-9
    assert unlike.low < 0 < unlike.high


def test_the_mean_over_seeds_is_that_of_the_seeds_means():
    runs = [run([1.0, 0.0, NAN]), run([1.0, 1.0, 1.0]), run([0.0, 0.0, 0.0])]
    found = mean_over_seeds(runs, OURS, resamples=100, seed=0)
    assert found.value == pytest.approx(0.5)
    assert found.sd == pytest.approx(0.5)
    assert (found.seeds, found.count) == (3, 3)
    assert found.low <= found.value <= found.high


@settings(deadline=None, max_examples=40)
@given(values, st.integers(0, 5))
def test_of_a_single_seed_there_is_no_deviation_and_the_interval_is_that_of_its_rows(said, seed):
    column_R = np.array(said)
    if np.isnan(column_R).all():
        return
    found = mean_over_seeds([run(said)], OURS, resamples=100, seed=seed)
    low, high = bootstrap_intervals(column_R[:, None], resamples=100, seed=seed)[:, 0]
    assert found.sd is None
    assert [found.low, found.high] == pytest.approx([low, high], abs=1e-9)


# --- calibration errors


def test_a_calibration_error_adds_up_gaps_before_it_takes_their_size():
    # Two rows whose gaps cancel, in one bin, weighted by their tokens.
    gaps = [[0.2, 0.0], [-0.1, 0.0]]
    found = mean_over_seeds([run(None, gaps=gaps, weights=[1, 2])], OURS, resamples=50, seed=0)
    assert found.value == pytest.approx(0.0)
    assert found.high > 0.05


def test_a_model_is_calibrated_as_itself():
    gaps = np.random.default_rng(0).normal(0, 0.1, (40, 15))
    weights = np.random.default_rng(1).integers(1, 9, 40)
    found = difference([run(None, gaps=gaps, weights=weights)], [run(None, THEIRS, gaps=gaps, weights=weights)])
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_rows_without_tokens_do_not_count():
    gaps = [[0.2, -0.1], [NAN, NAN]]
    found = mean_over_seeds([run(None, gaps=gaps, weights=[3, 0])], OURS, resamples=50, seed=0)
    assert found.value == pytest.approx(0.3)
    assert found.count == 1


# --- what does not pair


def test_runs_on_other_rows_are_refused():
    with pytest.raises(Mismatch, match="where one has 1, the other has x"):
        difference([run([0, 1])], [run([0, 1], THEIRS, ids="0x")])
    with pytest.raises(Mismatch, match="on 2 rows and another on 3"):
        difference([run([0, 1])], [run([0, 1, 2], THEIRS)])
    with pytest.raises(Mismatch, match="on 2 rows and another on 3"):
        mean_over_seeds([run([0, 1]), run([0, 1, 2])], OURS, resamples=9, seed=0)


def test_seeds_without_a_partner_are_refused():
    with pytest.raises(Mismatch, match="2 runs cannot be paired with 1"):
        difference([run([0, 1])] * 2, [run([0, 1], THEIRS)])


def test_a_score_that_a_run_lacks_is_named():
    with pytest.raises(Mismatch, match="a run has no s m of labels-only against truth"):
        difference([run([0, 1])], [run([0, 1])])
