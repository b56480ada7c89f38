#!/usr/bin/env python3
"""Asks the built program for names that a name server of ours knows, denies, refuses or ignores.

No program can be told its name server but through /etc/resolv.conf. So this runs itself once more
in namespaces of its own, where that file and port 53 are ours to have. Every wait is limited; exit
0 only if each name gets its code.
"""

import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading

LIMIT = 20  # seconds for any single wait
BINARY = os.path.abspath(sys.argv[1])

# First label of the name, what the name server does, and what the node is told.
NAMES = [
    ("gone", 3, "dns.not_found - gone.test.example does not exist"),
    ("empty", 0, "dns.not_found - empty.test.example does not exist"),
    ("servfail", 2, "dns.failed - servfail.test.example: no answer from a name server"),
    ("refused", 5, "dns.failed - refused.test.example: no answer from a name server"),
    ("silent", None, "timeout.dns - after 1.0 s"),
    ("loopback", "127.0.0.1", "bridge.denied - loopback.test.example is at a private address"),
    ("mapped", "::ffff:127.0.0.1", "bridge.denied - mapped.test.example is at a private address"),
    ("any", "0.0.0.0", "bridge.denied - any.test.example is at a private address"),
    ("lan", "192.168.1.1", "bridge.denied - lan.test.example is at a private address"),
    ("outside", "198.41.0.4", "connect.unreachable - network unreachable"),
]

CONFIGURATION = """
[broker]
listen = ["127.0.0.1:1883"]
[endpoint.site]
url = "https://{first}.test.example"
timeout = "1s"
[[route]]
topic = "nodes/{node}/{first}"
endpoint = "site"
reply = "replies/{node}/{first}/{outcome}"
"""


def answer(query):
    """Returns the answer to a DNS query; `None` for silence."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    (kind,) = struct.unpack(">H", query[at + 1 : at + 3])
    does = {name: does for name, does, _ in NAMES}.get(labels[0], 3)
    if does is None:
        return None
    code, record = (does, b"") if isinstance(does, int) else (0, b"")
    if isinstance(does, str):
        family, wanted = (socket.AF_INET6, 28) if ":" in does else (socket.AF_INET, 1)
        if kind == wanted:
            data = socket.inet_pton(family, does)
            record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
    header = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 1 if record else 0, 0, 0)
    return header + query[12 : at + 5] + record


def serve(server):
    while True:
        query, address = server.recvfrom(512)
        reply = answer(query)
        if reply:
            server.sendto(reply, address)


def raise_loopback():
    """Does what `ip link set lo up` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))


def inside(folder):
    raise_loopback()
    resolv = os.path.join(folder, "resolv.conf")
    with open(resolv, "w") as file:
        file.write("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", resolv, "/etc/resolv.conf"], check=True)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    configuration = os.path.join(folder, "bridge.toml")
    with open(configuration, "w") as file:
        file.write(CONFIGURATION)
    program = [BINARY, "--config", configuration]
    bridge = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    wrong = 0
    try:
        for line in bridge.stderr:
            if re.search("who may connect", line):
                break
        for name, _, expected in NAMES:
            send = [*program, "send", f"nodes/me/{name}"]
            told = subprocess.run(send, capture_output=True, text=True, timeout=LIMIT).stdout.strip()
            good = told == expected
            wrong += not good
            print(f"ok    {name}" if good else f"FAIL  {name}: got {told!r}, expected {expected!r}")
        bridge.terminate()
        if bridge.wait(LIMIT) != 0:
            wrong += 1
            print(f"FAIL  exit code {bridge.returncode}")
    finally:
        bridge.kill()
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.exit(inside(sys.argv[2]))
    with tempfile.TemporaryDirectory() as folder:
        again = ["unshare", "--user", "--map-root-user", "--mount", "--net"]
        again += [sys.executable, __file__, BINARY, folder]
        sys.exit(subprocess.run(again, timeout=10 * LIMIT).returncode)
