"""Helpers for every room, free of science: files, choices by key, optional packages, processes, threads."""
