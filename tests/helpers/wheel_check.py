"""Run where only the built wheels are installed, away from the checkout: what was packed is what works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KDKIT = [sys.executable, "-m", "kdkit"]


def run(*arguments: str) -> str:
    return subprocess.run([*KDKIT, *arguments], check=True, capture_output=True, text=True).stdout


names = [recipe["name"] for recipe in json.loads(run("recipes", "list", "--json"))]
assert {"quickstart", "codet5_assert", "codet5_assert_live"} <= set(names), names
plugins = json.loads(run("plugins", "list", "--json"))
assert "python-tests" in json.dumps(plugins), plugins
assert "optuna" in json.dumps(plugins), plugins
run("recipes", "validate", "quickstart")
config = (
    "{ model_type = 't5', d_model = 16, d_ff = 32, d_kv = 8, num_heads = 2, num_layers = 1, num_decoder_layers = 1 }"
)
Path("tiny.toml").write_text(
    f"""
data = {{ name = "python-tests", packages = ["networkx"], train_rows = 64, validation_rows = 8, test_rows = 8 }}
tokens = {{ max_source = 32, max_target = 16 }}
teacher = {{ name = "hf-seq2seq", vocab_size = 300, config = {config} }}
student = {{ name = "hf-seq2seq", config = {config} }}
training = {{ epochs = 1, batch_size = 16, best_by = "loss" }}
generation = {{ beams = 1, max_new_tokens = 7, batch_size = 8 }}
evaluation = {{ suites = ["assertions", "text"] }}
""",
    encoding="utf-8",
)
evaluation = json.loads(run("run", "tiny.toml", "--json"))
assert evaluation["scores"], evaluation
assert "<html" in Path("runs/tiny/report.html").read_text(encoding="utf-8")
predictions = run("predict", "runs/tiny", "--input", "runs/tiny/data/test.jsonl").splitlines()
assert len(predictions) == 8, predictions
print("the wheels work: recipes, plugins, a run, a report, predictions")
