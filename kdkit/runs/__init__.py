"""What a run leaves: its folder, its record, its model cards, and the numbers that trackers are sent."""
