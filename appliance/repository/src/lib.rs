//! The WORM store: open and sealed segments, recovery points, recovery after a crash.
