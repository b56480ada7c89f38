#!/usr/bin/env python3
"""What this program, curl, Python Requests and Node.js say of the same 20 servers.

    .ci/compare.py BINARY            prints the table
    .ci/compare.py BINARY --write    puts it into README.md
    .ci/compare.py BINARY --check    fails if README.md says otherwise about this program

Each is asked for the same URL with the same root, as its manual shows it, with a time limit of
three seconds where it has one. Versions stand in the head of the table; what other programs say
changes with theirs, so only our own column is checked.
"""

import concurrent.futures
import http.server
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

from tls_lab import CA, HOST, LEAF, Daemon, Lab, serve_bytes

BINARY = os.path.abspath(sys.argv[1])
ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
MARKS = ("<!-- comparison -->\n", "<!-- /comparison -->\n")
PATIENCE = 3  # seconds that every program is told to wait
LIMIT = 10  # seconds after which it is ended
PAST = ("20150101000000Z", "20150412235959Z")
FUTURE = ("20800101000000Z", "20900101000000Z")

REQUESTS = """
import sys, requests
try:
    answer = requests.get(sys.argv[1], verify=sys.argv[2], timeout=int(sys.argv[3]))
    print("status", answer.status_code)
except Exception as error:
    print(type(error).__name__, str(error), sep=": ")
"""
NODE = """
const [url, root, seconds] = process.argv.slice(1);
const options = { ca: require('fs').readFileSync(root), timeout: seconds * 1000, agent: false };
const request = require('https').get(url, options, (answer) => {
  answer.on('error', (error) => console.log(error.code || error.message));
  answer.on('end', () => console.log('status', answer.statusCode));
  answer.resume();
});
request.on('timeout', () => request.destroy(new Error('timeout')));
request.on('error', (error) => console.log(error.code || error.message));
"""


def certificate_cases(lab):
    """Yields what is wrong and the port of a server of which that is so."""
    lab.certificate("root", extensions=CA)
    lab.certificate("middle", issuer="root", extensions=CA)
    lab.certificate("old-middle", issuer="root", extensions=CA, dates=PAST)
    lab.certificate("old-root", extensions=CA, dates=PAST)
    lab.certificate("stranger", extensions=CA)
    leaves = [
        ("nothing", dict(issuer="middle"), ["middle"]),
        ("expired", dict(issuer="middle", dates=PAST), ["middle"]),
        ("not yet valid", dict(issuer="middle", dates=FUTURE), ["middle"]),
        ("for another name", dict(issuer="middle", extensions=LEAF.replace(HOST, "other.example")), ["middle"]),
        ("a name in CN alone", dict(issuer="middle", subject=HOST, extensions=re.sub("subjectAltName.*\n", "", LEAF)), ["middle"]),
        ("self-signed", dict(), []),
        ("unknown root", dict(issuer="stranger"), []),
        ("intermediate not sent", dict(issuer="middle"), []),
        ("intermediate expired", dict(issuer="old-middle"), ["old-middle"]),
        ("root expired", dict(issuer="old-root"), []),
        ("for clients only", dict(issuer="middle", extensions=LEAF.replace("serverAuth", "clientAuth")), ["middle"]),
        ("key may not sign", dict(issuer="middle", extensions=LEAF.replace("digitalSignature", "keyAgreement")), ["middle"]),
        ("RSA of 1024 bits", dict(issuer="middle", key="rsa 1024"), ["middle"]),
        ("signed with SHA-1", dict(issuer="middle", options="-sha1"), ["middle"]),
    ]
    for number, (what, options, chain) in enumerate(leaves):
        leaf = lab.certificate(f"leaf{number}", **options)
        yield what, lab.serve(leaf, chain)
    yield "client certificate required", lab.serve("leaf0", ["middle"], "-Verify 1")
    yield "no TLS above 1.1", lab.serve("leaf0", ["middle"], "-tls1_1")


def serve_tls(lab, answer):
    """Starts a server that answers each request by `answer(connection)`; returns its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (lab.folder / "whole.pem").write_text(lab.pem("leaf0", "middle"))
    context.load_cert_chain(lab.folder / "whole.pem", lab.folder / "leaf0.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(connection):
        try:
            with context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(65536)
                answer(tls)
        except (OSError, ssl.SSLError):
            pass

    def accept():
        while True:
            threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def drip(tls):
    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
    for _ in range(60):
        time.sleep(0.5)
        tls.sendall(b"x")


def http_cases(lab):
    plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Plain)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    away = f"HTTP/1.1 302 Found\r\nLocation: http://{HOST}:{plain.server_address[1]}/\r\nContent-Length: 0\r\n\r\n".encode()
    yield "HTTP without TLS", serve_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    yield "redirect to http://", serve_tls(lab, lambda tls: tls.sendall(away))
    yield "body cut off, no length", serve_tls(lab, lambda tls: tls.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf"))
    yield "a byte every half second", serve_tls(lab, drip)


class Plain(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def run(*command):
    try:
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=LIMIT)
        return (result.stdout + result.stderr).strip()
    except subprocess.TimeoutExpired:
        return f"no end in {LIMIT} s"


def curl(url, roots):
    said = run("curl", "-sSL", "--noproxy", "*", "-o", os.devnull, "-w", "status %{http_code}\n", "--cacert", roots, "-m", PATIENCE, url)
    error = re.search(r"curl: \((\d+)\) (.*)", said)
    return f"({error[1]}) {error[2]}" if error else said


def requests(url, roots):
    said = run(sys.executable, "-c", REQUESTS, url, roots, PATIENCE)
    for reason in (r"certificate verify failed: (.*?) \(_ssl", r"\[SSL: ([A-Z0-9_]+)\]", r"(Read timed out)", r"(RemoteDisconnected|ConnectionResetError)"):
        found = re.search(reason, said)
        if found:
            return f"{said.split(':')[0]}: {found[1]}"
    return said.split(":")[0]


def node(url, roots):
    return run("node", "-e", NODE, url, roots, PATIENCE)


OTHERS = [curl, requests, node]


def cell(text):
    text = " ".join(text.split()).replace("|", "\\|")
    text = re.sub(r"\d{4,5} ms|port \d+|:\d{4,5}", "", text)
    text = re.sub(r"(after|within) \d{4,} milliseconds.*", r"\1 3 s", text)
    text = text if len(text) <= 100 else text[:98].rstrip() + "…"
    return f"`{text}`" if not text.startswith("status") and not text.startswith("no end") else text


def head():
    import requests as module

    versions = [
        "mqtt-https-bridge",
        "curl " + run("curl", "--version").split()[1],
        f"Requests {module.__version__}, {ssl.OPENSSL_VERSION.split('  ')[0]}",
        "Node.js " + run("node", "--version").lstrip("v"),
    ]
    names = " | ".join(versions)
    return f"| what is wrong | {names} |\n|---|---|---|---|---|\n"


def table():
    lab = Lab()
    try:
        cases = [*certificate_cases(lab), *http_cases(lab)]
        trusted = lab.pem("root", "old-root")
        daemon = Daemon(BINARY, lab, [port for _, port in cases], trusted, f"{PATIENCE}s")
        roots = lab.folder / "roots.pem"

        def row(numbered):
            at, (what, port) = numbered
            told = re.sub(r"after \d\.\d s", "after 3.0 s", daemon.ask(at))
            # One at a time at a server: OpenSSL's own serves no more.
            said = [program(f"https://{HOST}:{port}/fine", roots) for program in OTHERS]
            cells = " | ".join(cell(text) for text in ["status 200" if told == "fine" else told, *said])
            return f"| {what} | {cells} |\n"

        try:
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                return list(pool.map(row, enumerate(cases)))
        finally:
            daemon.stop()
    finally:
        lab.close()


def own_columns(rows):
    return [line.split(" | ")[:2] for line in rows]


def main():
    rows = table()
    top = head()
    text = README.read_text()
    before, _, rest = text.partition(MARKS[0])
    held, _, after = rest.partition(MARKS[1])
    if "--write" in sys.argv:
        README.write_text(before + MARKS[0] + top + "".join(rows) + MARKS[1] + after)
        return 0
    print(top + "".join(rows))
    if "--check" in sys.argv:
        written = [line for line in held.splitlines(keepends=True)[2:] if line.startswith("|")]
        if own_columns(written) != own_columns(rows):
            print("README.md says otherwise; `.ci/compare.py BINARY --write` writes the table anew", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
