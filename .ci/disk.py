#!/usr/bin/env python3
"""Gives the built program a disk that is full, and one that can not be written.

Both are real: a small file system in memory, and one mounted read-only, in a namespace of its own,
in which this runs itself once more. They are so while it runs, or when it starts. What was acknowledged has to be there in the end, and nothing
that was refused; `check` has to say so before. Every wait is limited; exit 0 only if all is as expected.
"""

import json
import os
import pathlib
import queue
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

LIMIT = 20  # seconds for any single wait
BINARY = os.path.abspath(sys.argv[1])
QUOTA_EXCEEDED = 0x97
passed = failed = 0

# The server is away: what is published waits on the disk.
CONFIGURATION = """
[broker]
listen = ["127.0.0.1:0"]
[store]
directory = "kept"
max_bytes = "8MiB"
[endpoint.away]
url = "https://localhost:{away}"
address = "127.0.0.1"
[[route]]
name = "keep"
topic = "keep/{{number}}"
reply = "replies/{{number}}"
endpoint = "away"
method = "POST"
delivery = "stored"
max_bytes = "4MiB"
[[route]]
name = "ask"
topic = "ask/{{number}}"
reply = "replies/{{number}}"
endpoint = "away"
"""


def check(what, got, expected):
    global passed, failed
    if got == expected:
        passed += 1
        print(f"ok    {what}")
    else:
        failed += 1
        print(f"FAIL  {what}\n      got      {got}\n      expected {expected}")


class Daemon:
    started = []

    def __init__(self, folder):
        self.process = subprocess.Popen([BINARY, "run"], cwd=folder, stderr=subprocess.PIPE, text=True)
        self.started.append(self.process)
        self.folder, self.lines, self.ready = folder, [], queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        try:
            self.port = self.ready.get(timeout=LIMIT)
        except queue.Empty:
            sys.exit("disk: the program does not start\n" + "\n".join(self.lines))

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
            if found:
                self.ready.put(int(found[1]))

    def status(self):
        end = time.monotonic() + LIMIT
        while True:
            result = subprocess.run([BINARY, "status", "--json"], cwd=self.folder, capture_output=True, text=True, timeout=LIMIT)
            if result.returncode == 0:
                return json.loads(result.stdout)
            if time.monotonic() > end:
                sys.exit(f"disk: no status: {result.stderr}")
            time.sleep(0.05)  # it listens before its socket is there

    def said(self, text):
        """How often the log holds a text; waits for the first."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            count = sum(text in line for line in list(self.lines))
            if count:
                return count
            time.sleep(0.05)
        return 0

    def stop(self):
        self.process.terminate()
        return self.process.wait(LIMIT)


class Node:
    """An MQTT 5 client that publishes at QoS 1."""

    def __init__(self, daemon):
        self.stream = socket.create_connection(("127.0.0.1", daemon.port), timeout=LIMIT)
        self.number = 0
        self.send(0x10, self.text("MQTT") + b"\x05\x02\x00\x00\x00" + self.text("node"))
        self.packet()

    @staticmethod
    def text(value):
        return struct.pack(">H", len(value)) + value.encode()

    def send(self, kind, body):
        length, size = len(body), b""
        while True:
            length, low = divmod(length, 128)
            size += bytes([low | (0x80 if length else 0)])
            if not length:
                break
        self.stream.sendall(bytes([kind]) + size + body)

    def packet(self):
        head = self.stream.recv(2, socket.MSG_WAITALL)
        return self.stream.recv(head[1], socket.MSG_WAITALL)

    def publish(self, payload):
        """Returns the reason code of PUBACK."""
        self.number += 1
        self.send(0x32, self.text(f"keep/{self.number}") + struct.pack(">H", self.number) + b"\0" + payload)
        body = self.packet()
        assert body[:2] == struct.pack(">H", self.number), body
        return body[2] if len(body) > 2 else 0

    def ask(self):
        """Asks by the direct route; returns the payload of the reply."""
        self.send(0x82, struct.pack(">H", 1) + b"\0" + self.text("replies/#") + b"\0")
        self.packet()
        self.send(0x30, self.text("ask/1") + b"\0")
        body = self.packet()
        start = body.index(b"{")
        return json.loads(body[start:])["error"]


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True, timeout=LIMIT)


def full(folder):
    """A disk of 1 MiB that something else fills, twice."""
    kept = folder / "kept"
    kept.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m,mode=0700", "none", kept)
    code, warnings = checked(folder)
    room = sum("has room for 1024 KiB of the 8192 KiB" in line for line in warnings)
    check("room: check warns of a disk smaller than the store", (code, room), (0, 1))
    daemon = Daemon(folder)
    node, stored = Node(daemon), 0
    for _ in range(10):
        stored += node.publish(b"x" * 1000) == 0
    check("room: stored", stored, 10)
    for turn in ("full", "full again"):
        with open(kept / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"x" * 4096)
            except OSError:
                pass
        answers = [node.publish(b"x" * 8000) for _ in range(5)]
        check(f"{turn}: refused with 0x97", answers, [QUOTA_EXCEEDED] * 5)
        check(f"{turn}: status says why", "No space left" in (daemon.status()["store"]["trouble"] or ""), True)
        (kept / "filler").unlink()
        check(f"{turn}: stored once there is room", node.publish(b"x" * 8000), 0)
        stored += 1
        check(f"{turn}: status is content", daemon.status()["store"]["trouble"], None)
    with open(kept / "filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
    # What is small still fits into the last page of the file.
    answers = [node.publish(b"x" * size) for size in (8000, 10, 6000, 10, 7000, 10, 8000)]
    check("nearly full: only what is small is stored", answers, [QUOTA_EXCEEDED, 0] * 3 + [QUOTA_EXCEEDED])
    stored += 3
    check("nearly full: status says so all the time", "No space left" in (daemon.status()["store"]["trouble"] or ""), True)
    (kept / "filler").unlink()
    check("nearly full: all is stored once there is room", node.publish(b"x"), 0)
    stored += 1
    check("log: told once each time", daemon.said("can not be written: No space left"), 3)
    check("log: and that it is over", daemon.said("the disk can be written again"), 3)
    check("what waits is what was acknowledged", waiting(daemon), stored)
    check("it ends well", daemon.stop(), 0)
    daemon = Daemon(folder)
    check("after a restart too", waiting(daemon), stored)
    check("it ends well again", daemon.stop(), 0)
    subprocess.run(["umount", kept], check=True, timeout=LIMIT)


def read_only(folder):
    """A directory with messages in it that is mounted read-only, and writable again."""
    kept = folder / "kept"
    daemon = Daemon(folder)
    check("store in the folder itself", Node(daemon).publish(b"x"), 0)
    daemon.stop()
    mount("--bind", kept, kept)
    mount("-o", "remount,ro,bind", kept)
    daemon = Daemon(folder)
    node = Node(daemon)
    check("read-only: what is stored is there", waiting(daemon), 1)
    check("read-only: refused with 0x97", node.publish(b"x"), QUOTA_EXCEEDED)
    check("read-only: status says why", "Read-only" in (daemon.status()["store"]["trouble"] or ""), True)
    mount("-o", "remount,rw,bind", kept)
    check("writable again: stored", node.publish(b"x"), 0)
    check("writable again: what was acknowledged waits", waiting(daemon), 2)
    check("read-only: it ends well", daemon.stop(), 0)
    check("read-only: no thread panicked", any("panicked" in line for line in daemon.lines), False)


def checked(folder):
    """What `check` warns of; what a daemon can start with is no mistake."""
    result = subprocess.run([BINARY, "check"], cwd=folder, capture_output=True, text=True, timeout=LIMIT)
    warnings = [line for line in result.stderr.splitlines() if line.endswith("(warning)")]
    return result.returncode, warnings


def sick_at_the_start(folder, what, said):
    """A disk without a store that takes nothing when the daemon starts; `said` is what it says."""
    if said.startswith("Read-only"):
        code, warnings = checked(folder)
        check(f"{what}: check warns of it", (code, sum(said in line for line in warnings)), (0, 1))
    daemon = Daemon(folder)
    check(f"{what}: the log says why and what to do", daemon.said(said) + daemon.said("correct directory") > 1, True)
    node = Node(daemon)
    check(f"{what}: refused with 0x97", node.publish(b"x"), QUOTA_EXCEEDED)
    check(f"{what}: status says why", said in (daemon.status()["store"]["trouble"] or ""), True)
    check(f"{what}: direct routes work", node.ask(), "connect.refused")
    return daemon, node


def well_again(daemon, node, what):
    check(f"{what}: stored once it is well", node.publish(b"x"), 0)
    check(f"{what}: log says so", daemon.said("can be used now"), 1)
    check(f"{what}: status is content", daemon.status()["store"]["trouble"], None)
    check(f"{what}: what was acknowledged waits", waiting(daemon), 1)
    check(f"{what}: it ends well", daemon.stop(), 0)
    daemon = Daemon(daemon.folder)
    check(f"{what}: after a restart too", waiting(daemon), 1)
    daemon.stop()


def read_only_at_the_start(folder):
    """The directory can not be made, for the disk is read-only; later it can."""
    disk = folder / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m,mode=0700,ro", "none", disk)
    daemon, node = sick_at_the_start(folder, "read-only at the start", "Read-only file system")
    mount("-o", "remount,rw", disk)
    well_again(daemon, node, "read-only at the start")
    subprocess.run(["umount", disk], check=True, timeout=LIMIT)


def full_at_the_start(folder):
    """The directory can not be made, for the disk has no room for one more file; later it has."""
    disk = folder / "disk"
    mount("-t", "tmpfs", "-o", "nr_inodes=4,mode=0700", "none", disk)
    fillers = [disk / name for name in "abc"]
    for filler in fillers:
        filler.touch()
    daemon, node = sick_at_the_start(folder, "full at the start", "No space left")
    subprocess.run(["rm", *fillers], check=True, timeout=LIMIT)
    mount("-o", "remount,nr_inodes=100", disk)
    well_again(daemon, node, "full at the start")
    subprocess.run(["umount", disk], check=True, timeout=LIMIT)


def read_only_log_at_the_start(folder):
    """What is there of a newer release can not be set aside; later it can, by itself."""
    disk = folder / "disk"
    log = disk / "kept" / "log"
    mount("-t", "tmpfs", "-o", "size=1m,mode=0700", "none", disk)
    log.mkdir(parents=True)
    head = b"mhbstore" + bytes([200, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    (log / "00000001.log").write_bytes(head + struct.pack("<I", zlib.crc32(head)))
    mount("-o", "remount,ro", disk)
    what = "newer release, read-only"
    daemon, node = sick_at_the_start(folder, what, "Read-only file system")
    mount("-o", "remount,rw", disk)
    check(f"{what}: stored once it is well", node.publish(b"x"), 0)
    check(f"{what}: the other is set aside", daemon.said("log-version-200"), 1)
    check(f"{what}: it ends well", daemon.stop(), 0)
    subprocess.run(["umount", disk], check=True, timeout=LIMIT)


def waiting(daemon):
    route = daemon.status()["routes"][0]
    return route["queued"] + route["in_flight"]


def main():
    with socket.socket() as away, tempfile.TemporaryDirectory(prefix="disk-", ignore_cleanup_errors=True) as name:
        away.bind(("127.0.0.1", 0))  # and not listening: nobody gets through
        folder = pathlib.Path(name)
        (folder / "bridge.toml").write_text(CONFIGURATION.format(away=away.getsockname()[1]))
        try:
            full(folder)
            read_only(folder)
            text = (folder / "bridge.toml").read_text()
            (folder / "bridge.toml").write_text(text.replace('"kept"', '"disk/kept"'))
            read_only_at_the_start(folder)
            full_at_the_start(folder)
            read_only_log_at_the_start(folder)
        finally:
            for process in Daemon.started:
                process.kill()
            for name in ("kept", "disk"):
                subprocess.run(["umount", "--quiet", folder / name], timeout=LIMIT)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if "--inside" not in sys.argv:
        again = ["unshare", "--user", "--map-root-user", "--mount"]
        sys.exit(subprocess.run([*again, sys.executable, os.path.abspath(__file__), BINARY, "--inside"], timeout=10 * LIMIT).returncode)
    sys.exit(main())
