"""Age of acquisition by a sigmoid, the paper's second variant.

Table of contents:
    sigmoid: the measure.
    least_squares: the fit, all tokens at once.
    released_sigmoid: the values of the paper's released code, which fits otherwise.
"""
