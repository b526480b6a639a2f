"""Text as it grows: the live model continues fixed prompts. Off unless a watch is given some.

Table of contents:
    prompts: Prompts, which texts are continued, how and when.
    sampler: TextSampler, the live model continues them, undisturbed.
    choice: the choice of the next token.
    sample: Sample, what it wrote; its table and scalars.
    repetition: how much of a text's end repeats.
"""
