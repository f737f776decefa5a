"""What ``benchmarks.report`` is made of: result files, tables, comparisons, pictures and the two pages."""
