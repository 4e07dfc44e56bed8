"""A client of the chat with nothing but the standard library: frames and protobuf by hand, from PROTOCOL.md.

    python3 chat_peer.py ADDRESS PORT UID PASSWORD

Logs in; says each line of stdin that is `NAME WORDS` and prints `kept ID`; prints `FROM: WORDS` for what it hears,
and acknowledges it. Ends with stdin.
"""

import socket
import struct
import sys
import threading

LOGIN_REQUEST, LOGIN_RESPONSE, MESSAGE_REQUEST, MESSAGE_RESPONSE = 0, 1, 5, 6


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(tag, value):
    return varint(tag << 3) + varint(value) if value else b""


def text(tag, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(tag << 3 | 2) + varint(len(value)) + value if value else b""


def fields(data):
    """The fields of a message by their tag; the last of each stays."""
    found, at = {}, 0

    def take_varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = take_varint()
        if key & 7 == 0:
            found[key >> 3] = take_varint()
        elif key & 7 == 2:
            length = take_varint()
            found[key >> 3] = data[at : at + length]
            at += length
        else:
            raise ValueError("a wire type that the chat has not")
    return found


class Peer:
    def __init__(self, address, port):
        self.socket = socket.create_connection((address, port), timeout=60)
        self.sequence = 0

    def send(self, kind, body, sequence=None):
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        message = number(1, kind) + number(2, sequence) + body
        self.socket.sendall(struct.pack(">hhi", 0x86, 1, len(message)) + message)

    def receive(self):
        magic, version, length = struct.unpack(">hhi", self.exactly(8))
        assert (magic, version) == (0x86, 1)
        return fields(self.exactly(length))

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                sys.exit(0)
            data += more
        return data


def listen(peer):
    while True:
        message = peer.receive()
        kind, sequence = message.get(1, 0), message.get(2, 0)
        if kind == MESSAGE_REQUEST:
            said = fields(message[6])
            print(f"{said[2].decode()}: {said.get(6, b'').decode()}", flush=True)
            peer.send(MESSAGE_RESPONSE, text(7, number(1, 1)), sequence)
        elif kind == MESSAGE_RESPONSE:
            answer = fields(message[7])
            word = "kept" if answer.get(2, 0) == 0 else "refused"
            print(word, answer.get(3, b"").decode(), flush=True)


def main():
    address, port, uid, password = sys.argv[1:]
    peer = Peer(address, int(port))
    login = text(1, uid) + text(2, "python") + text(3, password) + number(4, 4) + text(5, "1.0")
    peer.send(LOGIN_REQUEST, text(4, login))
    answer = peer.receive()
    assert answer[1] == LOGIN_RESPONSE
    if fields(answer[5]).get(2, 0):
        sys.exit(f"not logged in: {fields(answer[5])[3].decode()}")
    print("logged in", flush=True)
    threading.Thread(target=listen, args=(peer,), daemon=True).start()
    for line in sys.stdin:
        name, words = line.rstrip("\n").split(" ", 1)
        peer.send(MESSAGE_REQUEST, text(6, text(3, name) + text(6, words)))


main()
