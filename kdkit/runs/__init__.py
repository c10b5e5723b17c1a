"""The folder of a run: its record, its model cards, and the numbers that trackers are sent."""
