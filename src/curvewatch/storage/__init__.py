"""HDF5 files whose every change is all or nothing, whatever is in them.

Table of contents:
    journal: `JournaledFile`, the writer's handle: transactions, commit, recovery.
    committed: `snapshot`, a consistent read-only view beside a writer or after a crash.
    redolog: the journal beside the file, and the writer's lock on it.
    overlay: the file object that h5py writes to instead of the file.
    objectfile: HDF5 files on such objects, closed before Python ends.
    birth: a new file appears whole or not at all.
    stateblock: the file's own note of which commits it holds. superblock: HDF5's note of where the file ends.
    filelock: keeping readers out for the moment of copying. descriptors, diskio: the calls to the system.
"""
