"""Programs to read, each run by a test."""
