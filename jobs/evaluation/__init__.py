"""Evaluation on Ray Data: what `evaluate` and `report_results` share."""
