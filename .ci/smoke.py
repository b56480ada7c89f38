#!/usr/bin/env python3
"""Runs the built program as a user would, driven only by programs that are not ours.

MQTT: Debian's mosquitto_pub and mosquitto_sub, and paho-mqtt. HTTPS: Python's ssl over OpenSSL,
with RSA and ECDSA chains. Everything on 127.0.0.1, every wait limited; exit 0 only if all agree.
"""

import datetime
import http.server
import ipaddress
import json
import os
import pathlib
import queue
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import paho.mqtt.client as paho
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

LIMIT = 20  # seconds for any single wait
BINARY = os.path.abspath(sys.argv[1])
# The packages' program has no WebSocket.
WEBSOCKET = "--without-websocket" not in sys.argv
WEB_LISTENER = 'websocket = { listen = ["127.0.0.1:0"], origins = ["https://garden.example"] }\n'
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
passed = failed = 0


def check(what, got, expected):
    """Counts one assertion; `expected` is a value or a compiled pattern."""
    global passed, failed
    good = bool(expected.search(got)) if isinstance(expected, re.Pattern) else got == expected
    if good:
        passed += 1
        print(f"ok    {what}")
    else:
        failed += 1
        print(f"FAIL  {what}\n      got      {got!r}\n      expected {expected!r}")


def key(kind):
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def certificate(name, own_key, issuer=None, ca=False, start=-30 * DAY, end=90 * DAY, host="localhost"):
    """Makes a certificate; `issuer` is (certificate, key), `None` for self-signed."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(own_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + start)
        .not_valid_after(NOW + end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names[: 2 if host == "localhost" else 1]), critical=False)
    return builder.sign(issuer[1] if issuer else own_key, hashes.SHA256())


def pem(*certificates):
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


class Origin(http.server.BaseHTTPRequestHandler):
    """A small REST service: what any public one would answer."""

    protocol_version = "HTTP/1.1"

    def answer(self, status, body, content_type="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        post = re.fullmatch(r"/posts/(\d+)", self.path)
        if post:
            self.answer(200, json.dumps({"id": int(post[1]), "title": f"title {post[1]}", "body": "x" * 300}).encode())
        elif self.path == "/large":
            self.answer(200, b"y" * 2000, "text/plain")
        else:
            self.answer(404, b"{}")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(201, json.dumps({"got": body.decode(), "as": self.headers.get("Authorization")}).encode())

    def log_message(self, *args):
        pass


def serve(folder, name, chain, own_key):
    """Starts an HTTPS server with this chain and returns its port."""
    (folder / f"{name}.pem").write_bytes(pem(*chain))
    (folder / f"{name}.key").write_bytes(
        own_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # clients that hang up are what this is about
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def configuration(folder, ports):
    endpoint = "[endpoint.{0}]\nurl = \"https://localhost:{1}\"\naddress = \"127.0.0.1\"\nroots = [\"root.pem\"]\npause = false\n{2}\n"
    text = """
[gateway]
name = "smoke"

[broker]
listen = ["127.0.0.1:0"]
users_file = "users.toml"
WEBSOCKET
[secret.token]
file = "token"

[[route]]
name = "title"
topic = "nodes/{node}/posts/{id}/get"
endpoint = "good"
path = "/posts/{id}"
select = "/title"
reply = "replies/{node}/posts/{id}/{outcome}"

[[route]]
name = "create"
topic = "nodes/{node}/posts/new"
endpoint = "good"
method = "POST"
path = "/posts"
reply = "replies/{node}/new"
reply_packet = 512

[[route]]
name = "large"
topic = "nodes/{node}/large"
endpoint = "good"
path = "/large"
reply = "replies/{node}/large/{outcome}"
"""
    text = text.replace("WEBSOCKET\n", WEB_LISTENER + "\n" if WEBSOCKET else "\n")
    for name, port in ports.items():
        headers = 'headers = { authorization = "Bearer {secret.token}" }' if name == "good" else ""
        text += endpoint.format(name, port, headers)
        if name != "good":
            text += (
                f'[[route]]\nname = "{name}"\ntopic = "nodes/{{node}}/tls/{name}"\nendpoint = "{name}"\n'
                f'path = "/posts/1"\nselect = "/title"\nreply = "replies/{{node}}/tls/{name}/{{outcome}}"\n'
            )
    (folder / "bridge.toml").write_text(text)
    (folder / "token").write_text("s3cr3t-token\n")
    os.chmod(folder / "token", 0o600)


class Daemon:
    """The built program, started and watched."""

    def __init__(self, folder):
        self.lines = []
        self.process = subprocess.Popen(
            [BINARY, "--config", folder / "bridge.toml", "run"], stderr=subprocess.PIPE, text=True
        )
        ready = queue.Queue()
        threading.Thread(target=self.read, args=(ready,), daemon=True).start()
        self.port = ready.get(timeout=LIMIT)
        self.web_port = ready.get(timeout=LIMIT) if WEBSOCKET else None

    def read(self, ready):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
            if found:
                ready.put(int(found[1]))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT)


def command(*arguments, **options):
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=LIMIT, **options)


def ask_with_mosquitto(port, topic, payload, reply_filter, *options):
    """Publishes with mosquitto_pub and returns the first line mosquitto_sub prints."""
    subscriber = subprocess.Popen(
        ["stdbuf", "-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", reply_filter, "-C", "1", "-W", str(LIMIT),
         "-F", "%t %p", "-d", *options],
        stdout=subprocess.PIPE, text=True,
    )
    output = []
    for line in subscriber.stdout:  # until it has its message, or -W ends it
        output.append(line.rstrip("\n"))
        if line.startswith("Subscribed"):  # -d says when the subscription stands
            command("mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-t", topic, "-m", payload, *options, check=True)
    subscriber.wait(LIMIT)
    replies = [line for line in output if line.startswith("replies/")]
    return replies[0] if replies else "\n".join(output)


def ask_with_paho(port, topic, payload, response_topic):
    """An MQTT 5 request with Response Topic and Correlation Data; returns (payload, properties)."""
    replies, ready = queue.Queue(), queue.Queue()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.on_connect = lambda c, *_: c.subscribe(response_topic, 1)
    client.on_subscribe = lambda *_: ready.put(True)
    client.on_message = lambda c, u, message: replies.put(message)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        ready.get(timeout=LIMIT)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = response_topic
        properties.CorrelationData = b"\x00\x01id"
        client.publish(topic, payload, qos=1, properties=properties)
        return replies.get(timeout=LIMIT)
    finally:
        client.disconnect()
        client.loop_stop()


def connect_by_websocket(port, origin=None, password=None):
    """Connects by WebSocket as a browser or another program would; returns the answer and an echo."""
    answers, echoes = queue.Queue(), queue.Queue()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, transport="websockets")
    # paho names an Origin of its own making, as no other program does that is not a browser.
    others = lambda headers: {k: v for k, v in headers.items() if k != "Origin"}
    client.ws_set_options(path="/mqtt", headers=lambda own: others(own) | ({"Origin": origin} if origin else {}))
    if password:
        client.username_pw_set("kitchen", password)
    client.on_connect = lambda c, u, flags, reason, *_: answers.put(str(reason))
    client.on_connect_fail = lambda *_: answers.put("no connection")
    client.on_subscribe = lambda c, *_: c.publish("nodes/kitchen/echo", "x" * 40_000, qos=2)
    client.on_message = lambda c, u, message: echoes.put(len(message.payload))
    client.connect_async("127.0.0.1", port)
    client.loop_start()
    try:
        answer = answers.get(timeout=LIMIT)
        if answer != "Success" or password:
            return answer
        client.subscribe("nodes/kitchen/echo", 2)
        return answer, echoes.get(timeout=LIMIT)
    finally:
        client.disconnect()
        client.loop_stop()


def tls_cases(folder):
    """Chains with one defect each, and good ones in RSA and ECDSA; returns endpoint → port."""
    root_key, rsa_root_key, other_key = key("ec"), key("rsa"), key("ec")
    root = certificate("Smoke Root", root_key, ca=True)
    rsa_root = certificate("Smoke RSA Root", rsa_root_key, ca=True)
    other = certificate("Another Root", other_key, ca=True)
    (folder / "root.pem").write_bytes(pem(root, rsa_root))
    by, by_rsa = (root, root_key), (rsa_root, rsa_root_key)
    leaves = {
        "good": (key("ec"), dict(issuer=by)),
        "rsa": (key("rsa"), dict(issuer=by_rsa)),
        "expired": (key("ec"), dict(issuer=by, start=-60 * DAY, end=-10 * DAY)),
        "early": (key("ec"), dict(issuer=by, start=5 * DAY)),
        "wrong_name": (key("ec"), dict(issuer=by, host="other.example")),
        "self_signed": (key("ec"), dict()),
        "unknown": (key("ec"), dict(issuer=(other, other_key))),
    }
    return {
        name: serve(folder, name, [certificate(f"{name} leaf", own, **options)], own)
        for name, (own, options) in leaves.items()
    }


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="smoke-"))
    configuration(folder, tls_cases(folder))

    result = command(BINARY, "--config", folder / "bridge.toml", "check")
    check("check accepts the configuration", result.returncode, 0)
    check("check prints no secret", "s3cr3t" in result.stdout + result.stderr, False)
    if not WEBSOCKET:
        (folder / "web.toml").write_text("[broker]\n" + WEB_LISTENER)
        result = command(BINARY, "--config", folder / "web.toml", "check")
        said = "web.toml:2: websocket is not in this build of the program" in result.stdout + result.stderr
        check("WebSocket: said to be left out", (result.returncode, said), (78, True))
    result = command(BINARY, "--config", folder / "bridge.toml", "user", "add", "kitchen")
    check("user add succeeds", result.returncode, 0)
    password = max(re.findall(r"[A-Za-z0-9]{20,}", result.stdout), key=len)

    daemon = Daemon(folder)
    try:
        run_cases(daemon, password)
    finally:
        code = daemon.stop()
    check("SIGTERM ends it with exit code 0", code, 0)
    log = "\n".join(daemon.lines)
    check("the log holds no secret", "s3cr3t" in log or password in log, False)
    check("no thread panicked", "panicked" in log, False)
    if failed:
        print("---- log of the daemon\n" + log)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def run_cases(daemon, password):
    port = daemon.port
    check("mosquitto: title of a post", ask_with_mosquitto(port, "nodes/n1/posts/7/get", "", "replies/n1/#"),
          "replies/n1/posts/7/ok title 7")
    check("mosquitto: MQTT 3.1", ask_with_mosquitto(port, "nodes/n1/posts/8/get", "", "replies/n1/#", "-V", "mqttv31"),
          "replies/n1/posts/8/ok title 8")
    check("mosquitto: MQTT 5, QoS 2", ask_with_mosquitto(port, "nodes/n1/posts/9/get", "", "replies/n1/#", "-V", "mqttv5", "-q", "2"),
          "replies/n1/posts/9/ok title 9")
    check("a 404 is an error with its status", ask_with_mosquitto(port, "nodes/n1/posts/none/get", "", "replies/n1/#"),
          "replies/n1/posts/none/error http.status 404 Not Found")
    check("a reply that does not fit says so", ask_with_mosquitto(port, "nodes/n1/large", "", "replies/n1/#"),
          re.compile(r"^replies/n1/large/error reply\.too_large - 20\d\d"))
    created = ask_with_mosquitto(port, "nodes/n1/posts/new", '{"t":21.5}', "replies/n1/#")
    check("a POST carries payload and secret header", json.loads(created.split(" ", 1)[1]),
          {"ok": True, "status": 201, "body": {"got": '{"t":21.5}', "as": "Bearer s3cr3t-token"}})

    for case, expected in [
        ("rsa", re.compile(r"/ok ")),
        ("expired", re.compile(r"/error tls\.expired - ")),
        ("early", re.compile(r"/error tls\.not_yet_valid - ")),
        ("wrong_name", re.compile(r"/error tls\.wrong_name - ")),
        ("self_signed", re.compile(r"/error tls\.self_signed - ")),
        ("unknown", re.compile(r"/error tls\.unknown_issuer - ")),
    ]:
        check(f"certificate {case}", ask_with_mosquitto(port, f"nodes/n1/tls/{case}", "", "replies/n1/#"), expected)

    message = ask_with_paho(port, "nodes/n2/tls/expired", "", "replies/n2/mine")
    check("paho: correlation data comes back", message.properties.CorrelationData, b"\x00\x01id")
    check("paho: user property code", dict(message.properties.UserProperty).get("code"), "tls.expired")

    if WEBSOCKET:
        web = daemon.web_port
        check("WebSocket: a program that is no browser", connect_by_websocket(web), ("Success", 40_000))
        check("WebSocket: a page of another site", connect_by_websocket(web, "https://evil.example"), "no connection")
        check("WebSocket: a page without a password", connect_by_websocket(web, "https://garden.example"), "Not authorized")
        check("WebSocket: a page with a password", connect_by_websocket(web, "https://garden.example", password), "Success")

    wrong = command("mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-t", "x", "-m", "", "-u", "kitchen", "-P", "wrong")
    check("a wrong password is refused as such", wrong.stderr.strip(), re.compile("(?i)bad user ?name or password|not authori[sz]ed"))
    check("a user reaches its own topics",
          ask_with_mosquitto(port, "nodes/kitchen/posts/3/get", "", "replies/kitchen/#", "-u", "kitchen", "-P", password),
          "replies/kitchen/posts/3/ok title 3")
    result = command(BINARY, "send", "--port", port, "nodes/me/posts/1/get")
    check("send prints the reply", (result.returncode, result.stdout.strip()), (0, "title 1"))
    result = command(BINARY, "send", "--port", port, "nodes/me/tls/self_signed")
    check("send tells a failure", (result.returncode, "tls.self_signed" in result.stdout + result.stderr), (1, True))
    before = settled(daemon.process.pid)
    time.sleep(6)
    check("idle: nothing wakes it", switches(daemon.process.pid) - before, 0)


def settled(pid, limit=15):
    """Context switches once what the last client left to be done is done: none in a second."""
    deadline, last = time.monotonic() + limit, switches(pid)
    while time.monotonic() < deadline:
        time.sleep(1)
        now = switches(pid)
        if now == last:
            break
        last = now
    return last


def switches(pid):
    """Voluntary context switches of all threads so far."""
    total = 0
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.M)[1])
    return total


if __name__ == "__main__":
    sys.exit(main())
