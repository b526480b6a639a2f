"""HDF5 files whose every change is all or nothing, whatever is in them. It knows nothing of surprisal.

In: writes through h5py. Out: a file that a kill, a full disk or a power cut leaves whole; snapshots for readers.
Neighbours: `runfile` says what is in such a file; below it are only the exceptions.

Table of contents:
    journal: `JournaledFile`, the writer's handle: transactions, commit, recovery.
    committed: `snapshot`, a consistent read-only view beside a writer or after a crash.
    redolog: the journal beside the file, and the writer's lock on it.
    overlay: the file object that h5py writes to instead of the file.
    objectfile: HDF5 files on such objects, closed before Python ends.
    birth: a new file appears whole or not at all. replacing: the same of files of other kinds.
    stateblock: the file's own note of which commits it holds.
    filelock: keeping readers out for the moment of copying. descriptors, diskio: the calls to the system.
    hdf5/: HDF5's own bytes.
"""
