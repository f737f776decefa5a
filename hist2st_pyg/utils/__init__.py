"""What every room uses and no field of science owns: files, choices by key, optional packages, processes, threads."""
