"""Benchmarks: what the README quotes is written by these commands."""
