"""What jobs/export.py is made of: a run's rows, and each layout that they are written in."""
