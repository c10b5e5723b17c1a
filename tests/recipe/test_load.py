"""A recipe loads as it was written, or says everything that is wrong with it, and where."""

from __future__ import annotations

import pytest
from any_recipe import RECIPES
from fake_plugin import SMALLEST, FakeLoss, FakeStudent, FakeSuite, Rows, Shape, fake_plugins
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdkit.api.options import Generation, Training
from kdkit.errors import MissingInput, RecipeError, UsageError
from kdkit.recipe import load_recipe, read_stored


@pytest.fixture
def plugins(monkeypatch):
    return fake_plugins(monkeypatch)


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="r.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write


@pytest.fixture
def problems(write, plugins):
    """The problems of a recipe, one a line."""

    def problems(text, *overrides, name="r.toml"):
        with pytest.raises(RecipeError) as caught:
            load_recipe(write(text, name), overrides, plugins=plugins)
        return list(caught.value.problems)

    return problems


def test_a_recipe_gives_each_section_as_an_object_with_its_options(write, plugins):
    recipe = load_recipe(write(SMALLEST + "[loss]\nalpha = 1\n[teacher.fine_tune]\nepochs = 7\n"), plugins=plugins)
    assert recipe.data == Rows(path="rows.jsonl")
    assert recipe.student == FakeStudent(model="m")
    assert recipe.loss == FakeLoss(alpha=1.0)
    assert recipe.teacher.fine_tune == Training(epochs=7)
    assert recipe.training == Training()
    assert [(suite.name, suite.suite) for suite in recipe.evaluation.suites] == [("text", FakeSuite())]
    assert (recipe.name, recipe.seed, recipe.device, str(recipe.path)) == ("r", 42, "auto", "r.toml")
    assert recipe.names == {"data": "rows", "teacher": "big", "codec": "u8-lz4", "student": "small", "loss": "kd"}


@given(RECIPES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_resolved_recipe_loads_as_the_same_recipe(plugins, tmp_path, table):
    recipe = load_recipe(table, plugins=plugins)
    file = tmp_path / "other_name.toml"
    file.write_text(recipe.to_toml(), encoding="utf-8", newline="")
    again = load_recipe(file, plugins=plugins)
    assert again == recipe
    assert again.resolved == recipe.resolved == read_stored(recipe.to_toml()).tables
    assert again.digest == recipe.digest


@given(RECIPES, st.randoms())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_the_digest_does_not_depend_on_the_order_of_keys(plugins, table, random):
    def shuffled(value):
        if not isinstance(value, dict):
            return value
        keys = random.sample(list(value), len(value))
        return {key: shuffled(value[key]) for key in keys}

    assert load_recipe(shuffled(table), plugins=plugins).digest == load_recipe(table, plugins=plugins).digest


def test_the_digest_does_not_depend_on_name_comments_or_spelt_out_defaults(write, plugins):
    plain = load_recipe(write(SMALLEST), plugins=plugins)
    spelt = (
        "# A comment\nname = 'x'\ndescription = 'y'\nseed = 42\n" + SMALLEST + "[loss]\nalpha = 0.5\ntemperature = 1\n"
    )
    assert load_recipe(write(spelt, "other.toml"), plugins=plugins).digest == plain.digest


@pytest.mark.parametrize("change", ["seed=1", "loss.alpha=0.25", "data.path=q", "codec.scope=array", "teacher.model=z"])
def test_the_digest_depends_on_every_option(write, plugins, change):
    file = write(SMALLEST)
    assert load_recipe(file, [change], plugins=plugins).digest != load_recipe(file, plugins=plugins).digest


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[loss]\nalpha = 2", "r.toml:12:1: loss.alpha: must be at most 1, is 2"),
        ("[loss]\nalpha = -0.5", "r.toml:12:1: loss.alpha: must be at least 0, is -0.5"),
        ("[loss]\ntemperature = 0", "r.toml:12:1: loss.temperature: must be greater than 0, is 0"),
        ("[loss]\ntemperature = nan", "r.toml:12:1: loss.temperature: must be a finite number, is nan"),
        ("[loss]\ntemperature = '1'", 'r.toml:12:1: loss.temperature: must be a number, is "1"'),
        ("[loss]\ntemperature = true", "r.toml:12:1: loss.temperature: must be a number, is true"),
        ("[loss]\nalhpa = 1", 'r.toml:12:1: loss.alhpa: is not an option of loss "kd"; did you mean "alpha"?'),
        ("[loss]\nx = 1", 'r.toml:12:1: loss.x: is not an option of loss "kd"; available: alpha, temperature'),
        ("[loss]\ntau = 1", 'r.toml:12:1: loss.tau: is not an option of loss "kd"; did you mean "temperature"?'),
        ("[loss]\nbeams = 1", 'r.toml:12:1: loss.beams: is not an option of loss "kd"; did you mean "generation.beams"?'),
        ("[generation]\nmin_p = 0.1", "r.toml:12:1: generation.min_p: is not an option of [generation]; texts are drawn where temperature is above 0; available: beams, max_new_tokens, early_stopping, batch_size, min_new_tokens, length_penalty, no_repeat_ngram_size, temperature, top_p, top_k, seed"),
        ("[generation]\nbeams = 4\ntemperature = 0.7", "r.toml:11:2: generation: temperature is 0.7 and beams is 4, but a text is either drawn or searched for; set beams to 1, or leave temperature out"),
        ("[generation]\nbeams = 1\ntop_p = 0.9", "r.toml:11:2: generation: top_p is 0.9, but temperature is 0, so no text is drawn; set temperature above 0, or leave top_p out"),
        ("[training]\nsteps = 3", 'r.toml:12:1: training.steps: is not an option of [training]; did you mean "max_steps"?'),
        ("[training]\nlr = 1e-3", 'r.toml:12:1: training.lr: is not an option of [training]; did you mean "learning_rate"?'),
        ("[training]\ndevice = 'cpu'", 'r.toml:12:1: training.device: is not an option of [training]; did you mean "device"?'),
        ("[teacher.fine_tune]\nnum_train_epochs = 1", 'r.toml:12:1: teacher.fine_tune.num_train_epochs: is not an option of [teacher.fine_tune]; did you mean "epochs"?'),
        ("[loss]\nname = 'kdd'", 'r.toml:12:1: loss.name: unknown loss "kdd"; did you mean "kd"?'),
        ("[loss]\nname = 3", "r.toml:12:1: loss.name: must be text, is 3"),
        ("[codec]\nscope = 'rows'", 'r.toml:12:1: codec.scope: must be "row" or "array", is "rows"; did you mean "row"?'),
        ("[training]\nepochs = '3'", 'r.toml:12:1: training.epochs: must be a whole number, is "3"'),
        ("[training]\nepochs = 3.0", "r.toml:12:1: training.epochs: must be a whole number, is 3.0"),
        ("[training]\nepochs = true", "r.toml:12:1: training.epochs: must be a whole number, is true"),
        ("[training]\nshuffle = 1", "r.toml:12:1: training.shuffle: must be true or false, is 1"),
        ("[training]\nschedule = 1979-05-27", "r.toml:12:1: training.schedule: must be text, is the date or time 1979-05-27"),
        (
            "[training]\nbest_by = 'txt.f1'",
            'r.toml:12:1: training.best_by: must be one of loss, hard, soft, text.METRIC, is "txt.f1"; the suites are listed in [evaluation]',
        ),
        ("[trainig]", 'r.toml:11:2: trainig: is not a key or section of a recipe; did you mean "training"?'),
        ("[evaluation]\nsuites = 'text'", 'r.toml:12:1: evaluation.suites: must be a list, is "text"'),
        ("[evaluation]\nsuites = ['text', 'txet']", 'r.toml:12:19: evaluation.suites[1].name: unknown metric suite "txet"; did you mean "text"?'),
        ("[evaluation]\nsuites = ['text', 'text']", 'r.toml:12:1: evaluation.suites: lists "text" more than once'),
        ("[evaluation]\nsuites = ['text', {strict = true}]", "r.toml:12:19: evaluation.suites[1]: needs a name, one of: loose, text"),
        ("[[training]]", "r.toml:11:3: training: must be a table, is [a table]"),
        ("[teacher.fine_tune]\nepochs = 0", "r.toml:12:1: teacher.fine_tune.epochs: must be at least 1, is 0"),
        ("[teacher.shape]\nwidth = 0\nlayers = 1", "r.toml:12:1: teacher.shape.width: must be at least 1, is 0"),
        ("[teacher.shape]", "r.toml:11:10: teacher.shape.layers: is missing: Layers."),
        ("[data.extra]\nx = [1, {y = 07:32:00}]", "r.toml:12:10: data.extra.x[1].y: must be text, a number, true, false, a list or a table, is the date or time 07:32:00"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_with_its_place(problems, line, problem):
    assert problems(SMALLEST + line) == [problem]


@pytest.mark.parametrize(
    ("best_by", "hint"),
    [
        ("f1", '; did you mean "text.f1"?'),
        ("txt.f1", '; did you mean "text.f1"?'),
        ("sot", '; did you mean "soft"?'),
        ("zzz", "; the suites are listed in [evaluation]"),
    ],
)
def test_a_best_by_that_names_no_suite_is_answered_with_the_metrics_that_there_are(best_by, hint):
    with pytest.raises(RecipeError) as raised:
        load_recipe(
            "quickstart",
            [f"training.best_by={best_by}", "teacher.fine_tune.best_by=loss", 'evaluation.suites=["text"]'],
        )
    metrics = "text.exact_match, text.f1, text.similarity"
    assert list(raised.value.problems) == [
        (
            f"-o training.best_by={best_by}: training.best_by: must be one of loss, hard, soft, {metrics}, "
            f'is "{best_by}"{hint}'
        )
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("seed = -1", "r.toml:1:1: seed: must be at least 0, is -1"),
        ("alpha = 0.3", 'r.toml:1:1: alpha: is not a key or section of a recipe; did you mean "loss.alpha"?'),
        ("lr = 0.3", 'r.toml:1:1: lr: is not a key or section of a recipe; did you mean "training.learning_rate"?'),
        ("batch_size = 2", 'r.toml:1:1: batch_size: is not a key or section of a recipe; did you mean "training.batch_size" or "generation.batch_size"?'),
        ("learnig_rate = 2", 'r.toml:1:1: learnig_rate: is not a key or section of a recipe; did you mean "training.learning_rate"?'),
        ("device = 'gpu'", 'r.toml:1:1: device: must be "auto", "cpu", "cuda", "cuda:N" or "mps", is "gpu"'),
        ("name = 'a/b'", 'r.toml:1:1: name: must be usable as the name of a folder, is "a/b"'),
        ("name = ''", 'r.toml:1:1: name: must be usable as the name of a folder, is ""'),
        ("loss = 'kd'", 'r.toml:1:1: loss: must be a table, is "kd"; write loss.name = "kd"'),
        ("requires = ['kd kit']", 'r.toml:1:13: requires[0]: must be the name of a distribution, as in "kdkit-assertions>=0.1", is "kd kit"'),
        ("requires = ['no-such-thing']", "r.toml:1:13: requires[0]: needs plugin no-such-thing, which is not installed: pip install no-such-thing"),
        ("requires = ['no-such-thing>=2']", "r.toml:1:13: requires[0]: needs plugin no-such-thing, which is not installed: pip install 'no-such-thing>=2'"),
        ("requires = ['attrs']", 'r.toml:1:13: requires[0]: needs plugin attrs, which is installed but has no entry point in the group "kdkit"'),
    ],
)  # fmt: skip
def test_a_wrong_key_before_the_sections_is_named_with_its_place(problems, line, problem):
    assert problems(f"{line}\n{SMALLEST}") == [problem]


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(problems):
    found = problems(
        "seed = 'x'\n[student]\nname = 'small'\nmodel = 'm'\nmodle = 'm'\n"
        "[loss]\nalpha = 'y'\ntemperature = -1\n[data]\nname = 'rows'\n[generation]\nbeams = 0\nmax_new_tokens = false\n"
    )
    assert [problem.split(": ")[:2] for problem in found] == [
        ["r.toml:1:1", "seed"],
        ["r.toml:1:1", "teacher"],
        ["r.toml:5:1", "student.modle"],
        ["r.toml:7:1", "loss.alpha"],
        ["r.toml:8:1", "loss.temperature"],
        ["r.toml:9:2", "data.path"],
        ["r.toml:12:1", "generation.beams"],
        ["r.toml:13:1", "generation.max_new_tokens"],
    ]


def test_required_sections_and_their_names_must_be_there(problems):
    assert problems("[data]\npath = 'x'\n[student]\nname = 'small'\nmodel = 'm'\n") == [
        "r.toml:1:1: teacher: is missing: a recipe needs [teacher] with a name, one of: big, tape",
        "r.toml:1:2: data: needs a name, one of: rows",
    ]


def test_a_validator_that_looks_at_several_options_is_heard_once_they_are_sound(problems, write, plugins):
    text = SMALLEST.replace('model = "m"', "")
    assert problems(text + "shapes = []") == [
        "r.toml:11:1: student.shapes: needs either model or shapes, not both or none"
    ]
    assert problems(text + "shapes = [{layers = 0}, {layers = 1, width = 'w'}]") == [
        "r.toml:11:12: student.shapes[0].layers: must be at least 1, is 0",
        'r.toml:11:38: student.shapes[1].width: must be a whole number, is "w"',
    ]  # fmt: skip
    recipe = load_recipe(write(text + "shapes = [{layers = 2}]"), plugins=plugins)
    assert recipe.student.shapes == (Shape(layers=2),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = \nb = 1", "r.toml:1:5: is not valid TOML: invalid value"),
        ("[data]\nx = 1\nx = 2", "r.toml:3:6: is not valid TOML: cannot overwrite a value"),
        ("x = [1,\n", "r.toml:1:1: is not valid TOML: what begins here is not closed: invalid value"),
    ],
)
def test_a_fault_of_toml_is_named_with_its_place(problems, text, problem):
    assert problems(text) == [problem]


def test_text_that_is_not_utf_8_is_refused_and_a_byte_order_mark_is_not(tmp_path, plugins):
    file = tmp_path / "r.toml"
    file.write_bytes(b"name = 'x'\ndescription = '\xe4'")
    with pytest.raises(RecipeError, match=r"r\.toml:2:1: is not UTF-8 text"):
        load_recipe(file, plugins=plugins)
    file.write_text("\ufeff" + SMALLEST, encoding="utf-8")
    assert load_recipe(file, plugins=plugins).data.path == "rows.jsonl"


def test_a_recipe_that_is_not_there_is_named_with_one_that_is_nearly_spelt_so(write, plugins, tmp_path):
    write(SMALLEST, "first_try.toml")
    with pytest.raises(MissingInput, match=r'no recipe "frist_try.toml".*did you mean "first_try.toml"\?') as caught:
        load_recipe("frist_try.toml", plugins=plugins)
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="is a folder"):
        load_recipe(tmp_path, plugins=plugins)


def test_a_component_that_cannot_be_imported_is_a_problem_of_the_recipe_that_names_it(write, monkeypatch):
    from kdkit.plugins import Entry, Plugins

    plugins = fake_plugins(monkeypatch)
    entry = Entry(kind="losses", name="gone", target="no_such_module_of_ours:Loss", plugin="p")
    plugins = Plugins(entries={**plugins.entries, ("losses", "gone"): entry}, loaded=plugins.loaded)
    assert load_recipe(write(SMALLEST), plugins=plugins).names["loss"] == "kd"
    with pytest.raises(RecipeError, match=r'r\.toml:12:1: loss\.name: loss "gone" of plugin p cannot be imported'):
        load_recipe(write(SMALLEST + "[loss]\nname = 'gone'"), plugins=plugins)


def test_tables_from_python_load_like_a_file(plugins, write, tmp_path):
    table = {
        "data": {"name": "rows", "path": tmp_path, "columns": ("a", "b")},
        "teacher": {"name": "big", "fine_tune": None},
        "student": {"name": "small", "model": "m"},
    }
    recipe = load_recipe(table, plugins=plugins)
    assert recipe.data == Rows(path=str(tmp_path), columns=("a", "b"))
    assert recipe.teacher.fine_tune is None
    assert recipe.path is None
    with pytest.raises(RecipeError, match=r"^<dict>: loss\.alpha: must be at most 1, is 3$"):
        load_recipe({**table, "loss": {"alpha": 3}}, plugins=plugins)


def test_a_required_plugin_that_is_disabled_or_broken_is_said_to_be(write, plugins):
    import attrs

    from kdkit.plugins import Failure

    file = write("requires = ['My_Plugin']\n" + SMALLEST)
    with pytest.raises(RecipeError, match="needs plugin My_Plugin, which KDKIT_DISABLE_PLUGINS disables"):
        load_recipe(file, plugins=attrs.evolve(plugins, disabled=("my-plugin",)))
    broken = attrs.evolve(plugins, failures=(Failure(plugin="my-plugin", cause="ImportError: no torch"),))
    with pytest.raises(RecipeError, match="needs plugin My_Plugin, which failed to load: ImportError: no torch"):
        load_recipe(file, plugins=broken)
    old = attrs.evolve(plugins, loaded={"my-plugin": "1.0"})
    assert load_recipe(file, plugins=old).requires == ("My_Plugin",)
    with pytest.raises(
        RecipeError, match=r"needs My-Plugin>1, but version 1\.0 is installed: pip install 'My-Plugin>1'"
    ):
        load_recipe(file, ["requires=['My-Plugin>1']"], plugins=old)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"min_new_tokens": 8, "max_new_tokens": 8}, "min_new_tokens is 8, but a text has 8 tokens at most"),
        ({"beams": 1, "length_penalty": 2.0}, "length_penalty is 2, but beams is 1"),
        ({"length_penalty": float("nan")}, "length_penalty"),
    ],
)
def test_an_option_of_generation_that_another_leaves_without_effect_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Generation(**options)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x = " + "[" * 5000 + "]" * 5000, "r.toml:1:69: it is nested more than 64 levels deep"),
        ("x." * 3000 + "x = 1", "r.toml:1:1: a key has more than 64 parts"),
        ("seed = 1" + "0" * 400, "r.toml:1:8: a whole number of 401 digits is beyond 64 bits"),
        ("seed = 1" + "0" * 5000, "r.toml:1:8: a number has more than 4,300 digits"),
    ],
)
def test_what_no_function_could_walk_or_compute_is_one_sentence(problems, line, said):
    assert problems(f"{line}\n{SMALLEST}") == [said]


def test_a_number_beyond_64_bits_is_refused_wherever_it_comes_from(problems, plugins):
    huge = "1" + "0" * 30
    assert problems(SMALLEST, f"teacher.config.d_model={huge}") == [
        f"-o teacher.config.d_model={huge}: a whole number of 31 digits is beyond 64 bits"
    ]
    with pytest.raises(RecipeError, match=r"<dict>: .*a whole number of 31 digits is beyond 64 bits"):
        load_recipe({"seed": 10**30}, plugins=plugins)


def test_a_recipe_is_no_data_set(problems):
    found = problems(SMALLEST + "# " + "x" * 5_000_000)
    assert found == ["r.toml has 5.0 MB, but kdkit reads at most 4.2 MB there"]


def test_of_very_many_unknown_keys_some_are_named_and_the_others_counted(problems):
    found = problems(SMALLEST + "[training]\n" + "".join(f"key{number} = 1\n" for number in range(30_000)))
    assert len(found) == 21
    assert "training: has 29,980 more keys, none of them an option of [training]" in found[0]
    assert "training.key19: is not an option of [training]" in found[-1]
    found = problems("".join(f"key{number} = 1\n" for number in range(300)) + SMALLEST)
    assert len(found) == 21
    assert "is one of 280 more unknown keys" in found[-1]


def test_of_very_many_wrong_values_some_are_said_and_the_others_counted(problems):
    found = problems(SMALLEST + "[evaluation]\nsuites = [" + "1, " * 3000 + "]")
    assert len(found) == 201
    assert found[-1].endswith("2,800 more problems up to here; correct the ones above first")
