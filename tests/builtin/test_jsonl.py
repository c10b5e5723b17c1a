"""The data set `jsonl`, and reading JSON lines as such."""

from __future__ import annotations

import gzip
import io
import json
import string
from pathlib import Path

import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kdkit.api.interfaces import DataSource
from kdkit.builtin.datasets.jsonl import Jsonl
from kdkit.data.compressed import decompressed
from kdkit.data.fields import Template, as_text, field_value
from kdkit.data.jsonlines import DropCount, json_lines
from kdkit.errors import DamagedData, KdkitError, MissingInput, UsageError
from kdkit.system.progress import Silent

ROWS = [{"text": f"question {i}", "answer": f"answer {i}", "meta": {"title": f"t{i}"}} for i in range(40)]


def packed(data: bytes, how: str) -> bytes:
    return {
        "plain": data,
        "gzip": gzip.compress(data),
        "gzip in two members": gzip.compress(data[:7]) + gzip.compress(data[7:]),
        "zstd": zstandard.compress(data),
        "zstd in two frames": zstandard.compress(data[:7]) + zstandard.compress(data[7:]),
    }[how]


def write(path: Path, rows, how: str = "plain") -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_bytes(packed("".join(f"{line}\n" for line in lines).encode(), how))
    return str(path)


def load(**options):
    return Jsonl(**{"source": "text", "target": "answer", **options}).load(Silent())


def stream_of(data: bytes):
    return decompressed(io.BufferedReader(io.BytesIO(data)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=6), json_values, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(objects, max_size=6), st.sampled_from(["plain", "gzip", "zstd", "zstd in two frames"]))
def test_what_was_written_is_read_however_it_was_compressed(rows, how):
    data = packed("".join(json.dumps(row) + "\n" for row in rows).encode(), how)
    assert [row for _, row in json_lines(stream_of(data), "f")] == rows


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_bytes_give_objects_or_one_clear_error(data):
    rows = b'{"a": "\\ud83d\\ude00"}\n{"a": [1, {"b": null}]}\n' * 3
    blob = bytearray(packed(rows, data.draw(st.sampled_from(["plain", "gzip", "zstd"]))))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    del blob[data.draw(st.integers(1, len(blob))) :]
    read, message = [], "f:"
    try:
        read = [row for _, row in json_lines(stream_of(bytes(blob)), "f")]
    except KdkitError as error:
        message = str(error)
    assert all(isinstance(row, dict) for row in read)
    assert message.startswith(("f:", "f is UTF-16 text, "))
    assert "\n" not in message


@pytest.mark.parametrize("how", ["gzip", "zstd", "zstd in two frames"])
def test_every_cut_of_a_compressed_file_is_noticed(how):
    rows = [{"a": "".join(chr(97 + i * j % 26) for j in range(50))} for i in range(20)]
    data = packed("".join(json.dumps(row) + "\n" for row in rows).encode(), how)
    first_frame = len(zstandard.compress(b'{"a": "'))
    for cut in range(4, len(data)):
        if how == "zstd in two frames" and cut == first_frame:
            continue  # ends with a whole frame, so nothing is missing as far as the format can tell
        with pytest.raises((DamagedData, UsageError), match="f:"):
            list(json_lines(stream_of(data[:cut]), "f"))


BROKEN = {
    "no json": ('{"a" 1}', "f:2:6: "),
    "cut": ('{"a": "b', "f:2:7: .*Unterminated string;"),
    "a list": ("[1]", "f:2:1: .*a list"),
    "half a surrogate pair": (r'{"a": "\ud800"}', "f:2:8: .*surrogate"),
    "a list too deep for as_text": ('{"a": ' + "[" * 900 + "]" * 900 + "}", "f:2:206: .*nested more than 200 levels"),
    "too deep": ("[" * 100_000, "f:2:201: .*nested more than 200 levels deep"),
    "too many digits": ('{"a": ' + "1" * 5000 + "}", "f:2:7: .*more than 4,300 digits"),
    "not UTF-8": (b'{"a": "\xff"}', "f:2:8: .*not UTF-8"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_named_with_its_column(name):
    line, message = BROKEN[name]
    line = line if isinstance(line, bytes) else line.encode()
    with pytest.raises(UsageError, match=message):
        list(json_lines(io.BytesIO(b'{"a": 1}\n' + line + b"\n"), "f"))
    drops = DropCount()
    assert [n for n, _ in json_lines(io.BytesIO(line + b'\n{"a": 1}\n'), "f", skip=drops)] == [2]
    assert drops.drops()[0].first == ("f:1",)


def test_byte_order_mark_and_blank_lines_are_passed_over():
    read = list(json_lines(io.BytesIO(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}'), "f"))
    assert read == [(1, {"a": 1}), (4, {"a": 2})]


names = st.text(string.ascii_letters + "_", min_size=1, max_size=5)
literals = st.text(max_size=6).filter(lambda text: "\r" not in text)


@settings(max_examples=100)
@given(st.lists(st.tuples(literals, names), min_size=1, max_size=4), literals)
def test_a_template_puts_literals_and_values_in_their_order(pieces, tail):
    def double(text):
        return text.replace("{", "{{").replace("}", "}}")

    text = "".join(double(literal) + "{" + name + "}" for literal, name in pieces) + double(tail)
    row = {name: f"<{name}>" for _, name in pieces}
    assert Template.parse(text).fill(row) == "".join(f"{literal}<{name}>" for literal, name in pieces) + tail


@pytest.mark.parametrize("text", ["", "  ", "{}", "{a", "a}", "{a!r}", "{a:>10}", "{{}}", "{ }", "{a:{b}}"])
def test_a_template_that_is_none_is_refused_when_the_recipe_is_read(text):
    with pytest.raises(UsageError, match=r"does not name a field|the template .* (is wrong|has no field)"):
        Jsonl(train="f", source=text, target="answer")


def test_braces_never_reach_into_values():
    template = Template.parse("{a.__class__} {a[0]}")
    assert template.fields == ("a.__class__", "a[0]")
    assert template.fill({"a": "x"}) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (None, ""),
        (["a", None, "b"], "a\nb"),
        (3, "3"),
        (float("nan"), ""),
        (True, "true"),
        ({"k": "é"}, '{"k": "é"}'),
    ],
)
def test_values_become_text(value, text):
    assert as_text(value) == text


def test_a_dotted_name_is_a_field_first_then_a_path():
    row = {"a.b": 1, "a": {"b": 2, "c": {"d": 3}}, "x": "text"}
    values = [field_value(row, name) for name in ("a.b", "a.c.d", "a.c.e", "x.y")]
    assert values == [1, 3, None, None]


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd"])
def test_rows_become_examples(tmp_path, how):
    train = write(tmp_path / "train.dat", ROWS[:30], how)
    validation = write(tmp_path / "validation.dat", ROWS[30:36], how)
    test = write(tmp_path / "test.dat", ROWS[36:], how)
    corpus = load(
        train=train,
        validation=validation,
        test=test,
        source="title: {meta.title}\n{text}",
        prediction="answer",
        meta=("meta.title", "text"),
    )
    assert [len(corpus.split(name)) for name in ("train", "validation", "test")] == [30, 6, 4]
    first = corpus.train[0]
    assert (first.id, first.source, first.target) == ("train:1", "title: t0\nquestion 0", "answer 0")
    assert first.prediction == "answer 0"
    assert first.meta == {"meta.title": "t0", "text": "question 0"}
    assert corpus.drops == ()
    assert isinstance(Jsonl(train=train, source="text", target="answer"), DataSource)


def test_rows_without_source_or_target_are_counted_with_their_places(tmp_path):
    rows = [*ROWS[:4], {"text": "q"}, {"text": "q", "answer": None}, {"text": " \n", "answer": "a"}, {"answer": "a"}]
    train = write(tmp_path / "train.jsonl", rows)
    drops = load(train=train, validation=write(tmp_path / "v.jsonl", ROWS)).drops
    assert [(drop.reason, drop.count) for drop in drops] == [("it has no target", 2), ("it has no source", 2)]
    assert drops[0].first == (f"{train}:5", f"{train}:6")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_what_is_not_a_finite_number_is_null(tmp_path, number):
    broken = f'{{"text": "q", "answer": {number}, "meta": {{}}}}'
    noted = f'{{"text": "q", "answer": 1.5, "meta": {{"title": [{number}, 2.5]}}}}'
    train = write(tmp_path / "train.jsonl", [*ROWS, broken, noted])
    corpus = load(train=train, validation=write(tmp_path / "v.jsonl", ROWS), meta=("meta.title",))
    (drop,) = corpus.drops
    assert (drop.reason, drop.first) == ("it has no target", (f"{train}:41",))
    assert (corpus.train[-1].target, corpus.train[-1].meta) == ("1.5", {"meta.title": [None, 2.5]})


def test_only_the_first_few_places_are_kept(tmp_path):
    train = write(tmp_path / "train.jsonl", [*ROWS, *({"text": "q"} for _ in range(30))])
    (drop,) = load(train=train, validation=write(tmp_path / "v.jsonl", ROWS)).drops
    assert drop.count == 30
    assert drop.first == tuple(f"{train}:{line}" for line in range(41, 46))


def test_limits_take_the_first_usable_rows(tmp_path):
    train = write(tmp_path / "train.jsonl", [{"text": "no answer"}, *ROWS])
    options = {"train": train, "validation": write(tmp_path / "v.jsonl", ROWS), "train_rows": 3, "validation_rows": 2}
    corpus = load(**options, test=write(tmp_path / "t.jsonl", ROWS), test_rows=1)
    assert [row.id for row in corpus.train] == ["train:2", "train:3", "train:4"]
    assert (len(corpus.validation), len(corpus.test)) == (2, 1)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(40, 300))
def test_a_share_splits_all_rows_and_more_rows_move_none(tmp_path_factory, share, count):
    folder = tmp_path_factory.mktemp("share")
    rows = [{"text": f"q{i}", "answer": "a"} for i in range(count)]
    few = Jsonl(train=write(folder / "f.jsonl", rows[:-10]), source="text", target="answer", validation_share=share)
    many = Jsonl(train=write(folder / "m.jsonl", rows), source="text", target="answer", validation_share=share)
    try:
        before, after = few.load(Silent()), many.load(Silent())
    except UsageError:
        assume(False)  # a small share of few rows may be none
    assert len(after.train) + len(after.validation) == count
    assert {row.id for row in before.train} <= {row.id for row in after.train}
    assert {row.id for row in before.validation} <= {row.id for row in after.validation}
    assert abs(len(after.validation) / count - share) < 5 * (share * (1 - share) / count) ** 0.5


def test_without_a_validation_file_a_tenth_is_split_off(tmp_path):
    rows = [{"text": f"q{i}", "answer": "a"} for i in range(1000)]
    corpus = load(train=write(tmp_path / "train.jsonl", rows), train_rows=500, validation_rows=50)
    assert (len(corpus.train), len(corpus.validation)) == (500, 50)


def test_ids_come_from_their_field_or_else_from_the_line(tmp_path):
    train, validation = write(tmp_path / "t.jsonl", ROWS[:3]), write(tmp_path / "v.jsonl", ROWS[3:])
    assert load(train=train, validation=validation, id="text").train[0].id == "question 0"
    assert load(train=train, validation=validation).train[0].id == "train:1"


def test_an_id_that_comes_twice_is_refused_with_both_places(tmp_path):
    train = write(tmp_path / "t.jsonl", [{**ROWS[0], "key": 7}, {**ROWS[1], "key": 8}])
    validation = write(tmp_path / "v.jsonl", [{**ROWS[2], "key": 8}])
    with pytest.raises(UsageError, match=r'v\.jsonl:1 has the id "8", and so does .*t\.jsonl:2'):
        load(train=train, validation=validation, id="key")


def test_ids_of_rows_without_one_name_their_line(tmp_path):
    train = write(tmp_path / "t.jsonl", [{**ROWS[0], "key": 7}, ROWS[1]])
    validation = write(tmp_path / "v.jsonl", [{**ROWS[2], "key": 8}])
    corpus = load(train=train, validation=validation, id="key")
    assert [row.id for row in corpus.train] == ["7", "train:2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "txt"}, r'source names the field "txt", which no row of .*t\.jsonl has \(did you mean "text"\?\)'),
        ({"target": "{text} {meta.titel}"}, r'target names the field "meta\.titel", .*did you mean "meta\.title"\?'),
        ({"id": "key"}, r'id names the field "key", .* its fields are answer, meta, meta\.title, text'),
        ({"prediction": "zzz"}, 'prediction names the field "zzz"'),
        ({"meta": ("text", "project")}, 'meta names the field "project"'),
    ],
)
def test_a_field_that_no_row_has_is_an_error_with_a_guess(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        load(train=write(tmp_path / "t.jsonl", ROWS), train_rows=2, **options)


def test_missing_files_folders_and_empty_files_are_one_sentence(tmp_path):
    full = write(tmp_path / "t.jsonl", ROWS)
    with pytest.raises(MissingInput, match=r"no file .*gone\.jsonl; give train"):
        load(train=str(tmp_path / "gone.jsonl"))
    with pytest.raises(MissingInput, match="is a folder; test takes a file"):
        load(train=full, test=str(tmp_path))
    with pytest.raises(UsageError, match=r"e\.jsonl has no usable training row: it is empty"):
        load(train=write(tmp_path / "e.jsonl", []), validation=full)
    with pytest.raises(UsageError, match=r"has no usable validation row: 1 dropped because it has no target \(.*:1\)"):
        load(train=full, validation=write(tmp_path / "n.jsonl", [{"text": "q", "answer": ""}]))


def test_a_broken_line_is_an_error_or_counted_as_asked(tmp_path):
    train = write(tmp_path / "t.jsonl", [*ROWS, '{"text": '])
    with pytest.raises(UsageError, match=r"t\.jsonl:41:10: .* skip_broken = true"):
        load(train=train)
    (drop,) = load(train=train, skip_broken=True).drops
    assert (drop.reason, drop.count, drop.first) == ("it is not a JSON object", 1, (f"{train}:41",))


def test_a_share_beside_a_validation_file_is_refused():
    with pytest.raises(UsageError, match="both given"):
        Jsonl(train="a", validation="b", validation_share=0.2, source="text", target="answer")


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_lies_between_none_and_all(share):
    with pytest.raises(ValueError, match="validation_share"):
        Jsonl(train="a", validation_share=share, source="text", target="answer")


CHAT = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "name": None}]


def test_a_row_is_a_text_or_a_conversation_by_option(tmp_path):
    rows = [{"text": f"t{i}", "chat": CHAT, "as_json": json.dumps(CHAT), "tools": [{"name": "f"}]} for i in range(30)]
    path = write(tmp_path / "r.jsonl", rows)
    texts = Jsonl(train=path, text="# {text}", meta=("text",)).load(Silent())
    assert {row.form for row in (*texts.train, *texts.validation)} == {"text"}
    assert (texts.train[0].source, texts.train[0].target, texts.train[0].meta) == ("", "# t0", {"text": "t0"})
    told = Jsonl(train=path, messages="chat", tools="tools").load(Silent()).train[0]
    assert told.form == "chat"
    assert json.loads(told.target) == {
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],  # null is no field
        "tools": [{"name": "f"}],
    }
    told = Jsonl(train=path, messages="chat", template={"enable_thinking": False}).load(Silent()).train[0]
    assert json.loads(told.target)["template"] == {"enable_thinking": False}
    as_json = Jsonl(train=path, messages="as_json").load(Silent()).train[0]
    assert json.loads(as_json.target)["messages"][1]["role"] == "assistant"


def test_messages_may_say_who_they_are_from(tmp_path):
    sides = [{"from": "system", "value": "s"}, {"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]
    path = write(tmp_path / "r.jsonl", [{"conversations": sides}] * 30)
    row = Jsonl(train=path, messages="conversations").load(Silent()).train[0]
    assert [tuple(each.items()) for each in json.loads(row.target)["messages"]] == [
        (("role", "system"), ("content", "s")),
        (("role", "user"), ("content", "x")),
        (("role", "assistant"), ("content", "y")),
    ]


def test_rows_that_are_no_conversation_are_left_out_with_the_reason(tmp_path):
    bad = [{"chat": "hello"}, {"chat": [{"from": "function_call", "value": "x"}]}, {"chat": CHAT[:1]}, {"chat": None}]
    path = write(tmp_path / "r.jsonl", [{"chat": CHAT}] * 30 + bad)
    drops = Jsonl(train=path, messages="chat").load(Silent()).drops
    assert {drop.reason: drop.count for drop in drops} == {
        "its chat is not a list of messages, each with a role and a content": 3,
        "its chat has no message of the role assistant": 1,
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "nothing says what a row is; give source and target, or for decoder-only models text"),
        ({"source": "a"}, "source is given, and target is not; give both"),
        ({"target": "a", "text": "b"}, "target and text are given; give source and target, or"),
        ({"source": "a", "target": "b", "messages": "c"}, "source, target and messages are given; give source and"),
        ({"text": "b", "messages": "c"}, "text and messages are given"),
        ({"text": "b", "tools": "c"}, "tools is given, but only conversations have them"),
        (
            {"text": "b", "template": {"a": 1}},
            "template is given, but only conversations are written by a chat template",
        ),
        ({"messages": "b", "template": {"tokenize": True}}, "template names tokenize, which is not a variable"),
        ({"text": "b", "prediction": "c"}, "prediction is given, but text makes several rows of one"),
    ],
)
def test_options_that_do_not_say_what_a_row_is_are_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        Jsonl(train="r.jsonl", **options)


def test_what_is_to_be_answered_or_continued_needs_no_answer():
    asked = Jsonl(train="r.jsonl", messages="chat").prompt("1", {"chat": CHAT[:1]})
    assert json.loads(asked.target)["messages"] == CHAT[:1]
    answered, again = (
        Jsonl(train="r.jsonl", messages="chat").prompt("1", {"chat": c}) for c in (CHAT, CHAT + CHAT[:1])
    )
    assert answered == asked  # an answer that is there is the target, as that of other rows, and is not read
    assert len(json.loads(again.target)["messages"]) == 3
    assert Jsonl(train="r.jsonl", messages="chat").prompt("1", {"chat": CHAT[1:]}).startswith("its chat has nothing")
    assert Jsonl(train="r.jsonl", messages="chat").prompt("1", {"chat": []}).startswith("its chat has nothing")
    assert Jsonl(train="r.jsonl", text="t").prompt("1", {"t": "def f"}).source == "def f"
    assert Jsonl(train="r.jsonl", text="t").prompt("1", {}) == "it lacks the field t, which data.text names"
