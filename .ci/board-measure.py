#!/usr/bin/env python3
"""Measures the MIPS program under qemu: instructions executed and memory resident in the guest.

    board-measure.py PROGRAM COUNT.SO            prints, and fails over a limit or 15 % over record
    board-measure.py PROGRAM COUNT.SO --record   also writes board-figures.json

qemu's user mode tells nothing about time on the board, but instructions are the same there, and
so, nearly, are the pages that the program touches.
"""

import contextlib
import http.server
import json
import pathlib
import queue
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

import smoke

LIMIT = 60  # seconds for any single wait
LARGE = 64 * 1024
CLIENTS = 50
QUEUED = 5_000
GUEST_BASE = 0x1_0000_0000  # where qemu is told to put the guest's memory
GUEST_SIZE = 0x8000_0000
RECORD = pathlib.Path(__file__).with_name("board-figures.json")
GROWTH = 1.15
# Next to nothing, and never twice the same: only the limit counts.
NOISE = {"idle for five seconds", "waiting 2.5 seconds for a response"}
# name: (limit, unit)
LIMITS = {
    "start to listening": (3_000_000, "instructions"),
    "idle for five seconds": (1_000, "instructions"),
    "one message over a kept-alive connection": (400_000, "instructions"),
    "one byte of a 64 KB response": (90, "instructions"),
    # Waits that end early and are begun again burn the processor without anyone noticing.
    "waiting 2.5 seconds for a response": (200_000, "instructions"),
    "resident, idle": (4_500, "KB"),
    f"resident, {CLIENTS} clients": (8_000, "KB"),
    f"resident, {CLIENTS} clients, {QUEUED} messages stored": (8_000, "KB"),
}

CONFIGURATION = """
[gateway]
name = "board"
[broker]
listen = ["127.0.0.1:0"]
[endpoint.origin]
url = "https://localhost:{port}"
address = "127.0.0.1"
roots = ["root.pem"]
max_response = "128KiB"
[[route]]
name = "post"
topic = "nodes/{{node}}/post"
endpoint = "origin"
method = "POST"
path = "/post"
reply = "replies/{{node}}/post/{{outcome}}"
[[route]]
name = "slow"
topic = "nodes/{{node}}/slow"
endpoint = "origin"
path = "/slow"
reply = "replies/{{node}}/slow/{{outcome}}"
[[route]]
name = "large"
topic = "nodes/{{node}}/large"
endpoint = "origin"
path = "/large"
reply = "replies/{{node}}/large/{{outcome}}"
"""

# The server is away: what is published waits on the disk.
STORED = """
[store]
directory = "kept"
[endpoint.away]
url = "https://localhost:{away}"
address = "127.0.0.1"
roots = ["root.pem"]
[[route]]
name = "keep"
topic = "nodes/{{node}}/keep"
endpoint = "away"
method = "POST"
path = "/keep"
delivery = "stored"
reply = "replies/{{node}}/keep/{{outcome}}"
"""


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers each request in one write, and notes the cipher suite."""

    protocol_version = "HTTP/1.1"
    suites = set()

    def answer(self, body):
        self.suites.add(self.connection.cipher()[0])
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(2.5)
            self.answer(b"at last")
        else:
            self.answer(b"x" * LARGE)

    def do_POST(self):
        self.answer(b"got " + self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *args):
        pass


def origin(folder):
    root_key, leaf_key = smoke.key("ec"), smoke.key("ec")
    root = smoke.certificate("Board Root", root_key, ca=True)
    leaf = smoke.certificate("localhost", leaf_key, issuer=(root, root_key))
    (folder / "root.pem").write_bytes(smoke.pem(root))
    (folder / "leaf.pem").write_bytes(smoke.pem(leaf) + leaf_key.private_bytes(
        smoke.serialization.Encoding.PEM, smoke.serialization.PrivateFormat.PKCS8, smoke.serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem")
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # the client knows what is cheap for it
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


class Guest:
    """The program under qemu."""

    def __init__(self, folder, program, *options):
        self.process = subprocess.Popen(
            ["qemu-mipsel", "-cpu", "24KEc", *options, program, "--config", folder / "bridge.toml", "run"], stderr=subprocess.PIPE, text=True)
        self.lines, ready = [], queue.Queue()
        threading.Thread(target=self.read, args=(ready,), daemon=True).start()
        self.port = ready.get(timeout=LIMIT)

    def read(self, ready):
        for line in self.process.stderr:
            self.lines.append(line)
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
            if found:
                ready.put(int(found[1]))

    def resident(self):
        """Kilobytes resident in the guest's part of the address space."""
        total, inside = 0, False
        for line in pathlib.Path(f"/proc/{self.process.pid}/smaps").read_text().splitlines():
            area = re.match(r"([0-9a-f]+)-[0-9a-f]+ ", line)
            if area:
                inside = GUEST_BASE <= int(area[1], 16) < GUEST_BASE + GUEST_SIZE
            elif inside and line.startswith("Rss:"):
                total += int(line.split()[1])
        return total

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(LIMIT) != 0:
            sys.exit("measure: the program did not end well\n" + "".join(self.lines))


class Node:
    """An MQTT 3.1.1 client of one node, QoS 0."""

    def __init__(self, port, name):
        self.name = name
        self.stream = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        self.send(0x10, self.text("MQTT") + bytes([4, 2, 0, 60]) + self.text(name))
        self.expect(0x20)
        self.send(0x82, b"\0\1" + self.text(f"replies/{name}/#") + b"\0")
        self.expect(0x90)

    @staticmethod
    def text(value):
        return struct.pack(">H", len(value)) + value.encode()

    def send(self, kind, body):
        assert len(body) < 128
        self.stream.sendall(bytes([kind, len(body)]) + body)

    def exactly(self, count):
        content = b""
        while len(content) < count:
            piece = self.stream.recv(count - len(content))
            if not piece:
                sys.exit("measure: the program closed a connection")
            content += piece
        return content

    def expect(self, kind):
        first, length = self.exactly(2)
        assert first == kind and length < 128, (first, length)
        return self.exactly(length)

    def ask(self, what, payload=b""):
        """Publishes and returns topic and payload of the reply."""
        self.send(0x30, self.text(f"nodes/{self.name}/{what}") + payload)
        body = self.expect(0x30)
        end = 2 + struct.unpack_from(">H", body)[0]
        return body[2:end].decode(), body[end:].decode()

    def post(self):
        topic, payload = self.ask("post", b'{"temperature":21.5}')
        assert (topic, payload) == (f"replies/{self.name}/post/ok", 'got {"temperature":21.5}'), (topic, payload)


def settled(counter):
    """Waits until no instruction has been executed for half a second; returns their number."""
    before, end = None, time.monotonic() + LIMIT
    while time.monotonic() < end:
        now = struct.unpack("=Q", counter.read_bytes())[0]
        if now == before:
            return now
        before = now
        time.sleep(0.5)
    sys.exit("measure: the program does not come to rest")


def instructions(folder, program, plugin):
    counter = folder / "counter"
    counter.write_bytes(bytes(8))
    guest = Guest(folder, program, "-plugin", f"{plugin},counter={counter}")
    figures = {"start to listening": settled(counter)}
    time.sleep(5)
    figures["idle for five seconds"] = settled(counter) - figures["start to listening"]
    node = Node(guest.port, "n1")
    def cost(times, action):
        before = settled(counter)
        for _ in range(times):
            action()
        return (settled(counter) - before) / times
    figures["first message, with the handshake"] = round(cost(1, node.post))
    cost(20, node.post)
    message = cost(100, node.post)
    figures["one message over a kept-alive connection"] = round(message)
    def large():
        topic, payload = node.ask("large")
        assert payload.startswith("reply.too_large - 65"), (topic, payload)
    large()
    figures["one byte of a 64 KB response"] = round((cost(5, large) - message) / LARGE, 1)
    figures["waiting 2.5 seconds for a response"] = round(cost(1, lambda: node.ask("slow")) - message)
    guest.stop()
    if Origin.suites != {"TLS_CHACHA20_POLY1305_SHA256"}:
        sys.exit(f"measure: without AES instructions ChaCha20 should be chosen, not {Origin.suites}")
    return figures


def memory(folder, program):
    guest = Guest(folder, program, "-B", hex(GUEST_BASE))
    time.sleep(1)
    figures = {"resident, idle": guest.resident()}
    nodes = [Node(guest.port, f"n{number}") for number in range(CLIENTS)]
    for _ in range(4):
        for node in nodes:
            node.post()
    figures[f"resident, {CLIENTS} clients"] = guest.resident()
    guest.stop()
    return figures


def memory_with_store(folder, program, configuration):
    with socket.socket() as away:  # bound and not listening: nobody gets through
        away.bind(("127.0.0.1", 0))
        text = configuration + STORED.format(away=away.getsockname()[1])
        (folder / "bridge.toml").write_text(text)
        guest = Guest(folder, program, "-B", hex(GUEST_BASE))
        nodes = [Node(guest.port, f"n{number}") for number in range(CLIENTS)]
        for _ in range(QUEUED // CLIENTS):
            for node in nodes:
                node.send(0x30, node.text(f"nodes/{node.name}/keep") + b'{"temperature":21.5}')
            for node in nodes:
                body = node.expect(0x30)
                assert b"queued" in body, body
        figures = {f"resident, {CLIENTS} clients, {QUEUED} messages stored": guest.resident()}
        guest.stop()
    return figures


def judge(figures, recorded):
    """Prints each figure beside its limit and its record; returns how many are over."""
    over = 0
    for name, value in figures.items():
        limit, unit = LIMITS.get(name, (None, "instructions"))
        before = recorded.get(name)
        allowed = [] if limit is None else [limit]
        if before is not None and name not in NOISE:
            allowed.append(before * GROWTH)
        good = value <= min(allowed, default=value)
        over += not good
        print(f"{'ok  ' if good else 'FAIL'}  {name}: {value:,} {unit}, limit {limit or '-'}, recorded {before if before is not None else '-'}")
    return over


def main():
    program, plugin = sys.argv[1:3]
    with tempfile.TemporaryDirectory(prefix="measure-") as name:
        folder = pathlib.Path(name)
        configuration = CONFIGURATION.format(port=origin(folder))
        (folder / "bridge.toml").write_text(configuration)
        figures = instructions(folder, program, plugin) | memory(folder, program)
        figures |= memory_with_store(folder, program, configuration)
    recorded = {}
    with contextlib.suppress(FileNotFoundError):
        recorded = json.loads(RECORD.read_text())
    if "--record" in sys.argv:
        RECORD.write_text(json.dumps(figures, indent=2) + "\n")
        recorded = figures
    elif not recorded:
        sys.exit(f"measure: {RECORD.name} is missing; make it with --record")
    return 1 if judge(figures, recorded) else 0


if __name__ == "__main__":
    sys.exit(main())
