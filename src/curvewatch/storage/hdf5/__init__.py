"""HDF5's own bytes, as its format specification gives them: read without the library, before it is trusted with them.

Table of contents:
    superblock: HDF5's note of where the file ends.
    objectheader: where a dataset's chunks are.
    blockcheck: whether the metadata blocks of a file hold together.
    unpacking: whether packed chunks hold what they declare.
"""
