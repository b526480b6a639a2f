"""The measures: one definition a file, pure numpy, shared by the live side and the analysis."""
