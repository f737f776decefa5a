"""The parts of ``benchmarks.report``: result files, tables, comparisons, pictures and the two pages."""
