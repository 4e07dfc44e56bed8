"""A terminal in which a program runs, driven by lines on stdin.

    python3 terminal.py COLUMNS PROGRAM FLAGS..

    type TEXT    types that, a Python string without its quotes: `hello\\r`, `\\x03`
    wait TEXT    waits until the terminal shows that text, wherever lines break, and prints `shown`
    screen       prints the screen, line by line, then `--`
    end          waits until the program has ended, and prints `ended` and its status
"""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import unicodedata

PATIENCE = 60  # seconds
ROWS = 24


class Screen:
    """As much of a terminal as the line editor needs."""

    def __init__(self, columns):
        self.columns, self.lines, self.row, self.column = columns, [[]], 0, 0
        self.pending = ""

    def feed(self, text):
        text = self.pending + text
        token = re.compile("\x1b\\[([?0-9;]*)([A-Za-z])|\x1b[^\\[]|([^\x1b])", re.S)
        at = 0
        while match := token.match(text, at):
            at = match.end()
            if match[3]:
                self.put(match[3])
            elif match[2]:
                self.obey(match[2], match[1])
        self.pending = text[at:]

    def put(self, char):
        width = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self.down()
        elif char == "\x07" or unicodedata.combining(char):
            pass
        else:
            if self.column + width > self.columns:
                self.column = 0
                self.down()
            line = self.lines[self.row]
            line.extend(" " * (self.column - len(line)))
            # A wide character stands in its first cell, and its second one is empty.
            line[self.column:self.column + width] = [char] + [""] * (width - 1)
            self.column += width

    def down(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def obey(self, command, number):
        count = int(number) if number.isdigit() else 1
        if command == "K":
            del self.lines[self.row][self.column:]
        elif command == "J":
            del self.lines[self.row][self.column:]
            del self.lines[self.row + 1:]
        elif command == "A":
            self.row = max(0, self.row - count)
        elif command == "B":
            self.row = min(len(self.lines) - 1, self.row + count)
        elif command == "C":
            self.column = min(self.columns - 1, self.column + count)
        elif command == "D":
            self.column = max(0, self.column - count)

    def text(self):
        return ["".join(line) for line in self.lines]


def main():
    columns, program = int(sys.argv[1]), sys.argv[2:]
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        os.environ.update(TERM="xterm", NO_COLOR="1")
        os.execv(program[0], program)
    screen = Screen(columns)

    def read():
        """Reads what the program draws; false at its end."""
        ready, _, _ = select.select([terminal], [], [], PATIENCE)
        if not ready:
            sys.exit(f"nothing more; the screen: {screen.text()}")
        try:
            drawn = os.read(terminal, 65536)
        except OSError:
            return False
        screen.feed(drawn.decode(errors="replace"))
        return bool(drawn)

    for line in sys.stdin:
        command, _, text = line.rstrip("\n").partition(" ")
        text = text.encode("latin-1", "backslashreplace").decode("unicode_escape")
        if command == "type":
            os.write(terminal, text.encode())
        elif command == "wait":
            while text not in "".join(screen.text()):
                if not read():
                    sys.exit(f"no {text!r} in {screen.text()}")
            print("shown", flush=True)
        elif command == "screen":
            print(*map(str.rstrip, screen.text()), "--", sep="\n", flush=True)
        elif command == "end":
            while read():
                pass
            print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            return
    os.kill(child, 9)


main()
