"""The stages of a run, a module each, named and put in order by `kdkit.runs.stage.STAGE_NAMES`.

Each module ends with its `STAGE`. A stage reads what earlier ones left in the run folder and told, and calls none of
them.
"""
