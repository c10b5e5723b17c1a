"""Log-probabilities of other tools: read as they were written, refused where they are damaged or something else."""

from __future__ import annotations

import pickle
import struct

import guest_kit as kit
import numpy as np
import pytest
import torch
import yaml
import zstandard

from kdkit.api.values import EncodedExample
from kdkit.data.guests import checks
from kdkit.data.guests.binding import Binding, covered, nearest
from kdkit.data.guests.bits import packed, unpacked
from kdkit.data.guests.guest import Positions
from kdkit.data.guests.opening import open_guest
from kdkit.data.guests.spread import share_of_others
from kdkit.errors import DamagedData, KdkitError, Mismatch, MissingInput, UsageError

SEQUENCES = kit.sequences(9)
WANTED = {0, 3, 7}


def opened(place, *, about="own", ids=None, begin=None):
    return open_guest(place, about=about, ids=ids, begin=begin)


def message(error, do):
    with pytest.raises(error) as caught:
        do()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read(guest, wanted=WANTED):
    return dict(guest.read(wanted))


def furthest(positions, true_SV):
    """The largest distance of a log-probability from the true one of its token; row s of these is about token s + 1."""
    rows = true_SV[positions.first - 1 :][: len(positions.logp_PK)]
    known = positions.ids_PK if positions.ids_PK is not None else np.tile(np.arange(rows.shape[1]), (len(rows), 1))
    there = (known >= 0) & (positions.logp_PK > -900)
    return np.abs(np.take_along_axis(rows, np.where(there, known, 0), axis=1) - positions.logp_PK)[there].max()


# --- what was written is read


def test_plain_parquet(tmp_path):
    kit.write_plain(tmp_path / "a.parquet", SEQUENCES)
    guest = opened(tmp_path)
    assert [ids.tolist() for ids in guest.sequences()] == SEQUENCES
    found = read(guest)
    assert found.keys() == WANTED
    assert all(len(each.logp_PK) == len(SEQUENCES[n]) - 1 for n, each in found.items())
    assert max(furthest(each, kit.logp_of(SEQUENCES[n])) for n, each in found.items()) == 0


@pytest.mark.parametrize("names", [("target_logprobs", "target_token_ids"), ("topk_logprobs", "topk_token_ids")])
def test_plain_parquet_goes_by_the_names_of_tools(tmp_path, names):
    kit.write_plain(tmp_path / "a.parquet", SEQUENCES, names=names)
    assert furthest(read(opened(tmp_path / "a.parquet"))[3], kit.logp_of(SEQUENCES[3])) == 0


def test_prompts_and_completions_are_joined_and_padding_is_no_entry(tmp_path):
    def as_trl(table):
        table["prompt_ids"] = [ids[:4] for ids in table["input_ids"]]
        table["completion_ids"] = [ids[4:] for ids in table.pop("input_ids")]
        for name, fill in (("logprobs", -np.inf), ("logprob_token_ids", 0)):
            table[name] = [[[*row, fill] for row in rows[3:]] for rows in table[name]]

    kit.write_plain(tmp_path / "a.parquet", SEQUENCES, edit=as_trl)
    found = read(opened(tmp_path / "a.parquet"))[7]
    assert found.first == 4
    ids_PK, logp_PK = checks.entries_of(found, width=kit.V)
    assert (ids_PK[:, -1] == -1).all()
    assert np.isneginf(logp_PK[:, -1]).all()
    assert furthest(found, kit.logp_of(SEQUENCES[7])) == 0


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({}, 0.02),
        ({"exact_k": kit.K, "polynomial_terms": None, "residual_bins": []}, 1e-6),
        ({"exact_dtype": "float16", "term_dtype": "float16", "normalize_t": True}, 0.05),
        ({"delta_encoding": False, "exact_k": 0, "residual_bins": [
            {"scale_dtype": "float32", "element_bits": 11, "num_elements": 2},
            {"scale_dtype": "float16", "element_bits": 5, "num_elements": 4},
        ]}, 0.3),
    ],
)  # fmt: skip
def test_distillkit(tmp_path, changes, most):
    kit.write_distillkit(tmp_path / "guest", SEQUENCES, coding=changes)
    guest = opened(tmp_path / "guest")
    assert [ids.tolist() for ids in guest.sequences()] == [[*ids, 0] for ids in SEQUENCES]
    found = read(guest)
    assert max(furthest(each, kit.logp_of([*SEQUENCES[n], 0])) for n, each in found.items()) < most
    assert np.array_equal(found[3].ids_PK, kit.top(kit.logp_of([*SEQUENCES[3], 0]))[0])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("ranks", "microbatch", "steps"), [(2, 2, 2), (1, 3, 1)])
def test_megatron(tmp_path, version, ranks, microbatch, steps):
    ids = kit.write_megatron(
        tmp_path / "guest", SEQUENCES, version=version, ranks=ranks, microbatch=microbatch, steps=steps
    )
    guest = opened(tmp_path / "guest", ids=ids)
    found = read(guest)
    assert found.keys() == WANTED
    for n, each in found.items():
        assert furthest(each, kit.logp_of(SEQUENCES[n])) < 0.005  # float16
        assert np.array_equal(each.ids_PK, kit.top(kit.logp_of(SEQUENCES[n]))[0])


@pytest.mark.parametrize("width", [kit.V, kit.V + 1])
def test_llama_cpp(tmp_path, width):
    kit.write_llama(tmp_path / "base", SEQUENCES, context=20, width=width)
    guest = opened(tmp_path / "base")
    assert guest.width == width
    found = read(guest)
    for n, each in found.items():
        ids = [*SEQUENCES[n], *[SEQUENCES[n][-1]] * (20 - len(SEQUENCES[n]))]
        assert each.ids_S.tolist() == ids
        assert (each.first, len(each.logp_PK)) == (11, 9)
        true_PV = kit.logp_of(ids, width=width)[10:19]
        kept_PV = true_PV > true_PV.max(axis=1, keepdims=True) - 15.9
        assert np.abs(each.logp_PK - true_PV)[kept_PV].max() < 2e-4  # half a step of 16 / 65,535


def test_what_llama_cpp_cuts_off_has_the_rest_of_the_mass(tmp_path):
    def peaked(ids, *, width):
        logits = 2.5 * kit.logp_of(ids, width=width)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    kit.write_llama(tmp_path / "base", SEQUENCES, context=20, logp=peaked)
    each = read(opened(tmp_path / "base"))[3]
    assert (each.floored_P > 10).all()
    assert np.allclose(np.exp(each.logp_PK).sum(axis=1), 1, atol=1e-4)
    true = np.exp(peaked(each.ids_S.tolist(), width=kit.V)[10:19])
    assert np.abs(np.exp(each.logp_PK) - true).max() < 2e-4


def test_llama_cpp_puts_a_beginning_token_before_each_chunk(tmp_path):
    chunks = [[5, *SEQUENCES[0]], SEQUENCES[1], SEQUENCES[2]]
    kit.write_llama(tmp_path / "base", chunks, context=16)
    assert [int(ids[0]) for ids in opened(tmp_path / "base", begin=5).sequences()] == [5, 5, 5]
    assert [int(ids[0]) for ids in opened(tmp_path / "base", begin=6).sequences()] == [each[0] for each in chunks]


def test_bits_come_back():
    numbers = np.random.default_rng(0).integers(0, 2**17, size=(3, 7))
    assert np.array_equal(unpacked(packed(numbers, 17), 7, 17), numbers)


# --- which rows they are of


class Listed:
    """Log-probabilities of which only the sequences are looked at."""

    def __init__(self, *sequences):
        self._sequences = [np.array(each) for each in sequences]

    def sequences(self):
        return iter(self._sequences)


def row(source, target, id_="a"):
    return EncodedExample(id=id_, source_ids=tuple(source), target_ids=tuple(target))


def at(ids, first, rows=None):
    count = len(ids) - first if rows is None else rows
    return Positions(
        place="f", ids_S=np.array(ids), first=first, ids_PK=np.zeros((count, 1), int), logp_PK=np.zeros((count, 1))
    )


def test_a_row_is_a_sequence_that_begins_with_it():
    guest = Listed([1, 2, 3], [1, 2, 4, 5], [1, 2, 4, 5, 6])
    rows = [row([1, 2], [4, 5]), row([1], [2, 3]), row([1, 2], [9, 9]), row([1, 2], [4, 5, 6, 7, 8])]
    assert Binding.of(guest, rows, partly=False).number_R.tolist() == [1, 0, -1, -1]
    assert Binding.of(guest, rows, partly=True).number_R.tolist() == [1, 0, -1, 2]


def test_the_last_label_may_differ_for_nothing_depends_on_it():
    guest = Listed([1, 2, 3, 4])
    assert Binding.of(guest, [row([1, 2], [3, 9])], partly=False).number_R.tolist() == [0]
    assert covered(row([1, 2], [3, 9]), at([1, 2, 3, 4], 1)) == slice(1, 3)


def test_a_sequence_with_the_last_token_too_is_preferred():
    assert Binding.of(Listed([1, 2, 3], [1, 2, 3, 4]), [row([1, 2], [3, 4])], partly=False).number_R.tolist() == [1]


@pytest.mark.parametrize(
    ("labels", "positions", "expected"),
    [
        (row([1, 2], [3, 4]), at([1, 2, 3, 4], 1), slice(1, 3)),
        (row([1, 2], [3, 4]), at([1, 2, 3, 4], 2), slice(0, 2)),
        (row([1, 2], [3, 4]), at([1, 2, 3, 4], 3), slice(0, 0)),  # none for the first label
        (row([1, 2], [3, 4]), at([1, 2, 3], 1), slice(1, 2)),  # the sequence ends
        (row([1, 2], [3, 4, 5]), at([1, 2, 7, 4, 5], 1), slice(1, 2)),  # another id: only what comes before it is right
        (row([], [1, 2]), at([1, 2], 1), slice(0, 0)),  # nothing comes before the first token
    ],
)
def test_only_positions_with_equal_ids_before_them_are_taken(labels, positions, expected):
    assert covered(labels, positions) == expected


def test_a_position_without_entries_ends_what_is_known():
    positions = at([1, 2, 3, 4, 5], 1)
    positions.logp_PK[2] = -np.inf
    assert covered(row([1, 2], [3, 4, 5]), positions) == slice(1, 2)


def test_the_nearest_sequence_is_named_with_the_place():
    said = str(nearest(Listed([1, 9], [1, 2, 7, 4]), row([1, 2], [3, 4])))
    assert said == "at position 2 the row has the id 3, and the nearest sequence (number 2) has 7"


# --- how far off they are at another temperature


def test_the_bound_holds_for_any_others_of_that_mass():
    logp = np.sort(kit.logp_of(SEQUENCES[0]) * 0.3)[:, ::-1]
    logp -= np.log(np.exp(logp).sum(axis=1, keepdims=True))
    for ratio in (0.5, 2.0, 4.0):
        known, others = logp[:, :20], logp[:, 20:]
        rest, count = np.exp(others).sum(axis=1), np.full(len(logp), others.shape[1])
        low, high = share_of_others(known, rest, count, ratio=ratio)
        true = (np.exp(others / ratio).sum(axis=1) / np.exp(logp / ratio).sum(axis=1)).mean()
        assert low < true < high
    assert share_of_others(known, rest, count, ratio=1.0) == pytest.approx([rest.mean()] * 2)


def test_the_bound_of_an_example_worked_by_hand():
    known = np.log(np.full((1, 20), 0.9 / 20))
    low, high = share_of_others(known, np.array([0.1]), np.array([50_000]), ratio=2.0)
    assert high == pytest.approx(np.sqrt(50_000 * 0.1) / (np.sqrt(50_000 * 0.1) + 20 * np.sqrt(0.045)))
    assert low == pytest.approx(0.1 / np.sqrt(0.045) / (0.1 / np.sqrt(0.045) + 20 * np.sqrt(0.045)))


# --- what is damaged or something else


def entries(logp, ids=None, width=9):
    logp = np.array(logp, float)
    ids = np.tile(np.arange(logp.shape[1]), (len(logp), 1)) if ids is None else np.array(ids)
    return checks.entries_of(
        Positions(place="f: row 3", ids_S=np.arange(9), first=1, ids_PK=ids, logp_PK=logp), width=width
    )


@pytest.mark.parametrize(
    ("logp", "ids", "error", "said"),
    [
        ([[-1, -2], [-1, np.nan]], None, DamagedData, "f: row 3, position 2, entry 1: nan is not a number; write it again"),
        ([[np.inf, -2]], None, DamagedData, "f: row 3, position 1, entry 0: inf is not a number; write it again"),
        ([[3.5, -2]], None, UsageError, ("f: row 3, position 1, entry 0: 3.5 is above 0, so it is not a log-probability; "
         "write natural logarithms of probabilities, not logits")),
        ([[-0.1, -0.1]], None, UsageError, ("f: row 3, position 1: the probabilities sum to 1.81, more than 1; write natural "
         "logarithms of probabilities, not logits")),
        ([[-1, -2]], [[4, 9]], Mismatch, ("f: row 3, position 1: the id 9 is beyond the 9 entries of the tokenizer; set "
         "teacher.tokenizer to the one that the logits were made with")),
        ([[-1, -2]], [[4, 4]], UsageError, "f: row 3, position 1 has an id twice; write each of a token's ids once"),
    ],
)  # fmt: skip
def test_numbers_that_are_no_log_probabilities(logp, ids, error, said):
    assert message(error, lambda: entries(logp, ids)) == said


def test_the_rest_is_what_is_missing_from_1():
    _, logp = entries([[np.log(0.5), np.log(0.2)], [np.log(0.5), -np.inf]])
    assert np.exp(checks.log_rest(logp)) == pytest.approx([0.3, 0.5])
    assert not checks.leaves_nothing(logp)
    assert checks.leaves_nothing(np.log([[0.5, 0.5], [0.9, 0.1]]))


def cut(place, size):
    place.write_bytes(place.read_bytes()[:size])


def test_a_place_with_nothing_known(tmp_path):
    assert "does not exist; set teacher.logits to" in message(MissingInput, lambda: opened(tmp_path / "x"))
    assert "holds neither Parquet files nor tars; kdkit reads Parquet" in message(UsageError, lambda: opened(tmp_path))
    (tmp_path / "x").write_bytes(b"nothing that is known")
    assert "is of no format that kdkit knows; it reads" in message(UsageError, lambda: opened(tmp_path / "x"))
    (tmp_path / "a.tar").touch()
    (tmp_path / "a.parquet").touch()
    assert "holds both Parquet files and tars" in message(UsageError, lambda: opened(tmp_path))


def test_options_without_effect_are_refused(tmp_path):
    kit.write_plain(tmp_path / "a.parquet", SEQUENCES)
    kit.write_distillkit(tmp_path / "kit", SEQUENCES)
    kit.write_llama(tmp_path / "base", SEQUENCES, context=20)
    for name in ("kit", "base"):
        said = message(UsageError, lambda name=name: opened(tmp_path / name, about="next"))
        assert said.startswith("teacher.about is set, but it has no effect on ")
    for name in ("kit", "base", "a.parquet"):
        said = message(UsageError, lambda name=name: opened(tmp_path / name, ids=tmp_path / "a.parquet"))
        assert said.startswith("teacher.ids is set, but it has no effect on ")


def test_damaged_parquet(tmp_path):
    file = tmp_path / "a.parquet"
    kit.write_plain(file, SEQUENCES)
    whole = file.read_bytes()
    cut(file, len(whole) // 2)
    assert message(DamagedData, lambda: opened(file)).startswith(f"{file} is cut or damaged (")

    def other(table):
        table["odds"] = table.pop("logprobs")

    kit.write_plain(file, SEQUENCES, edit=other)
    assert "has the columns input_ids, logprob_token_ids, odds; name those" in message(UsageError, lambda: opened(file))

    def shorter(table):
        table["logprobs"][3] = table["logprobs"][3][1:]

    kit.write_plain(file, SEQUENCES, edit=shorter)
    assert message(UsageError, lambda: read(opened(file))).startswith(f"{file}: row 4: logprobs and logprob_token_ids")

    def flat(table):
        table["logprobs"] = [[1.0] for _ in table["logprobs"]]

    kit.write_plain(file, SEQUENCES, edit=flat)
    assert "lists of lists of numbers are needed" in message(UsageError, lambda: read(opened(file)))


def test_damaged_distillkit(tmp_path):
    guest, config = tmp_path / "guest", tmp_path / "guest" / "compression_config.yaml"

    def fewer(table):
        table["compressed_logprobs"][3][2] = [1, 2]

    kit.write_distillkit(guest, SEQUENCES, edit=fewer)
    said = message(DamagedData, lambda: read(opened(guest)))
    assert "row 4: compressed_logprobs has 2 bytes at its position 2, but compression_config.yaml asks for 26" in said
    config.write_text(yaml.safe_dump(kit.CODING | {"k": "many"}))
    assert "is not a configuration of DistillKit's compression (ValueError" in message(
        UsageError, lambda: opened(guest)
    )
    config.write_text("{")
    assert "is not YAML" in message(UsageError, lambda: opened(guest))
    config.unlink()
    assert "there is no compression_config.yaml beside" in message(MissingInput, lambda: opened(guest))


def test_damaged_llama_cpp(tmp_path):
    file = tmp_path / "base"
    kit.write_llama(file, SEQUENCES, context=20)
    whole = file.read_bytes()
    cut(file, len(whole) - 1)
    said = message(DamagedData, lambda: opened(file))
    assert f"has {len(whole) - 1:,} bytes, and its head asks for {len(whole):,}: 9 chunks of 20 tokens over 270" in said
    file.write_bytes(whole[:8] + struct.pack("<3i", 20, -1, 9) + whole[20:])
    assert "claims 9 chunks of 20 tokens over -1 entries" in message(DamagedData, lambda: opened(file))
    file.write_bytes(b"_logits_\0")
    assert "does not begin as a --kl-divergence-base file does" in message(DamagedData, lambda: opened(file))
    begin = 20 + 4 * 20 * 9
    file.write_bytes(whole[:begin] + struct.pack("<f", float("nan")) + whole[begin + 4 :])
    assert "chunk 1 has a scale that is not a number" in message(DamagedData, lambda: read(opened(file)))


class Attack:
    def __reduce__(self):
        return eval, ("1 + 1",)


def test_damaged_megatron(tmp_path):
    guest = tmp_path / "guest"
    ids = kit.write_megatron(guest, SEQUENCES, ranks=1, microbatch=3, steps=1)
    (tar,) = guest.glob("*.tar")
    whole = tar.read_bytes()
    assert "hold no token ids" in message(UsageError, lambda: opened(guest))
    cut(tar, 2000)
    assert message(DamagedData, lambda: opened(guest, ids=ids)).startswith(f"{tar} is cut or damaged (")
    tar.write_bytes(whole)
    (guest / "dp1__2.tar").write_bytes(whole)
    (guest / "dp1__2.tar").rename(guest / "mine.tar")
    assert "mine.tar is not named as Megatron names its tars" in message(UsageError, lambda: opened(guest, ids=ids))
    (guest / "mine.tar").rename(guest / "dp3__2.tar")
    tar.unlink()
    assert "lacks the tars of rank 0 of 1" in message(DamagedData, lambda: opened(guest, ids=ids))
    (guest / "dp3__2.tar").unlink()
    kit.write_tar(tar, [("_meta.json", b'{"saver": {"format_version": 3}}')])
    assert "is of format 3, and kdkit reads 1 and 2" in message(UsageError, lambda: opened(guest, ids=ids))
    kit.write_tar(tar, [("x", b"")])
    assert "does not begin with _meta.json" in message(DamagedData, lambda: opened(guest, ids=ids))


def test_a_payload_that_claims_more_than_it_can_hold_is_not_decompressed(tmp_path):
    (tmp_path / "guest").mkdir()
    frame = bytearray(zstandard.ZstdCompressor().compress(bytes(10**6)))
    frame[5:9] = (2**31).to_bytes(4, "little")
    assert zstandard.get_frame_parameters(bytes(frame)).content_size == 2**31
    kit.write_tar(tmp_path / "guest" / "dp0__0.tar", [("_meta.json", b'{"saver": {}}'), ("0.pt.zst", bytes(frame))])
    said = message(DamagedData, lambda: opened(tmp_path / "guest", ids=tmp_path / "ids"))
    assert said.endswith("0.pt.zst claims to hold 2,147,483,648 bytes, which it cannot; write it again with Megatron")


@pytest.mark.parametrize("payload", [pickle.dumps(Attack()), None], ids=["bare", "zipped"])
def test_a_payload_that_would_run_code_is_not_unpickled(tmp_path, payload):
    import io

    stream = io.BytesIO()
    torch.save({"values": Attack()}, stream)
    content = zstandard.ZstdCompressor().compress(payload or stream.getvalue())
    (tmp_path / "guest").mkdir()
    saver = b'{"saver": {"format_version": 2, "mbs_save": 1, "dp_size_save": 1, "gbs_save": 1}}'
    kit.write_tar(tmp_path / "guest" / "dp0__0.tar", [("_meta.json", saver), ("0.pt.zst", content)])
    said = message(KdkitError, lambda: opened(tmp_path / "guest", ids=tmp_path / "ids"))
    assert "0.pt.zst is not read: it holds more than tensors, and unpickling it could run anyone's code" in said
