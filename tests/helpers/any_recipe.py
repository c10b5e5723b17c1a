"""Recipes of `fake_plugin`'s components, as hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

TRAINED = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 9),
        "learning_rate": st.floats(1e-9, 1e3),
        "warmup_ratio": st.floats(0, 1),
        "schedule": st.sampled_from(["linear", "cosine", "constant"]),
        "shuffle": st.booleans(),
        "best_by": st.sampled_from(["loss", "text.anything"]),
    },
)
RECIPES = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {"name": st.just("rows"), "path": st.text(st.characters(codec="utf-8"), max_size=9)},
            optional={
                "limit": st.integers(0, 9),
                "columns": st.lists(st.text("abc", max_size=3), max_size=3),
                "extra": st.dictionaries(
                    st.text("ab.", max_size=3), st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.text("x")
                ),
            },
        ),
        "teacher": st.fixed_dictionaries({"name": st.just("big")}, optional={"fine_tune": TRAINED}),
        "student": st.just({"name": "small", "shapes": [{"layers": 2}, {"layers": 1, "width": 8}]}),
    },
    optional={
        "seed": st.integers(0, 2**32 - 1),
        "loss": st.fixed_dictionaries({}, optional={"alpha": st.floats(0, 1), "temperature": st.floats(0.1, 9)}),
        "training": TRAINED,
        "evaluation": st.just({"suites": ["text", {"name": "loose", "strict": False}]}),
    },
)
