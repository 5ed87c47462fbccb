"""A SAM application in Python, on i2p.socket.

    stream.py serve   BYTES [OPTION=VALUE ...]
    stream.py connect BYTES DESTINATION [OPTION=VALUE ...]

The connecting side sends BYTES random bytes, then the serving side does. Each
prints what it sent and received with the SHA-256; `interop` compares.
"""

import hashlib
import os
import sys
import time

from i2p import socket
from i2p.datatypes import Destination

CHUNK = 64 * 1024
ATTEMPTS = 8


def say(*words):
    print(*words, flush=True)


def send(stream, total):
    digest = hashlib.sha256()
    left = total
    while left > 0:
        chunk = os.urandom(min(CHUNK, left))
        stream.sendall(chunk)
        digest.update(chunk)
        left -= len(chunk)
    say("SENT", total, digest.hexdigest())


def receive(stream, total):
    digest = hashlib.sha256()
    left = total
    while left > 0:
        chunk = stream.recv(min(CHUNK, left))
        if not chunk:
            raise EOFError(f"the stream ended {left} bytes early")
        digest.update(chunk)
        left -= len(chunk)
    say("RECEIVED", total, digest.hexdigest())


def serve(total, options):
    listener = socket.socket()
    listener.bind(None, None, **options)
    listener.listen()
    say("DESTINATION", listener.getsockname().base64())
    stream, _ = listener.accept()
    say("CONNECTED")
    receive(stream, total)
    send(stream, total)
    stream.recv(1)  # the other side has everything, or is gone


def connect(total, destination, options):
    session = socket.socket()
    session.bind(None, "connecting", **options)
    stream = attempt(lambda: open_stream(destination, "connecting"))
    say("CONNECTED")
    send(stream, total)
    receive(stream, total)
    stream.send(b".")
    stream.close()


def open_stream(destination, session):
    stream = socket.socket()
    stream.connect(Destination(raw=destination, b64=True), session)
    return stream


def attempt(action):
    """Tries again for a while: a LeaseSet takes a moment to spread."""
    for _ in range(ATTEMPTS - 1):
        try:
            return action()
        except OSError:
            time.sleep(3)
    return action()


def main(arguments):
    mode, total, rest = arguments[0], int(arguments[1]), arguments[2:]
    if mode == "serve":
        serve(total, dict(o.split("=", 1) for o in rest))
    else:
        connect(total, rest[0], dict(o.split("=", 1) for o in rest[1:]))
    say("DONE")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Exception as error:
        say("ERROR", type(error).__name__, error)
        sys.exit(1)
