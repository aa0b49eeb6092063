"""Bulk generation: a table of prompts to a data set of videos."""
