"""Trains stage one of a checkpoint on captioned clips, by Ray Train."""

from jobs.training.start import run_cli, training_app

app = training_app("stage_one")

if __name__ == "__main__":
    run_cli(app)
