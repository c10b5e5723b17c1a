"""A codec: each logit as one byte, counted from the largest of its row."""

import struct

import attrs
import numpy as np

import kdkit
from kdkit.api import positive
from kdkit.errors import DamagedData, UsageError

# The shape comes first: the record then says of what it is, and any other shape is refused.
HEADER = struct.Struct("<II")
FLOAT = np.dtype("<f4")
MASKED = 0
SMALLEST, LARGEST = 1, 255


@attrs.frozen(kw_only=True)
class RowBytes:
    """One byte a logit: how far it lies below the largest of its row, in even steps."""

    below: float = kdkit.option(
        "What lies further below the largest counts as this far, in nats.", default=32.0, check=positive
    )

    @property
    def step(self):
        """From one code to the next; a logit comes back within half of it."""
        return self.below / (LARGEST - SMALLEST)

    def encode(self, block):
        """Shape, the largest logit of every row, codes."""
        logits_TV = block.logits_TV.astype(np.float64)
        largest_T1 = logits_TV.max(1, keepdims=True)
        if not np.isfinite(largest_T1).all():
            raise UsageError(f'row "{block.id}" has a token all of whose logits are masked (-inf); leave the row out')
        steps_TV = np.rint(np.minimum(largest_T1 - logits_TV, self.below) / self.step)
        codes_TV = np.where(np.isneginf(logits_TV), MASKED, LARGEST - steps_TV).astype(np.uint8)
        return HEADER.pack(*logits_TV.shape) + largest_T1.astype(FLOAT).tobytes() + codes_TV.tobytes()

    def decode(self, payload, *, tokens, vocab_size):
        """The logits; what is not such a record raises DamagedData, and nothing else."""
        size = HEADER.size + tokens * (FLOAT.itemsize + vocab_size)
        if len(payload) != size or HEADER.unpack_from(payload) != (tokens, vocab_size):
            raise DamagedData(f"{len(payload)} bytes are not {tokens} x {vocab_size} logits, which take {size}")
        largest_T1 = np.frombuffer(payload, FLOAT, tokens, HEADER.size).reshape(tokens, 1).astype(np.float64)
        if not np.isfinite(largest_T1).all():
            raise DamagedData("the largest logit of a row is not finite")
        codes_TV = np.frombuffer(payload, np.uint8, offset=HEADER.size + tokens * FLOAT.itemsize)
        codes_TV = codes_TV.reshape(tokens, vocab_size).astype(np.float64)
        logits_TV = largest_T1 - (LARGEST - codes_TV) * self.step
        return np.where(codes_TV == MASKED, -np.inf, logits_TV).astype(np.float32)

    def bytes_per_token(self, vocab_size):
        """At most this: a record may be of a single token, and the whole header is then that token's."""
        return HEADER.size + FLOAT.itemsize + vocab_size
