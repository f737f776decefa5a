"""Helpers that every other module may import: files, choices by key, optional packages, processes, threads."""
