"""Metrics on arrays: agreement of predictions with measurements, and the ceiling set by counting noise."""
