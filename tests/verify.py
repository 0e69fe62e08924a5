#!/usr/bin/env python3
"""Offline verifier of a Holdfast repository: a disk taken out of the box, a copy, one volume alone.

    verify.py check DIR [--vkey VKEY] [--key-file FILE] [--json OUT] [--full]
    verify.py extract DIR POINT DISK-NUMBER OUT [--key-file FILE] [--holes]
    verify.py proof DIR INDEX
    verify.py consistency DIR OLD-HEAD

The second implementation of format 2, written from the text of appliance/format/FORMAT.md alone,
so that neither the text nor the appliance is its own judge. It only reads. Bytes that are wrong
become findings, never a traceback; nothing is allocated by a length that was not checked. It needs
Python 3.11 and, from PyPI, blake3, PyNaCl and zstandard.

What it does not do: it repairs nothing. The parity is computed anew and compared.

Exit code: 0 all right, 1 damage found, 2 it cannot be checked (or a wrong call).
"""

import sys

from verifier.commands import main

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.exit(main())
