# SPDX-License-Identifier: GPL-2.0-only
"""What makes the kernel migrate: one file each, probing what the guest has.

A trigger's functions do one thing each and return a ``Done``; ``Attempts`` (attempt.py) makes of
it the same event whatever it was, with the counters around it. A scenario that takes them looks
like this:

    attempts = Attempts(record, window)
    with drive(record, window):
        for block in offline.blocks(guest):
            attempts.make("offline", block.name, lambda: offline.offline(guest, block))
"""
