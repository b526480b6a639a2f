"""The penalised smoother behind age of acquisition and forgettability: a spline of surprisal over log10 steps.

Table of contents:
    splines: the basis and its penalty.
    smoothing: the fit, its strength chosen by generalised cross-validation.
    growing: the same while rows are still coming.
    products: sums over curves that don't depend on how many there are.
"""
