"""Trains stage one of a checkpoint on captioned clips, by Ray Train."""

from jobs.run_command import run_command
from jobs.training.start import training_app

app = training_app("stage_one")

if __name__ == "__main__":
    run_command(app)
