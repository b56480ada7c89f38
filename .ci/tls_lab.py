"""Certificates and TLS servers by OpenSSL's own program, for what no Rust library makes: RSA and
weak keys, weak signatures, old protocols, cipher suites that nobody should use.

Everything lies in one folder and listens on 127.0.0.1; every wait is limited.
"""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

NGINX = "/usr/sbin/nginx"
LIMIT = 60  # seconds for any single command; keys of 8192 bits take their time
HOST = "localhost"
DAYS = "-days 400"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfine\n"
LEAF = f"basicConstraints=CA:FALSE\nsubjectAltName=DNS:{HOST}\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n"
CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
KEYS = {
    "rsa": "-algorithm RSA -pkeyopt rsa_keygen_bits:{0}",
    # The same to whoever verifies, and made in a tenth of the time.
    "large-rsa": "-algorithm RSA -pkeyopt rsa_keygen_bits:{0} -pkeyopt rsa_keygen_primes:4",
    "rsa-pss": "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:{0}",
    "ec": "-algorithm EC -pkeyopt ec_paramgen_curve:{0} -pkeyopt ec_param_enc:named_curve",
    "ed25519": "-algorithm ED25519",
    "ed448": "-algorithm ED448",
}


class Lab:
    """A folder of keys and certificates, and the servers that show them."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tls-lab-"))
        self.servers = []
        self.nginx = []
        (self.folder / "fine").write_bytes(OK)
        # Some of what the servers are to show is refused by OpenSSL unless it is told so early.
        (self.folder / "lax.conf").write_text(
            "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
            "CipherString = ALL:@SECLEVEL=0\nMinProtocol = TLSv1\n")

    def close(self):
        for server in self.nginx:
            server.terminate()
            server.wait(LIMIT)
        for server in self.servers:
            server.kill()
            server.wait(LIMIT)
        shutil.rmtree(self.folder)

    def openssl(self, *arguments):
        words = [word for argument in arguments for word in (argument.split() if isinstance(argument, str) else [str(argument)])]
        result = subprocess.run(["openssl", *words], cwd=self.folder, capture_output=True, text=True, timeout=LIMIT)
        if result.returncode:
            raise RuntimeError(f"openssl {' '.join(words)}\n{result.stderr}")

    def key(self, name, kind):
        """Makes a key: `rsa 2048`, `ec P-256`, `ed25519`, `dsa` and so on."""
        kind, _, detail = kind.partition(" ")
        if kind == "dsa":
            self.openssl("dsaparam -out dsa.params 2048")
            self.openssl(f"genpkey -paramfile dsa.params -out {name}.key")
        else:
            self.openssl("genpkey", KEYS[kind].format(detail), f"-out {name}.key")

    def certificate(self, name, key="ec P-256", issuer=None, extensions=LEAF, options="-sha256", dates=None, subject=None):
        """Makes `name.pem` and `name.key`, signed by `issuer` or by itself; returns the name."""
        self.key(name, key)
        (self.folder / f"{name}.ext").write_text(extensions)
        # The CSR is signed with what the key can do; only the certificate's signature is `options`.
        self.openssl("req -new", "-key", f"{name}.key", "-subj", pathlib.Path(f"/CN={subject or name}"), f"-out {name}.csr")
        signer = f"-CA {issuer}.pem -CAkey {issuer}.key" if issuer else f"-signkey {name}.key"
        if dates:
            self.dated(name, issuer, options, dates)
        else:
            self.openssl(f"x509 -req -in {name}.csr {signer} -set_serial 0x{len(name)}{abs(hash(name)) % 10**8} {DAYS} "
                         f"-extfile {name}.ext {options} -out {name}.pem")
        return name

    def dated(self, name, issuer, options, dates):
        """The same through `openssl ca`, which alone can set any dates."""
        (self.folder / "index.txt").write_text("")
        (self.folder / "ca.conf").write_text(
            "[ca]\ndefault_ca = one\n[one]\nnew_certs_dir = .\ndatabase = index.txt\nrand_serial = yes\n"
            "unique_subject = no\npolicy = any\nemail_in_dn = no\n[any]\ncommonName = supplied\n")
        signer = f"-cert {issuer}.pem -keyfile {issuer}.key" if issuer else f"-selfsign -keyfile {name}.key"
        digest = options.removeprefix("-")
        self.openssl(f"ca -batch -notext -config ca.conf -in {name}.csr {signer} -md {digest} -extfile {name}.ext "
                     f"-startdate {dates[0]} -enddate {dates[1]} -out {name}.pem")

    def pem(self, *names):
        return "".join((self.folder / f"{name}.pem").read_text() for name in names)

    def serve(self, leaf, chain=(), options=""):
        """Starts `openssl s_server`, which answers GET /fine; returns its port."""
        server, port = self.start(leaf, chain, f"-HTTP {options}")
        threading.Thread(target=lambda: [None for _ in server.stdout], daemon=True).start()
        return port

    def serve_after(self, commands, leaf, options=""):
        """Starts one that does what these commands of it say before it answers; returns its port."""
        server, port = self.start(leaf, (), f"-crlf {options}")

        def talk():
            for line in server.stdout:
                # Not before the client is there: commands are for the connection.
                if line.startswith("GET /fine"):
                    with contextlib.suppress(OSError):
                        for command in [*commands, OK.decode().replace("\r", "")]:
                            server.stdin.write(f"{command}\n")
                            server.stdin.flush()
                            time.sleep(0.05)

        threading.Thread(target=talk, daemon=True).start()
        return port

    def start(self, leaf, chain, options):
        arguments = ["openssl", "s_server", "-accept", f"{HOST}:0", "-cert", f"{leaf}.pem", "-key", f"{leaf}.key", "-4"]
        if chain:
            (self.folder / f"{leaf}.chain").write_text(self.pem(*chain))
            arguments += ["-cert_chain", f"{leaf}.chain"]
        if "-cipher" not in options:
            options += " -cipher ALL:@SECLEVEL=0"
        server = subprocess.Popen([*arguments, *options.split()], cwd=self.folder, stdin=subprocess.PIPE,
                                  env={**os.environ, "OPENSSL_CONF": str(self.folder / "lax.conf")},
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.servers.append(server)
        said = []
        for line in server.stdout:
            said.append(line)
            found = re.search(r"^ACCEPT .*:(\d+)", line)
            if found:
                return server, int(found[1])
        raise RuntimeError(f"s_server {options} for {leaf} did not start:\n{''.join(said)}")


    def serve_nginx(self, sites):
        """Starts nginx with a server for each (leaf, chain, directives); returns their ports.

        `leaf` is None for one that does not speak TLS. Like Debian's, it can't choose its ports.
        """
        blocks = []
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in sites]
            ports = [one.getsockname()[1] for one in sockets]
        for port, (leaf, chain, directives) in zip(ports, sites):
            tls = ""
            if leaf:
                (self.folder / f"{port}.pem").write_text(self.pem(leaf, *chain))
                tls = f"ssl_certificate {port}.pem; ssl_certificate_key {leaf}.key;"
            blocks.append(f"server {{ listen 127.0.0.1:{port} {'ssl' if leaf else ''}; {tls} {directives} "
                          f"location / {{ return 200 'fine\\n'; }} }}\n")
        temporary = "".join(f"{kind}_temp_path temp;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.folder / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid nginx.pid; error_log stderr;\nevents {{}}\n"
            f"http {{ access_log off; default_type text/plain; {temporary}\n{''.join(blocks)}}}\n")
        folder = str(self.folder)
        server = subprocess.Popen([NGINX, "-p", folder, "-e", "stderr", "-c", f"{folder}/nginx.conf"],
                                  env={**os.environ, "OPENSSL_CONF": str(self.folder / "lax.conf")}, stderr=subprocess.PIPE, text=True)
        # Killed, it would leave its worker behind.
        self.nginx.append(server)
        until = time.monotonic() + LIMIT
        for port in ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), LIMIT).close()
                    break
                except ConnectionRefusedError:
                    if server.poll() is not None or time.monotonic() > until:
                        raise RuntimeError(f"nginx did not start:\n{server.stderr.read()}") from None
                    time.sleep(0.05)
        threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()
        return ports


def serve_bytes(answer):
    """Starts a server that reads once and answers with these bytes, without TLS; returns its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            connection, _ = listener.accept()
            # The client may have gone by then.
            with connection, contextlib.suppress(OSError):
                connection.settimeout(LIMIT)
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65536)

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


class Daemon:
    """The built program with one endpoint for each port, each at a route of its own."""

    def __init__(self, binary, lab, ports, roots, timeout="5s"):
        self.binary = binary
        (lab.folder / "roots.pem").write_text(roots)
        text = ('[broker]\nlisten = ["127.0.0.1:0"]\n[defaults]\nroots = ["roots.pem"]\nconcurrency = 1\n'
                f'reply_packet = 1024\ntimeout = "{timeout}"\n')
        for at, port in enumerate(ports):
            text += (f'[endpoint.c{at}]\nurl = "https://{HOST}:{port}"\naddress = "127.0.0.1"\n[[route]]\n'
                     f'topic = "nodes/{{node}}/c{at}"\nendpoint = "c{at}"\npath = "/fine"\n'
                     f'reply = "replies/{{node}}/c{at}/{{outcome}}"\n')
        path = lab.folder / "bridge.toml"
        path.write_text(text)
        self.process = subprocess.Popen([binary, "--config", path, "run"], stderr=subprocess.PIPE, text=True)
        self.port = None
        for line in self.process.stderr:
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = found[1]
                break
        threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True).start()

    def ask(self, at):
        """Publishes to the route of a port with the program's own `send`; returns the reply."""
        command = [self.binary, "send", "--port", self.port, f"nodes/n{at}/c{at}"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        return (result.stdout + result.stderr).strip()

    def stop(self):
        """Ends the program; returns its exit code."""
        self.process.terminate()
        return self.process.wait(LIMIT)
