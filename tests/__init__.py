"""The tests: they mirror the rooms, and `policy` holds the rules of the house."""
