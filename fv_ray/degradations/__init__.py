"""Corruptions applied on purpose, so that stage two learns to join stage one without a seam."""
