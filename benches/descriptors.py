#!/usr/bin/env python3
"""What a server costs that has no descriptor left, and whether it recovers.

    cargo build --release --example echo_server
    python3 benches/descriptors.py target/release/examples/echo_server

Starts the echo server with 64 descriptors and no bound of connections below that, connects 200 clients, and prints its
CPU time over three seconds of shortage, the lines it logged meanwhile, whether those who were in were still answered, how
many were told that there is no room, and how long it took to serve newcomers once the clients had gone. Fails where
one of the promises does not hold: 0.15 s of CPU, a line a second, nobody who waits without a word, a second until it
serves again. Linux.
"""

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time

DESCRIPTORS, CLIENTS, SECONDS = 64, 200, 3.0
CPU_MAX, RECOVERY_MAX = 0.15, 1.0


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(program, extra, log):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))

    command = [program, "--listen", "127.0.0.1:0", "--connections-max", "100000", *extra]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, preexec_fn=few, text=True)
    line = server.stdout.readline()
    return server, int(line.rsplit(":", 1)[1])


def dial(port):
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def is_served(client, timeout):
    client.settimeout(timeout)
    try:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    except OSError:
        return False


def was_told(client):
    """Whether the server has ended the connection."""
    client.settimeout(0.001)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def lines(log):
    log.seek(0)
    return sum(b"accept" in line for line in log.read().splitlines())


def measure(program, extra):
    with tempfile.TemporaryFile() as log:
        server, port = start(program, extra, log)
        try:
            inside = dial(port)
            assert is_served(inside, 5), "it does not even serve the first"
            clients = [dial(port) for _ in range(CLIENTS)]
            before, begun = cpu_seconds(server.pid), time.monotonic()
            time.sleep(SECONDS)
            cpu, took = cpu_seconds(server.pid) - before, time.monotonic() - begun
            logged, answers = lines(log), is_served(inside, 5)
            told = sum(was_told(client) for client in clients)
            for client in clients:
                client.close()
            begun = time.monotonic()
            while not is_served(dial(port), 1):
                assert time.monotonic() - begun < 10, "it never serves again"
            recovery = time.monotonic() - begun
        finally:
            server.kill()
            server.wait()
    print(f"{' '.join(extra):24} CPU {cpu:.2f} s in {took:.1f} s, {logged} lines, {told} of {CLIENTS} told, "
          f"who was in {'answered' if answers else 'NOT ANSWERED'}, serves again after {recovery * 1000:.0f} ms")
    kept = cpu <= CPU_MAX and logged <= took + 2 and told >= CLIENTS - DESCRIPTORS
    return kept and answers and recovery <= RECOVERY_MAX


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PATH of echo_server")
    ways = [["--workers", "1"], ["--workers", "2"], ["--workers", "2", "--reuse-port"]]
    kept = [measure(sys.argv[1], extra) for extra in ways]
    sys.exit(0 if all(kept) else "a promise is not kept")


main()
