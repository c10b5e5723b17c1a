"""A teacher that is not a model: how often one token followed another in the targets of the training rows."""

import hashlib

import attrs
import numpy as np

import kdkit
from kdkit.api import Prediction, TeacherBlock, positive
from kdkit.errors import MissingInput


@attrs.frozen(kw_only=True)
class Bigrams:
    """What followed a token in the training rows' targets; a floor for any teacher that is a model."""

    tokenizer: str = kdkit.option("Folder or hub name of the tokenizer, which the student needs too.")
    smoothing: float = kdkit.option("Added to every count.", default=0.01, check=positive)

    # It is asked as it is: no fine-tuning, no weights, no folder.
    fine_tune = None
    is_made_here = False
    model_kind = None

    def model_config(self, tokenizer):
        """It is not a model of transformers."""

    def find_folder(self):
        """It has no folder."""

    def build(self, corpus, *, seed, device):
        """Never called: `is_made_here` is false."""
        raise AssertionError("there is nothing to train")

    def load_tokenizer(self, corpus):
        """The named one."""
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self.tokenizer)
        except OSError as error:
            raise MissingInput(f"there is no tokenizer {self.tokenizer}: {error}") from error

    def open(self, folder, source, corpus, *, device):
        """Counts the pairs of tokens."""
        tokenizer = self.load_tokenizer(corpus)
        counts_VV = np.full((len(tokenizer), len(tokenizer)), self.smoothing)
        for ids in tokenizer(text_target=[row.target for row in corpus.train])["input_ids"]:
            np.add.at(counts_VV, ([tokenizer.pad_token_id, *ids[:-1]], ids), 1)
        logits_VV = np.log(counts_VV / counts_VV.sum(1, keepdims=True)).astype(np.float32)
        return OpenBigrams(tokenizer=tokenizer, logits_VV=logits_VV)


@attrs.frozen(kw_only=True, eq=False)
class OpenBigrams:
    """The counts as logits: row i is what follows token i."""

    tokenizer: object
    logits_VV: np.ndarray

    @property
    def identity(self):
        """Captured logits are found again by this: a digest of whatever they depend on."""
        return hashlib.sha256(self.logits_VV.tobytes()).hexdigest()

    @property
    def vocab_size(self):
        """Width of the logits."""
        return self.logits_VV.shape[1]

    def groups(self, rows):
        """No row depends on another."""
        return [[row] for row in rows]

    def logits(self, rows, progress, *, done=()):
        """Row i of a block is about label i, so it follows the label before."""
        for row in rows:
            if row.id not in done:
                before = [self.tokenizer.pad_token_id, *row.target_ids[:-1]][: len(row.target_ids)]
                yield TeacherBlock(id=row.id, logits_TV=self.logits_VV[before])

    def generate(self, rows, options, *, done=()):
        """The likeliest token after each, the same for every row."""
        ids = [self.tokenizer.pad_token_id]
        while len(ids) <= options.max_new_tokens and ids[-1] != self.tokenizer.eos_token_id:
            ids.append(int(self.logits_VV[ids[-1]].argmax()))
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        for row in rows:
            if row.id not in done:
                yield Prediction(id=row.id, text=text, is_cut=ids[-1] != self.tokenizer.eos_token_id)

    def close(self):
        """Nothing to free."""
