"""What training needs and serving does not: data to learn from, objectives, checkpoints."""
