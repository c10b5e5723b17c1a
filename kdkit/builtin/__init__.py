"""The components that ship with kdkit, registered through the same hooks as anyone's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.api.hookspecs import hookimpl

if TYPE_CHECKING:
    from kdkit.api.hookspecs import Register


@hookimpl
def register_datasets(register: Register) -> None:
    """JSON, tables, folders of text, and what the library datasets reads."""
    register("jsonl", "kdkit.builtin.datasets.jsonl:Jsonl")
    register("table", "kdkit.builtin.datasets.table:Table")
    register("text-files", "kdkit.builtin.datasets.text_files:TextFiles")
    register("hf-dataset", "kdkit.builtin.datasets.hf_dataset:HfDataset")


@hookimpl
def register_teachers(register: Register) -> None:
    """Hugging Face models, logits that came with the data, and log-probabilities that another tool kept."""
    register("hf-causal", "kdkit.builtin.teachers.hf_causal:HFCausalTeacher")
    register("hf-seq2seq", "kdkit.builtin.teachers.hf_seq2seq:HFSeq2SeqTeacher")
    register("imported", "kdkit.builtin.teachers.imported:ImportedTeacher")
    register("recorded", "kdkit.builtin.teachers.recorded:RecordedTeacher")


@hookimpl
def register_students(register: Register) -> None:
    """Hugging Face models."""
    register("hf-causal", "kdkit.builtin.students.hf_causal:HFCausalStudent")
    register("hf-seq2seq", "kdkit.builtin.students.hf_seq2seq:HFSeq2SeqStudent")


@hookimpl
def register_codecs(register: Register) -> None:
    """Eight or four bits with LZ4, plain floats, the largest logits, samples, and coordinates in a subspace."""
    register("u4-lz4", "kdkit.builtin.codecs.u4_lz4:U4LZ4")
    register("u8-lz4", "kdkit.builtin.codecs.u8_lz4:U8LZ4")
    register("float", "kdkit.builtin.codecs.float_:Float")
    register("topk", "kdkit.builtin.codecs.topk:TopK")
    register("sampled", "kdkit.builtin.codecs.sampled:Sampled")
    register("subspace", "kdkit.builtin.codecs.subspace:Subspace")


@hookimpl
def register_losses(register: Register) -> None:
    """The soft and hard loss of knowledge distillation."""
    register("kd", "kdkit.builtin.losses.kd:KD")


@hookimpl
def register_metrics(register: Register) -> None:
    """Comparison of plain text."""
    register("text", "kdkit.builtin.metrics.text:Text")


@hookimpl
def register_trackers(register: Register) -> None:
    """TensorBoard, Weights & Biases, trackio."""
    register("tensorboard", "kdkit.builtin.trackers.tensorboard:TensorBoard")
    register("wandb", "kdkit.builtin.trackers.wandb:WandB")
    register("trackio", "kdkit.builtin.trackers.trackio:Trackio")
