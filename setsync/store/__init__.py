"""Where the set is kept: plain functions over LMDB, and the same contract in memory."""
