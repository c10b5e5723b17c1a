"""Measures codecs on real logits: bytes, speed, and their effect on the distribution and on a student's gradient.

material = read_tensors(Path("real.safetensors"))
coders = [fit_candidate(candidate, material) for candidate in default_candidates(plugins.load())]
measurement = measure(material, coders, temperatures=(1.0, 2.0))
"""

from __future__ import annotations

from kdkit.logits.bench.candidates import Candidate, Coder, default_candidates, fit_candidate, parse_candidate
from kdkit.logits.bench.measures import Measurement, measure
from kdkit.logits.bench.plot import check_plot, draw_plot
from kdkit.logits.bench.records import Material, Record
from kdkit.logits.bench.results import Result
from kdkit.logits.bench.tensors import read_tensors

__all__ = [
    "Candidate",
    "Coder",
    "Material",
    "Measurement",
    "Record",
    "Result",
    "check_plot",
    "default_candidates",
    "draw_plot",
    "fit_candidate",
    "measure",
    "parse_candidate",
    "read_tensors",
]
