"""A finished run's student scored again, without any training: `kdkit evaluate`."""
