//! Backup, verify, restore: what is to be done, in which order, and what must be undone.
