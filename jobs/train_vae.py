"""Trains the autoencoder of a checkpoint on captioned clips, by Ray Train."""

from jobs.run_command import run_command
from jobs.training.start import training_app

app = training_app("vae")

if __name__ == "__main__":
    run_command(app)
