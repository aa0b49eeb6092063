"""Training on Ray Train: what the training jobs share."""
