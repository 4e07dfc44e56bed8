"""A client of Caviar, from the documented wire alone: nothing but the standard library.

    python3 client.py HOST PORT

Speaks with a server that echoes requests, answers logins and logouts with an empty body, pushes what follows
"push " in a request, and asks the client what follows "ask ". Fails where an answer is not the expected one.
"""

import socket
import struct
import sys

HEADER = struct.Struct(">qqiiii")  # request id, address, version, type, coding, length of the body
assert HEADER.size == 32

LOGIN, LOGOUT, SYNC, CALLBACK = 1001, 1002, 1003, 1004
SERVER_SYNC, SERVER_CALLBACK, PUSH = 1013, 1014, 1015
LOGIN_DONE, LOGOUT_DONE, DONE, SERVER_DONE = 2001, 2002, 2003, 2013
PING, PONG = 9001, 9002


class Client:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=30)
        ip = self.socket.getsockname()[0]
        self.address = struct.unpack(">I", socket.inet_aton(ip))[0]
        self.last = 0

    def send(self, kind, body, request_id=None, version=1, coding=0):
        if request_id is None:
            self.last += 1
            request_id = self.last
        header = HEADER.pack(request_id, self.address, version, kind, coding, len(body))
        self.socket.sendall(header + body)
        return request_id

    def take(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def receive(self):
        request_id, address, version, kind, coding, length = HEADER.unpack(self.take(HEADER.size))
        assert version == 1, version
        assert address == self.address, hex(address)  # both ends are on this machine
        return kind, request_id, coding, self.take(length)

    def ask(self, kind, body, answered_by, coding=0):
        request_id = self.send(kind, body, coding=coding)
        kind, answered, answered_coding, answer = self.receive()
        assert (kind, answered, answered_coding) == (answered_by, request_id, coding), (kind, answered)
        return answer


def main():
    client = Client(sys.argv[1], int(sys.argv[2]))

    assert client.ask(LOGIN, b"python", LOGIN_DONE) == b""
    assert client.ask(PING, b"ping", PONG) == b"pong"
    for size in (0, 1, 31, 32, 33, 5000, 1 << 20):
        body = bytes(n % 251 for n in range(size))
        assert client.ask(SYNC, body, DONE) == body, size
        assert client.ask(CALLBACK, body, DONE, coding=1) == body, size

    # A push comes before the answer to what caused it, and has no id.
    asked = client.send(SYNC, "push schön".encode())
    assert client.receive() == (PUSH, 0, 0, "schön".encode())
    assert client.receive()[:2] == (DONE, asked)

    # The server asks while it handles a request of ours.
    asked = client.send(SYNC, b"ask who are you?")
    kind, request_id, _, body = client.receive()
    assert (kind, body) == (SERVER_SYNC, b"who are you?"), kind
    client.send(SERVER_DONE, b"python", request_id=request_id)
    kind, answered, _, body = client.receive()
    assert (kind, answered, body) == (DONE, asked, b"python"), (kind, body)

    # A thousand questions at once are answered in order.
    ids = [client.send(SYNC, b"%d" % n) for n in range(1000)]
    for n, request_id in enumerate(ids):
        assert client.receive() == (DONE, request_id, 0, b"%d" % n)

    assert client.ask(LOGOUT, b"", LOGOUT_DONE) == b""
    assert client.ask(SYNC, b"still here", DONE) == b"still here"

    # What the protocol does not allow ends the connection.
    for kind, version in ((4242, 1), (SYNC, 2)):
        bad = Client(sys.argv[1], int(sys.argv[2]))
        bad.send(kind, b"", version=version)
        try:
            bad.receive()
        except (EOFError, ConnectionResetError):
            continue
        raise AssertionError("a bad message was answered")


main()
