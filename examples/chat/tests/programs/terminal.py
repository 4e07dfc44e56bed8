"""Runs a program in a terminal, types half a line, waits for a text, and says what the terminal drew after it.

    python3 terminal.py TYPED TEXT PROGRAM FLAGS..

Prints `typed` once the terminal shows what was typed, and what was drawn with TEXT, as a Python string.
"""

import os
import pty
import select
import sys

PATIENCE = 60  # seconds


def main():
    typed, text, *program = sys.argv[1:]
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm", NO_COLOR="1")
        os.execv(program[0], program)

    def read_until(expected):
        seen = b""
        while expected.encode() not in seen:
            ready, _, _ = select.select([terminal], [], [], PATIENCE)
            if not ready:
                sys.exit(f"no {expected!r} in {seen!r}")
            seen += os.read(terminal, 65536)
        return seen

    read_until("> ")
    os.write(terminal, typed.encode())
    read_until(typed)
    print("typed", flush=True)
    # The line that was typed is drawn behind the text, in the same breath.
    drawn = read_until(text)
    if typed.encode() not in drawn:
        drawn += read_until(typed)
    print(repr(drawn.decode()), flush=True)
    os.kill(child, 9)


main()
