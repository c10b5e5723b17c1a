"""Reports, made from folders alone: of a run (`run.py`), of a sweep (`sweep.py`), of any runs side by side."""
