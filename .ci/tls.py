#!/usr/bin/env python3
"""RSA, weak and odd keys, weak signatures, old protocols and cipher suites: each has its code.

The servers are OpenSSL's and nginx; the built program is asked through MQTT by its own `send`. Exit 0 only
if every case is told exactly as written here.
"""

import concurrent.futures
import os
import re
import sys

from tls_lab import CA, HOST, LEAF, Daemon, Lab, serve_bytes

BINARY = os.path.abspath(sys.argv[1])
FINE = "fine"
NOTHING = "tls.protocol - the server sent alert handshake failure"
VERSION = "tls.protocol - the server sent alert protocol version"
AGAIN = "tls.handshake - the server sent alert handshake failure after the handshake; renegotiation is not supported"
TLS12, TLS13 = "-tls1_2", "-tls1_3"


def weak(what, whose=""):
    return f"tls.weak - {whose}{what}, which is too weak"


def certificates(lab):
    """Yields name, leaf, chain, options of the server and what a node is told."""
    lab.certificate("root", extensions=CA)
    lab.certificate("rsaroot", "rsa 2048", extensions=CA)
    lab.certificate("weakroot", "rsa 1024", extensions=CA)
    for name, key, told in [
        ("rsa2048", "rsa 2048", FINE),
        ("rsa3072", "rsa 3072", FINE),
        ("rsa4096", "large-rsa 4096", FINE),
        ("rsa1024", "rsa 1024", weak("its key is RSA of 1024 bits")),
        ("rsa2047", "rsa 2047", weak("its key is RSA of 2047 bits")),
        ("ecc256", "ec P-256", FINE),
        ("ecc384", "ec P-384", FINE),
        ("ed25519", "ed25519", FINE),
    ]:
        lab.certificate(name, key, "rsaroot")
        yield name, name, [], TLS12, told
        yield name, name, [], TLS13, told
    lab.certificate("rsa8192", "large-rsa 8192", "rsaroot")
    yield "rsa8192", "rsa8192", [], "", FINE
    # Too small for the signatures of TLS 1.3.
    lab.certificate("rsa512", "rsa 512", "rsaroot")
    yield "rsa512", "rsa512", [], f"{TLS12} -sigalgs RSA+SHA256", weak("its key is RSA of 512 bits")
    # What we don't offer, the server doesn't choose.
    for name, key in [
        ("ecc521", "ec P-521"),
        ("ed448", "ed448"),
        ("rsapss", "rsa-pss 2048"),
        # TLS 1.3 doesn't know these at all.
        ("ecc224", "ec P-224"),
        ("secp256k1", "ec secp256k1"),
        ("dsa", "dsa"),
    ]:
        lab.certificate(name, key, "rsaroot")
        yield name, name, [], TLS12, NOTHING
        yield name, name, [], TLS13, VERSION if name in ("ecc224", "secp256k1", "dsa") else NOTHING
    # Signatures.
    signed = "its signature is RSA with"
    for name, options, told in [
        ("md5", "-md5", weak(f"{signed} MD5")),
        ("sha1", "-sha1", weak(f"{signed} SHA-1")),
        ("sha224", "-sha224", weak(f"{signed} SHA-224")),
        ("sha384", "-sha384", FINE),
        ("sha512", "-sha512", FINE),
        ("pss", "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32", FINE),
        ("pss-sha1", "-sha1 -sigopt rsa_padding_mode:pss", weak("its signature is RSA-PSS with SHA-1")),
    ]:
        lab.certificate(name, "ec P-256", "rsaroot", options=options)
        yield name, name, [], "", told
    lab.certificate("ecdsa-sha1", "ec P-256", "root", options="-sha1")
    yield "ecdsa-sha1", "ecdsa-sha1", [], "", weak("its signature is ECDSA with SHA-1")
    for name, issuer, options, told in [
        ("sha3", "rsaroot", "-sha3-256", "its signature is RSA with SHA3-256"),
        ("ecdsa-sha3", "root", "-sha3-256", "its signature is ECDSA with SHA3-256"),
        ("sha512-256", "rsaroot", "-sha512-256", "its signature is RSA with SHA-512/256"),
    ]:
        lab.certificate(name, "ec P-256", issuer, options=options)
        yield name, name, [], "", f"tls.protocol - {told}, which is not supported"
    # Intermediates.
    for name, key, issuer, options, told in [
        ("good-ca", "rsa 2048", "rsaroot", "-sha256", FINE),
        ("sha1-ca", "rsa 2048", "rsaroot", "-sha1", weak(f"{signed} SHA-1", "issuer CN=sha1-ca: ")),
        ("md5-ca", "rsa 2048", "rsaroot", "-md5", weak(f"{signed} MD5", "issuer CN=md5-ca: ")),
        ("small-ca", "rsa 1024", "rsaroot", "-sha256", weak("its key is RSA of 1024 bits", "issuer CN=small-ca: ")),
        ("p224-ca", "ec P-224", "rsaroot", "-sha256", weak("its key is ECDSA P-224", "issuer CN=p224-ca: ")),
        ("p192-ca", "ec prime192v1", "rsaroot", "-sha256", weak("its key is ECDSA P-192", "issuer CN=p192-ca: ")),
        ("k256-ca", "ec secp256k1", "rsaroot", "-sha256", "tls.protocol - issuer CN=k256-ca: its key is ECDSA secp256k1, which is not supported"),
        ("pss-ca", "rsa-pss 2048", "rsaroot", "-sha256", "tls.protocol - issuer CN=pss-ca: its key is RSA-PSS, which is not supported"),
        ("large-ca", "large-rsa 9216", "rsaroot", "-sha256", "tls.protocol - issuer CN=large-ca: its key is RSA of 9216 bits, which is not supported"),
        ("p521-ca", "ec P-521", "rsaroot", "-sha256", "tls.protocol - issuer CN=p521-ca: its key is ECDSA P-521, which is not supported"),
    ]:
        lab.certificate(name, key, issuer, CA, options)
        lab.certificate(f"by-{name}", "ec P-256", name)
        yield name, f"by-{name}", [name], "", told
    lab.certificate("by-weakroot", "ec P-256", "weakroot")
    yield "weak root", "by-weakroot", [], "", weak("its key is RSA of 1024 bits", "root CN=weakroot: ")
    lab.certificate("dsa-ca", "dsa", "rsaroot", CA)
    lab.certificate("by-dsa-ca", "ec P-256", "dsa-ca")
    yield "dsa-ca", "by-dsa-ca", ["dsa-ca"], "", weak("its signature is DSA with SHA-256")
    for name, kind, extra, told in [
        ("only-mail", "permitted", "email:example.com", FINE),
        ("no-mail", "excluded", "email:example.com", FINE),
        ("only-a-network", "permitted", "IP:10.0.0.0/255.0.0.0", FINE),
        ("below-us", "excluded", f"DNS:.{HOST}", FINE),
        ("not-us", "excluded", f"DNS:{HOST}", f"tls.bad_certificate - issuer CN=not-us may issue for all but {HOST}"),
        ("not-any", "excluded", "IP:0.0.0.0/0.0.0.0", FINE),
    ]:
        lab.certificate(name, issuer="root", extensions=f"{CA}nameConstraints=critical,{kind};{extra}\n")
        lab.certificate(f"by-{name}", issuer=name)
        yield f"name constraints: {kind} {extra}", f"by-{name}", [name], "", told
    for name, line, oid in [
        ("policy-constraints", "policyConstraints=critical,requireExplicitPolicy:0", "2.5.29.36"),
        ("inhibit-any-policy", "inhibitAnyPolicy=critical,0", "2.5.29.54"),
    ]:
        lab.certificate(name, issuer="root", extensions=f"{CA}{line}\n")
        lab.certificate(f"by-{name}", issuer=name)
        yield name, f"by-{name}", [name], "", f"tls.bad_certificate - issuer CN={name}: unknown critical extension {oid}"
    lab.certificate("code-ca", issuer="root", extensions=f"{CA}extendedKeyUsage=codeSigning\n")
    lab.certificate("by-code-ca", issuer="code-ca")
    yield "a CA for code", "by-code-ca", ["code-ca"], "", "tls.bad_certificate - issuer CN=code-ca is not meant for servers but for code signing"
    for name, dates, told in [
        ("forever", ("20200101000000Z", "99991231235959Z"), FINE),
        ("until-2050", ("20200101000000Z", "20500101000000Z"), FINE),
        ("a-moment", ("20200101000000Z", "20200101000000Z"), "tls.expired - expired 2020-01-01"),
    ]:
        lab.certificate(name, issuer="root", options="-sha256", dates=dates)
        yield name, name, [], "", told
    # As people make them: a CA that signed itself, with all that OpenSSL puts in.
    lab.certificate("selfsigned", "rsa 2048", extensions=f"{CA}subjectAltName=DNS:{HOST}\n")
    yield "self-signed", "selfsigned", [], "", "tls.self_signed - self-signed CN=selfsigned"
    lab.certificate("weakself", "rsa 1024", extensions=LEAF)
    yield "weak and self-signed", "weakself", [], "", "tls.self_signed - self-signed CN=weakself"
    lab.certificate("expired", "rsa 2048", "rsaroot", dates=("20150101000000Z", "20150412235959Z"))
    yield "expired", "expired", [], "", "tls.expired - expired 2015-04-12"
    lab.certificate("weakexpired", "rsa 1024", "rsaroot", options="-sha1", dates=("20150101000000Z", "20150412235959Z"))
    yield "expired and weak", "weakexpired", [], "", "tls.expired - expired 2015-04-12"
    lab.certificate("weakname", "rsa 1024", "rsaroot", LEAF.replace(HOST, "other.example"))
    yield "weak and for another name", "weakname", [], "", weak("its key is RSA of 1024 bits")
    lab.certificate("encipherment", "rsa 2048", "rsaroot", LEAF.replace("digitalSignature", "keyEncipherment"))
    yield "encipherment only", "encipherment", [], "", "tls.bad_certificate - its key usage does not allow signatures"


def protocols(lab):
    """Yields the same for servers whose certificate is good."""
    none = "@SECLEVEL=0"
    lab.openssl("dhparam -dsaparam -out dh1024.pem 1024")
    for name, options in [
        ("NULL", f"{TLS12} -cipher NULL-SHA256:eNULL:{none}"),
        ("CBC alone", f"{TLS12} -cipher ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA384:{none}"),
        ("static RSA", f"{TLS12} -cipher AES128-GCM-SHA256:AES256-GCM-SHA384:{none}"),
        ("static RSA with CBC", f"{TLS12} -cipher AES128-SHA:AES256-SHA:{none}"),
        ("anonymous", f"{TLS12} -cipher aNULL:{none}"),
        ("Camellia and ARIA", f"{TLS12} -cipher CAMELLIA:ARIA:{none}"),
        ("DH of 1024 bits", f"{TLS12} -cipher DHE-RSA-AES128-GCM-SHA256:{none} -dhparam dh1024.pem"),
        ("TLS 1.3 with CCM alone", f"{TLS13} -ciphersuites TLS_AES_128_CCM_SHA256"),
        ("P-521 alone", f"{TLS13} -groups P-521"),
    ]:
        yield name, "rsa2048", [], options, NOTHING
    for name, options in [("TLS 1.0", "-tls1"), ("TLS 1.1", "-tls1_1")]:
        yield name, "rsa2048", [], options, VERSION
    for name, options in [
        ("ECDHE with AES-GCM", f"{TLS12} -cipher ECDHE-RSA-AES128-GCM-SHA256"),
        ("ECDHE with ChaCha20", f"{TLS12} -cipher ECDHE-RSA-CHACHA20-POLY1305"),
        ("P-256 alone", f"{TLS13} -groups P-256"),
        ("ALPN that is not ours", "-alpn h2"),
        ("no tickets", "-no_ticket"),
        ("a client certificate is welcome", "-verify 1"),
        ("100 tickets", f"{TLS13} -num_tickets 100"),
        ("records padded to their limit", f"{TLS13} -record_padding 16384"),
        ("records of 512 bytes, TLS 1.2", f"{TLS12} -max_send_frag 512"),
        ("records of 512 bytes, TLS 1.3", f"{TLS13} -max_send_frag 512"),
        ("compression is welcome", f"{TLS12} -comp"),
        ("the server's order of suites", f"{TLS12} -serverpref"),
    ]:
        yield name, "rsa2048", [], options, FINE
    required = "tls.client_certificate - the server requires one"
    asked = "tls.client_certificate - the server asked for one, then sent alert handshake failure"
    yield "client certificate, TLS 1.2", "rsa2048", [], f"{TLS12} -Verify 1", re.compile(f"{required}|{asked}")
    yield "client certificate, TLS 1.3", "rsa2048", [], f"{TLS13} -Verify 1", required
    unknown = f"tls.handshake - the server does not know the name {HOST}: it sent alert unrecognised name"
    for version in (TLS12, TLS13):
        options = f"{version} -servername other.example -servername_fatal -cert2 rsa2048.pem -key2 rsa2048.key"
        yield "another name is served", "rsa2048", [], options, unknown


def nginx(lab):
    """Yields the same for nginx, as people have it in front of their services."""
    lab.certificate("middle", "rsa 2048", "rsaroot", CA)
    lab.certificate("site", "rsa 2048", "middle")
    lab.certificate("oldsite", "rsa 2048", "middle", dates=("20150101000000Z", "20150412235959Z"))
    lab.certificate("othersite", "rsa 2048", "middle", LEAF.replace(HOST, "other.example"))
    both, whole = "ssl_protocols TLSv1.2 TLSv1.3;", ["middle"]
    legacy = "ssl_ciphers ALL:@SECLEVEL=0;"
    yield "as it should be", "site", whole, both, FINE
    yield "TLS 1.2 alone", "site", whole, "ssl_protocols TLSv1.2;", FINE
    yield "TLS 1.3 alone", "site", whole, "ssl_protocols TLSv1.3;", FINE
    yield "with the root", "site", ["middle", "rsaroot"], both, FINE
    yield "without tickets", "site", whole, f"{both} ssl_session_tickets off; ssl_session_cache none;", FINE
    yield "TLS 1.0 and 1.1", "site", whole, f"ssl_protocols TLSv1 TLSv1.1; {legacy}", VERSION
    yield "TLS 1.0 to 1.2", "site", whole, f"ssl_protocols TLSv1 TLSv1.1 TLSv1.2; {legacy}", FINE
    yield "old ciphers", "site", whole, "ssl_protocols TLSv1.2; ssl_ciphers AES128-SHA:AES256-SHA:@SECLEVEL=0;", NOTHING
    yield "without the intermediate", "site", [], both, "tls.unknown_issuer - issuer not known: CN=middle, and the server sent no intermediate"
    yield "expired", "oldsite", whole, both, "tls.expired - expired 2015-04-12"
    yield "another name", "othersite", whole, both, f"tls.wrong_name - for other.example, not for {HOST}"
    yield "no name is served", "site", whole, f"{both} ssl_reject_handshake on;", f"tls.handshake - the server does not know the name {HOST}: it sent alert unrecognised name"
    yield "without TLS", None, [], "", "tls.handshake - the server does not speak TLS on this port"
    # It asks, and tells in HTTP what it misses.
    yield "a client certificate", "site", whole, f"{both} ssl_verify_client on; ssl_client_certificate rsaroot.pem;", "http.status 400 Bad Request"


# What OpenSSL's server can be told to do after the handshake, before it answers.
AFTER = [
    ("new keys of its own", TLS13, ["k"], FINE),
    ("new keys of both", TLS13, ["K"], FINE),
    ("new keys of both, 50 times", TLS13, ["K"] * 50, "tls.handshake - the server breaks TLS: too many key update requests"),
    ("asks to renegotiate", TLS12, ["r"], AGAIN),
    ("asks to renegotiate, with a certificate", TLS12, ["R"], AGAIN),
    ("asks for a certificate afterwards", TLS13, ["c"], FINE),
]


def hello(version, suite):
    """A ServerHello and nothing else."""
    body = version + bytes(32) + b"\0" + suite + b"\0"
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16" + version + len(message).to_bytes(2, "big") + message


# What OpenSSL can't be built to speak any more.
BARE = [
    ("SSL 3", hello(b"\x03\x00", b"\x00\x2f"), "tls.protocol - nothing in common: the server speaks neither TLS 1.2 nor 1.3"),
    ("RC4", hello(b"\x03\x03", b"\x00\x05"), "tls.protocol - the server selected unoffered cipher suite"),
    ("RC4 with MD5", hello(b"\x03\x03", b"\x00\x04"), "tls.protocol - the server selected unoffered cipher suite"),
    ("3DES", hello(b"\x03\x03", b"\x00\x0a"), "tls.protocol - the server selected unoffered cipher suite"),
    ("DH, of whatever size", hello(b"\x03\x03", b"\x00\x9e"), "tls.protocol - the server selected unoffered cipher suite"),
    ("export ciphers", hello(b"\x03\x03", b"\x00\x03"), "tls.protocol - the server selected unoffered cipher suite"),
    ("SSL 2", b"\x80\x2b\x04\x00\x01\x00\x02" + bytes(38), "tls.handshake - the server does not speak TLS on this port"),
    ("SSL 3 alert", b"\x15\x03\x00\x00\x02\x02\x28", NOTHING),
    ("TLS 1.0 alert", b"\x15\x03\x01\x00\x02\x02\x46", VERSION),
]


def agrees(told, expected):
    return bool(expected.fullmatch(told)) if isinstance(expected, re.Pattern) else told == expected


def main():
    lab = Lab()
    try:
        cases = []
        for name, leaf, chain, options, told in [*certificates(lab), *protocols(lab)]:
            version = " ".join(option for option in options.split() if option in (TLS12, TLS13))
            cases.append((f"{name} {version}".strip(), lab.serve(leaf, chain, options), told))
        sites = list(nginx(lab))
        ports = lab.serve_nginx([(leaf, chain, directives) for _, leaf, chain, directives, _ in sites])
        cases += [(f"nginx: {site[0]}", port, site[4]) for site, port in zip(sites, ports)]
        cases += [(name, lab.serve_after(commands, "rsa2048", f"{version} -cipher ALL"), told) for name, version, commands, told in AFTER]
        cases += [(name, serve_bytes(answer), told) for name, answer, told in BARE]
        roots = lab.pem("root", "rsaroot", "weakroot")
        daemon = Daemon(BINARY, lab, [port for _, port, _ in cases], roots)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(daemon.ask, range(len(cases))))
        ended = daemon.stop()
    finally:
        lab.close()
    wrong = 0
    for (name, _, expected), told in zip(cases, answers):
        if agrees(told, expected):
            print(f"ok    {name}: {told}")
        else:
            wrong += 1
            print(f"FAIL  {name}\n      {told}\n      {expected}")
    print(f"{len(cases) - wrong} of {len(cases)} as expected")
    return 1 if wrong or ended else 0


if __name__ == "__main__":
    sys.exit(main())
