"""One component of every kind. Each is named as text, and imported only when a recipe names it."""

import kdkit


@kdkit.hookimpl
def register_datasets(register):
    """Two data sets."""
    register("sqlite", "kdkit_examples.sqlite_rows:Sqlite")
    register("quotes", "kdkit_examples.quotes:Quotes")


@kdkit.hookimpl
def register_teachers(register):
    """A teacher."""
    register("bigrams", "kdkit_examples.bigram_teacher:Bigrams")


@kdkit.hookimpl
def register_students(register):
    """A student."""
    register("orthogonal", "kdkit_examples.orthogonal_student:Orthogonal")


@kdkit.hookimpl
def register_codecs(register):
    """A codec."""
    register("row-bytes", "kdkit_examples.row_bytes:RowBytes")


@kdkit.hookimpl
def register_losses(register):
    """A loss."""
    register("hellinger", "kdkit_examples.hellinger:Hellinger")


@kdkit.hookimpl
def register_metrics(register):
    """A metric suite."""
    register("lengths", "kdkit_examples.lengths:Lengths")


@kdkit.hookimpl
def register_references(register):
    """Published numbers."""
    register("published-table", "kdkit_examples.table_reference:Table")


@kdkit.hookimpl
def register_searches(register):
    """A search."""
    register("evenly", "kdkit_examples.even_search:Evenly")


@kdkit.hookimpl
def register_trackers(register):
    """A tracker."""
    register("csv", "kdkit_examples.csv_tracker:CsvFile")
