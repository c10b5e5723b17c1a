"""The machine: files, devices, processes, signals, progress, words. Nothing here knows what kdkit is for."""
