"""The parts of tests/verify.py: the second, independent implementation of the format."""
