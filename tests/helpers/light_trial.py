"""A trial as far as a sweep can see: a script that locks its folder, keeps run.json, and leaves when it is told to."""

from __future__ import annotations

TRIAL = """
import json, signal, sys, time
from pathlib import Path
from filelock import FileLock
place, digest, marks, seconds = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
def say(status):
    table = {"name": "t", "recipe_digest": digest, "status": status, "stages": {}}
    (place / "run.json.new").write_text(json.dumps(table)); (place / "run.json.new").replace(place / "run.json")
def leave(number, frame):
    say("interrupted"); sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, leave)
with FileLock(place / ".lock", timeout=0):
    with marks.open("a") as file: file.write(place.name + "\\n")
    say("running")
    time.sleep(seconds)
    for name in ("recipe.toml", "evaluation.json", "rows.npz"): (place / name).touch()
    say("done")
"""
