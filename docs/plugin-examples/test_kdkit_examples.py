"""Every example keeps the rules of its kind."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from kdkit_examples.bigram_teacher import Bigrams
from kdkit_examples.csv_tracker import CsvFile
from kdkit_examples.even_search import Evenly
from kdkit_examples.hellinger import Hellinger
from kdkit_examples.lengths import Lengths
from kdkit_examples.orthogonal_student import Orthogonal
from kdkit_examples.quotes import Quotes
from kdkit_examples.row_bytes import RowBytes
from kdkit_examples.sqlite_rows import Sqlite
from kdkit_examples.table_reference import Table

from kdkit.testing import (
    check_codec,
    check_dataset,
    check_loss,
    check_metrics,
    check_reference,
    check_search,
    check_student,
    check_teacher,
    check_tracker,
)

TINY = {"model_type": "t5", "d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2, "d_kv": 8}


def error(logits_TV):
    """How far a logit may come back from what it was: half a step, or what lies too far below the largest."""
    codec, largest_T1 = RowBytes(), logits_TV.max(1, keepdims=True)
    cut_TV = largest_T1 - codec.below - logits_TV
    return np.maximum(cut_TV, codec.step / 2) + np.abs(largest_T1) * 1e-6


def save_tokenizer(folder):
    """A byte-level tokenizer, as small as one can be."""
    from tokenizers import ByteLevelBPETokenizer, processors
    from transformers import PreTrainedTokenizerFast

    made = ByteLevelBPETokenizer()
    made.train_from_iterator(["count red green blue"], vocab_size=270, special_tokens=["<pad>", "</s>"])
    ends = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made._tokenizer.post_processor = ends
    PreTrainedTokenizerFast(tokenizer_object=made._tokenizer, pad_token="<pad>", eos_token="</s>").save_pretrained(
        folder
    )


def test_codec():
    check_codec(RowBytes(), bound=error)


def test_data_sets(tmp_path):
    lines = [f"quote {number}\t{'Ann' if number % 2 else 'Bob'}" for number in range(50)]
    (tmp_path / "quotes.tsv").write_text("\n".join(["who said it?", *lines]), encoding="utf-8")
    check_dataset(Quotes(path=str(tmp_path / "quotes.tsv")))

    with closing(sqlite3.connect(tmp_path / "rows.db")) as database, database:
        database.execute("create table rows (question, answer)")
        database.executemany("insert into rows values (?, ?)", [line.split("\t") for line in lines])
    check_dataset(Sqlite(path=str(tmp_path / "rows.db"), source="{question}", target="{answer}"))


@pytest.mark.parametrize("options", [{}, {"alpha": 0.0}, {"alpha": 1.0, "temperature": 2.0}])
def test_loss(options):
    check_loss(Hellinger(**options))


def test_metric_suite():
    check_metrics(Lengths())


def test_teacher(tmp_path):
    save_tokenizer(tmp_path)
    check_teacher(Bigrams(tokenizer=str(tmp_path)))


def test_student():
    check_student(Orthogonal(config=TINY))


def test_tracker():
    check_tracker(CsvFile())


def test_search():
    check_search(Evenly(between={"loss.alpha": [0.0, 1.0], "loss.temperature": [1.0, 4.0]}, trials=6))


def test_reference(tmp_path):
    table = "run,loss.alpha,truth/text/f1,size (MiB)\nlabels only,0,0.51,230\nmixed,0.5,0.56,230\n"
    (tmp_path / "published.csv").write_text(table, encoding="utf-8")
    check_reference(Table(path=str(tmp_path / "published.csv"), citation="our report of 2024"))
