"""Trains stage two of a checkpoint on captioned clips, by Ray Train."""

from jobs.training.start import run_cli, training_app

app = training_app("stage_two")

if __name__ == "__main__":
    run_cli(app)
