"""Analysis of an AnnData of measured or predicted expression: regions, genes, gene sets, confidence."""
