"""Benchmarks: these commands write the numbers that the README quotes."""
