"""The recipe of tests of the command line, with rows in two files beside it: as it is checked, and as it is run."""

_TEXT = """\
[data]
name = "jsonl"
train = "train.jsonl"
validation = "valid.jsonl"
source = "text"
target = "answer"

+[tokens]
+max_source = 32
+max_target = 16
+
[teacher]
name = "hf-seq2seq"
+vocab_size = 280
config = { model_type = "t5", d_model = 16, d_ff = 16, num_layers = 2, num_heads = 2, d_kv = 8, dropout_rate = 0.0 }

[student]
name = "hf-seq2seq"
from_teacher = { encoder_layers = [0], decoder_layers = [0] }

+[codec]
+name = "u8-lz4"
+
[loss]
+name = "kd"
alpha = 0.5
temperature = 2.0

[training]
epochs = 1
+batch_size = 8
learning_rate = 1e-3
best_by = "loss"

+[generation]
+beams = 1
+max_new_tokens = 7
+batch_size = 8
+
[evaluation]
suites = ["text"]
+bootstrap = 20
"""
"""Lines with a plus are for runs, so that every part of one is small."""
RECIPE = "".join(f"{line}\n" for line in _TEXT.splitlines() if not line.startswith("+"))
SMALL = _TEXT.replace("\n+", "\n")
