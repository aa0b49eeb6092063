"""What the training jobs share: objectives, data, checkpoints."""
