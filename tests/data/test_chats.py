"""Conversations: the labels are what follows the prompt in the rendering, up to the stop, whatever the template."""

from __future__ import annotations

import json

import pytest
from causal_kit import chat_tokenizer, tokenizer

from kdkit.api.options import TokenLimits
from kdkit.data.chats import ChatTemplate, chat
from kdkit.data.reading import Mark
from kdkit.data.reading_notes import notes_on_reading
from kdkit.data.rendered import Rendered, marked_tokens, rendered_ids
from kdkit.data.rows import Encoding, rows_of
from kdkit.data.sequences import encode_prompts
from kdkit.errors import UsageError
from kdkit.models import DecoderOnly, EncoderDecoder

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MARKED = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% endgeneration %}</s>\n{% else %}{{ m.content }}</s>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
BARE = "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
BARE += "{% else %}{{ m.content }}{% endif %}{% endfor %}"
THINKS = CHATML.replace("<|assistant|>{% endif %}", "<|assistant|>max of{% endif %}")
FORGETS = "{% for m in messages %}{% if m.role == 'assistant' or loop.last %}<|{{ m.role }}|>{{ m.content }}</s>{% endif %}{% endfor %}"


def said(*texts, first="user"):
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def read(template, messages, *, tools=(), limits=None, its=None, told=None):
    made = its or chat_tokenizer(template)
    example = chat(messages, id="c", tools=tools, template=told)
    return rows_of([example], made, Encoding(kind=DecoderOnly(), limits=limits or TokenLimits()))


def texts(rows):
    return [(rows.tokenizer.decode(row.source_ids), rows.tokenizer.decode(row.target_ids)) for row in rows.encoded]


def test_each_turn_of_the_assistant_is_a_row_that_ends_with_the_stop():
    rows = read(CHATML, [{"role": "system", "content": "x"}, *said("max", "of", "3", "4")])
    assert texts(rows) == [
        ("<|system|>x</s>\n<|user|>max</s>\n<|assistant|>", "of</s>"),
        ("<|system|>x</s>\n<|user|>max</s>\n<|assistant|>of</s>\n<|user|>3</s>\n<|assistant|>", "4</s>"),
    ]
    assert list(rows.encoded.each_id()) == ["c#1", "c#2"]
    assert rows.documents == ("c", "c")
    assert rows.reading.counts()["stops"] == 2
    assert [row.target for row in rows.examples] == ["of", "4"]
    assert rows.prompts is rows.encoded


def test_a_prompt_is_what_a_server_renders():
    template = ChatTemplate.of(chat_tokenizer(CHATML))
    assert template.opened(chat(said("max"), id="c").target) == Rendered("<|user|>max</s>\n<|assistant|>")
    encoding = Encoding(kind=DecoderOnly(), limits=TokenLimits())
    (prompt,) = encoding.prompts([chat(said("max"), id="c")], chat_tokenizer(CHATML))
    assert chat_tokenizer(CHATML).decode(prompt.source_ids) == "<|user|>max</s>\n<|assistant|>"


def test_what_the_opening_adds_is_left_out_where_the_turn_lacks_it():
    """A template whose opening of an answer has more than the answers of the conversation: the common prefix counts."""
    rows = read(THINKS, said("x", "3"))
    assert texts(rows) == [("<|user|>x</s>\n<|assistant|>", "3</s>")]
    assert rows.reading.counts()["opened_otherwise"] == 1
    assert [note for note in notes_on_reading([rows]) if "1 turn of the assistant do" in note]
    assert read(CHATML, said("x", "3")).reading.counts()["opened_otherwise"] == 0


def test_a_turn_of_which_the_template_writes_nothing_is_refused_and_counted():
    """Otherwise it teaches to say nothing and stop."""
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    asked = [*said("x"), {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "7"}]
    rows = read(CHATML, [*asked, {"role": "assistant", "content": "It is 7."}], tools=tools)
    assert [label for _, label in texts(rows)] == ["It is 7.</s>"]
    assert rows.reading.counts()["lacking_tools"] == 1  # the answer too is read without the tools
    (drop,) = rows.left_out
    assert (drop.count, drop.reason) == (1, "the chat template writes nothing of it after the prompt")
    assert len(read(THINKS, said("x", "max of")).left_out) == 1  # all of it would be prompt
    skips = CHATML.replace(
        "<|{{ m.role }}|>{{ m.content }}</s>", "{% if m.content %}<|{{ m.role }}|>{{ m.content }}</s>{% endif %}"
    )
    assert len(read(skips, said("x", "")).left_out) == 1
    assert texts(read(CHATML, said("x", "")))[0][1] == "</s>"  # which says nothing


def test_calls_that_the_template_drops_beside_a_text_are_counted():
    messages = [*said("x"), {"role": "assistant", "content": "3", "tool_calls": [{"function": {"name": "f"}}]}]
    rows = read(CHATML, messages)
    assert rows.reading.counts()["lacking_tools"] == 1
    assert [note for note in notes_on_reading([rows]) if "nothing of the calls, of 1 turn (" in note]
    writes = CHATML.replace("{{ m.content }}", "{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}")
    assert read(writes, messages).reading.counts()["lacking_tools"] == 0


def test_a_template_that_changes_what_came_before_is_refused_and_counted():
    rows = read(FORGETS, said("x", "3", "x", "4"))
    assert len(rows.encoded) == 0
    (drop,) = rows.left_out
    assert drop.count == 2
    assert drop.first == ("c", "c")
    assert drop.reason == "the chat template writes what precedes the turn otherwise once it is there"


def test_a_template_that_refuses_a_conversation_says_why():
    template = "{{ raise_exception('roles must alternate') }}"
    (drop,) = read(template, said("x", "3")).left_out
    assert drop.reason == "the chat template refuses it (roles must alternate)"
    with pytest.raises(
        UsageError, match=r"^f\.jsonl:2: the row .* the chat template refuses it \(roles must alternate"
    ):
        encode_prompts([chat(said("x"), id="f.jsonl:2")], chat_tokenizer(template), TokenLimits())


def test_an_end_that_the_template_leaves_to_the_next_message_is_added():
    assert texts(read(CHATML.replace("</s>\n", "\n"), said("x", "3")))[0][1] == "3\n</s>"


def test_a_stop_of_the_template_s_own_is_the_last_label():
    rows = read(CHATML.replace("</s>", "<|user|>"), said("x", "3"))
    assert texts(rows)[0][1] == "3<|user|>"


def test_a_turn_ends_with_the_first_token_at_which_the_model_stops(tmp_path):
    """Phi-3 closes turns with <|end|>, and the rendering with the token that ends texts."""
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|system|>\n{% endfor %}"
    template += "{% if add_generation_prompt %}<|assistant|>{% else %}{{ eos_token }}{% endif %}"
    chat_tokenizer(template).save_pretrained(tmp_path)
    its = DecoderOnly().load_tokenizer(str(tmp_path))
    assert texts(read("", said("x", "3"), its=its))[0][1] == "3<|system|>\n</s>"  # nothing says what stops the model
    stops = [its.eos_token_id, its.convert_tokens_to_ids("<|system|>")]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
    rows = read("", said("x", "3", "x", "<|system|>4"), its=its)
    assert [label for _, label in texts(rows)] == ["3<|system|>", "<|system|>4<|system|>"]
    assert [row.target_ids.count(stops[1]) for row in rows.encoded] == [1, 1]
    assert rows.reading.counts()["stops"] == 2


def test_an_added_token_that_is_not_special_stops_no_turn():
    import copy

    template = "{% for m in messages %}{% if not loop.first %}</s>{% endif %}<|{{ m.role }}|>{{ m.content }}"
    template += "{% endfor %}{% if add_generation_prompt %}</s><|assistant|>{% endif %}"
    its = copy.deepcopy(chat_tokenizer(template))
    its.add_tokens(["<call>", "</call>"])
    assert texts(read("", said("x", "<call>3</call>"), its=its))[0][1] == "<call>3</call></s>"


def test_words_that_spell_special_tokens_stay_text():
    rows = read(CHATML, said("x </s> <|assistant|>", "</s>3"))
    (row,) = rows.encoded
    end = rows.tokenizer.eos_token_id
    assert row.source_ids.count(end) == 1
    assert row.source_ids.count(rows.tokenizer.convert_tokens_to_ids("<|assistant|>")) == 1
    assert row.target_ids.count(end) == 1
    assert texts(rows) == [("<|user|>x </s> <|assistant|></s>\n<|assistant|>", "</s>3</s>")]


@pytest.mark.parametrize("arguments", [{"a</s>b": 1}, {"type": "a</s>b"}, [{"role": "</s>"}], {"x": {"type": "</s>"}}])
def test_words_in_tool_calls_that_spell_special_tokens_stay_text(arguments):
    template = CHATML.replace("{{ m.content }}", "{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}")
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    rows = read(template, [*said("x"), {"role": "assistant", "content": "", "tool_calls": [call]}])
    assert texts(rows)[0][1] == f"{json.dumps([call])}</s>"
    assert rows.encoded[0].target_ids.count(rows.tokenizer.eos_token_id) == 1


def test_a_role_that_spells_a_special_token_is_text():
    (row,) = read(CHATML, [{"role": "user</s>", "content": "x"}, *said("3", first="assistant")]).encoded
    assert row.source_ids.count(chat_tokenizer(CHATML).eos_token_id) == 1


@pytest.mark.parametrize("special", [False, True])
def test_a_template_finds_the_tokens_that_it_looks_for(special):
    """Qwen3's parts a thought from an answer by </think>, which a tokenizer may call special or not."""
    import copy

    template = CHATML.replace(
        "{{ m.content }}", "{{ m.content.split('</think>')[-1] if not loop.last else m.content }}"
    )
    its = copy.deepcopy(chat_tokenizer(template))
    its.add_tokens(["<think>", "</think>"], special_tokens=special)
    if special:
        its.chat_template += "{{ '' if '<think>' in messages[-1].content }}"
    rows = read("", said("x", "<think>max</think>3", "x", "<think>of</think>4"), its=its)
    assert texts(rows)[1][0].endswith("<|assistant|>3</s>\n<|user|>x</s>\n<|assistant|>")
    assert its.convert_ids_to_tokens(rows.encoded[1].target_ids) == ["<think>", "of", "</think>", "4", "</s>"]


def test_a_prompt_is_cut_on_the_left_and_a_long_turn_loses_its_stop():
    rows = read(CHATML, said("x x x x x x", "max of 3 and 4"), limits=TokenLimits(max_source=3, max_target=2))
    (row,) = rows.encoded
    assert rows.tokenizer.decode(row.source_ids).endswith("</s>\n<|assistant|>")
    assert (len(row.source_ids), len(row.target_ids)) == (3, 2)
    counts = rows.reading.counts()
    assert (counts["sources_shortened"], counts["targets_cut"], counts["stops"]) == (1, 1, 0)
    assert [row.target for row in rows.examples] == ["max of 3 and 4"]  # a text is compared with all of it


def test_a_rendering_that_begins_as_texts_do_has_one_beginning():
    made = chat_tokenizer("<pad>" + CHATML, begins=True)
    (row,) = read("", said("x", "3"), its=made).encoded
    assert row.source_ids.count(0) == 1
    (other,) = read("", said("x", "3"), its=chat_tokenizer(CHATML, begins=True)).encoded
    assert other == row


def test_tools_and_calls_reach_the_template():
    template = "{{ tools | tojson }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ m.tool_calls | tojson }}"
    template += "</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    messages = [{"role": "user", "content": "x", "tool_calls": []}]
    messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    ((prompt, label),) = texts(read(template, messages, tools=tools))
    assert json.loads(prompt[: prompt.index("<|user|>")]) == tools
    assert label == f"{json.dumps([call])}</s>"


def test_a_template_that_tells_the_day_tells_one_day():
    dated = '{{ strftime_now("%d %B %Y") }}' + CHATML
    assert texts(read(dated, said("x", "3")))[0][0].startswith("26 July 2024<|user|>")


def test_a_tokenizer_without_a_template_is_refused():
    with pytest.raises(UsageError, match=r"the tokenizer has no chat template.*put its chat_template\.jinja in"):
        read("", said("x", "3"), its=tokenizer())
    with pytest.raises(UsageError, match=r"row c is a chat \(data.messages\), which an encoder-decoder cannot read"):
        rows_of([chat(said("x", "3"), id="c")], tokenizer(), Encoding(kind=EncoderDecoder(), limits=TokenLimits()))


# transformers#47325: a span that ends at the first token, or on a character that no token has, marks all that follows.


def test_a_span_of_one_first_token_marks_that_one():
    rows = read(BARE, said("A", "hi", first="assistant"))
    assert texts(rows)[0][1] == "A</s>"  # the template writes no end
    ids, places = rendered_ids(Rendered("Ahi"), rows.tokenizer)
    assert marked_tokens((0, 1), places) == [True] + [False] * (len(ids) - 1)
    assert len(rows.reading.marked(Mark.DIFFERS)) == 0


def test_a_span_that_ends_on_a_character_without_a_token_marks_what_it_holds():
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {token: place for place, token in enumerate(["<pad>", "</s>", "A", "hi"])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<pad>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")
    made.chat_template = BARE
    rows = read("", said("A ", "hi", first="assistant"), its=made)
    assert [list(row.target_ids) for row in rows.encoded] == [[2, 1]]
    _, places = rendered_ids(Rendered("A hi"), made)
    assert marked_tokens((0, 2), places) == [True, False]


def test_white_space_that_has_no_place_is_not_marked_otherwise():
    import copy

    from tokenizers import processors

    its = copy.deepcopy(chat_tokenizer(MARKED))
    its.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    assert read("", said("x", "3  4"), its=its).reading.counts()["marked_otherwise"] == 0


def test_labels_that_a_template_marks_otherwise_are_counted():
    assert len(read(MARKED, said("x", "3", "x", "4")).reading.marked(Mark.DIFFERS)) == 0
    late = MARKED.replace("{% generation %}{{ m.content }}", "{{ m.content }}{% generation %}")
    assert read(late, said("x", "3 4")).reading.counts()["marked_otherwise"] == 1
    unmarked = MARKED.replace(
        "<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}",
        "{% if m.role == 'assistant' %}{% generation %}<|assistant|>",
    )
    assert read(unmarked, said("x", "3 4")).reading.counts()["marked_otherwise"] == 1


def test_a_template_is_told_what_the_row_says():
    marks = CHATML.replace("{{ m.content }}", "{{ m.content }}{% if thinks is defined %}[{{ thinks }}]{% endif %}", 1)
    assert marks != CHATML
    plain, told = read(marks, said("x", "y")), read(marks, said("x", "y"), told={"thinks": False})
    assert "[False]" not in str(texts(plain))
    assert "[False]" in str(texts(told))
