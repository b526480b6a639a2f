"""HDF5 files whose every change is all or nothing, whatever is in them. It knows nothing of surprisal.

In: writes through h5py. Out: a file that a kill, a full disk or a power cut leaves whole; snapshots for readers.
Neighbours: `runfile` says what is in such a file; below it are only the exceptions.
"""
