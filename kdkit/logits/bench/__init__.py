"""How good codecs are on real logits: bytes, speed, and what they do to the distribution and to a student's gradient.

material = read_tensors(Path("real.safetensors"))
coders = [prepared(contender, material) for contender in default_contenders(plugins.load())]
measurement = measure(material, coders, temperatures=(1.0, 2.0))
"""

from __future__ import annotations

from kdkit.logits.bench.contenders import Coder, Contender, default_contenders, parse_contender, prepared
from kdkit.logits.bench.measures import Measurement, measure
from kdkit.logits.bench.plot import check_plot, draw_plot
from kdkit.logits.bench.records import Material, Record
from kdkit.logits.bench.results import Result
from kdkit.logits.bench.tensors import read_tensors

__all__ = [
    "Coder",
    "Contender",
    "Material",
    "Measurement",
    "Record",
    "Result",
    "check_plot",
    "default_contenders",
    "draw_plot",
    "measure",
    "parse_contender",
    "prepared",
    "read_tensors",
]
