#!/usr/bin/env python3
"""Lives through a router's days with the package: its real scripts, its real program under qemu.

    board-scratch.py PACKAGE.ipk QEMU SHELL

The package is unpacked into a scratch root as opkg would do it. `SHELL` (busybox or dash) runs its
scripts in a chroot, where OpenWrt's shell libraries are stand-ins (board-root/) that write down
what procd would be told; this program plays procd, netifd and ntpd. Needs root, and takes network
and mounts of its own, so that 192.168.1.1 is a LAN address here and nowhere else.
"""

import contextlib
import hashlib
import io
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

LIMIT = 30  # seconds for any single wait
NAME = "mqtt-https-bridge"
LISTENERS = f"var/run/{NAME}/listeners"
CI = pathlib.Path(__file__).resolve().parent
# What OpenWrt's busybox has in any case, and a script may use. Other applets are not in the scratch
# root; Debian's busybox finds them nevertheless, dash does not.
APPLETS = ("awk basename cat chgrp chmod chown cmp cp cut date dd df dirname du echo egrep env expr false fgrep find grep head id kill ln "
           "ls md5sum mkdir mknod mktemp mv printf ps pwd readlink rm rmdir sed seq sh sha256sum sleep sort tail tar tee test touch tr true "
           "uname uniq wc which xargs yes [").split()
# What the stand-in for the processor needs in a jail: ujail knows nothing of it.
PROCESSOR = ["/bin/busybox", "/usr/bin/qemu", f"/usr/bin/{NAME}.mips"]
passed = failed = 0


def check(what, got, expected=True):
    """Counts one assertion; `expected` is a value or a compiled pattern."""
    global passed, failed
    good = bool(expected.search(got)) if isinstance(expected, re.Pattern) else got == expected
    if good:
        passed += 1
        print(f"ok    {what}", flush=True)
    else:
        failed += 1
        print(f"FAIL  {what}\n      got      {got!r}\n      expected {expected!r}", flush=True)
    return good


def wait_until(condition):
    """Polls until the condition holds; returns whether it did within the limit."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, timeout=LIMIT, **options)


class Board:
    """A scratch root with busybox, a shell and the stand-ins, and the one service that runs in it."""

    def __init__(self, qemu, shell):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="board-"))
        self.jail = pathlib.Path(tempfile.mkdtemp(prefix="jail-"))
        self.process, self.log, self.starts = None, [], 0
        self.state, self.state_inode, self.wanted = "", None, None
        for folder in ("bin", "sbin", "usr/bin", "usr/lib/opkg/info", "etc/ssl", "tmp/network", "var/run", "proc", "dev"):
            (self.root / folder).mkdir(parents=True)
        os.chmod(self.root, 0o755)  # the daemon, which is not root, passes through it
        shutil.copytree(CI / "board-root", self.root, dirs_exist_ok=True)
        os.chmod(self.root / "etc/rc.common", 0o755)
        shutil.copy("/bin/busybox", self.root / "bin")
        for applet in APPLETS:
            (self.root / "bin" / applet).symlink_to("busybox")
        if shell == "dash":
            self.install_dash()
        shutil.copy(qemu, self.root / "usr/bin/qemu")
        self.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n")
        self.write("etc/group", "root:x:0:\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n")
        self.write("tmp/resolv.conf", "nameserver 127.0.0.1\n")
        (self.root / "etc/resolv.conf").symlink_to("/tmp/resolv.conf")
        run("mount", "-t", "proc", "proc", self.root / "proc")
        run("mount", "--rbind", "/dev", self.root / "dev")

    def install_dash(self):
        (self.root / "bin/sh").unlink()
        libraries = re.findall(r"(/\S+) \(0x", run("ldd", "/bin/dash").stdout)
        for file in ["/bin/dash", *libraries]:
            target = self.root / file[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(file), target)
        (self.root / "bin/sh").symlink_to("dash")

    def write(self, path, text, mode=0o644):
        file = self.root / path
        file.write_text(text)
        os.chmod(file, mode)

    def read(self, path):
        return (self.root / path).read_text()

    def exists(self, path):
        return (self.root / path).exists()

    def sh(self, command, **environment):
        """Runs a command line in the chroot as root; then procd does what it was told."""
        result = subprocess.run(
            ["chroot", self.root, "/bin/sh", "-c", command], capture_output=True, text=True, timeout=LIMIT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment})
        self.signal()
        self.procd()
        return result

    def network(self, name, v4, v6=""):
        """Says what netifd knows of a network, and has procd do what is to be done at events of interfaces.

        Which one the event is of says nothing: `lan` has none of its own when the prefix of another changes.
        """
        self.write(f"tmp/network/{name}.v4", v4)
        self.write(f"tmp/network/{name}.v6", v6)
        for trigger in self.told("trigger"):
            if trigger.startswith("event interface.* 1000 "):
                self.sh(trigger.split(" ", 3)[3])

    # procd

    def told(self, kind):
        """What procd was told last of one kind."""
        return [line.split("\t", 1)[1] for line in self.state.splitlines() if line.startswith(f"{kind}\t")]

    def signal(self):
        """Sends the daemon the signals that procd was told to send."""
        file = self.root / "tmp/procd.signals"
        if file.exists():
            for name in file.read_text().split():
                if self.process and self.process.poll() is None:
                    self.process.send_signal(signal.Signals[f"SIG{name}"])
            file.unlink()

    def procd(self):
        """If it was told something, starts, restarts or stops the service, as what is wanted changed."""
        file = self.root / f"tmp/procd/{NAME}"
        at = file.stat().st_ino if file.exists() else None
        if at == self.state_inode:
            return
        before, self.state_inode = self.wanted, at
        timeout = int((self.told("term_timeout") or [0])[0])
        self.state = file.read_text() if at else ""
        files = {path: self.checksum(path) for path in self.told("file")}
        instance = [line for line in self.state.splitlines() if not line.startswith("trigger\t")]
        self.wanted = (instance, files) if self.told("instance") else None
        if self.wanted == before and self.process and self.process.poll() is None:
            return
        self.halt(timeout)
        if self.wanted:
            self.launch(self.told("command"), self.told("user")[0], self.told("group")[0])

    def checksum(self, path):
        file = self.resolved(path)
        return hashlib.md5(file.read_bytes()).hexdigest() if file.exists() else None

    def launch(self, command, user, group):
        # As procd: a name that is not found leaves what procd itself is, root.
        uid, gid = (int(found[1]) if (found := re.search(rf"^{name}:x:(\d+):", self.read(f"etc/{file}"), re.M)) else 0
                    for file, name in (("passwd", user), ("group", group)))
        jailed = bool(self.told("jail"))
        if jailed:
            self.build_jail([*self.told("mount"), "/etc/passwd", "/etc/group", command[0], *PROCESSOR], self.told("jail")[0].split())
        def become():
            os.chroot(self.jail if jailed else self.root)
            os.chdir("/")
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        self.log = []
        self.starts += 1
        self.process = subprocess.Popen(
            command, preexec_fn=become, env={"container": "ujail"} if jailed else {"PATH": "/usr/bin:/bin"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        threading.Thread(target=lambda log, lines: log.extend(iter(lines.readline, "")),
                         args=(self.log, self.process.stdout), daemon=True).start()
        # A signal before it is ready would end it as it ends any program: not what is tested here.
        wait_until(lambda: self.said("listening on") or self.process.poll() is not None)

    def build_jail(self, paths, flags):
        """Makes what ujail would show the daemon: the paths named and nothing else, in the order of their names."""
        run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", self.jail)
        writable = set(self.told("mount_rw"))
        for path in sorted({*paths, *writable}):
            source, target = self.resolved(path), self.jail / path[1:]
            if not source.exists():
                continue  # ujail takes no offence either
            if source.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    target.touch()
            run("mount", "--bind", source, target)
            if path not in writable:
                run("mount", "-o", "remount,ro,bind", target)
        if "procfs" in flags:
            (self.jail / "proc").mkdir()
            run("mount", "-t", "proc", "proc", self.jail / "proc")
        if "ronly" in flags:
            run("mount", "-o", "remount,ro,bind", self.jail)

    def resolved(self, path):
        """The file in the scratch root, past one link with an absolute target."""
        file = self.root / path[1:]
        return self.root / os.readlink(file)[1:] if file.is_symlink() else file

    def clear(self):
        """Takes the scratch root away, of mounts nothing but the mount."""
        for mounted in (self.jail, self.root / "dev", self.root / "proc"):
            subprocess.run(["umount", "--recursive", "--lazy", mounted], capture_output=True)
        run("rm", "-rf", "--one-file-system", self.root, self.jail)

    def ids(self):
        """User and group of the daemon, each real, effective and saved the same."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return " ".join(re.search(rf"^{kind}:\t(\d+)\t\1\t\1\t\1$", status, re.M)[1] for kind in ("Uid", "Gid"))

    def halt(self, timeout):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            check("SIGTERM ends it in time, exit code 0", self.process.wait(timeout), 0)
        if os.path.ismount(self.jail):
            run("umount", "--recursive", self.jail)
        self.process = None

    def said(self, text):
        return any(re.search(text, line) for line in self.log)

    def wait_said(self, text):
        return check(f"the log says `{text}`", wait_until(lambda: self.said(text)) or "".join(self.log))

    # opkg

    def install(self, package, upgrade=False):
        """Unpacks like opkg: an edited conffile stays, the new one goes beside it."""
        environment = {"PKG_UPGRADE": "1"} if upgrade else {}
        if upgrade:
            self.script("prerm", "upgrade", **environment)
        info = self.root / "usr/lib/opkg/info"
        with tarfile.open(package) as outer:
            data, control = (tarfile.open(fileobj=io.BytesIO(outer.extractfile(f"./{part}.tar.gz").read())) for part in ("data", "control"))
        known = dict(line.split() for line in (info / f"{NAME}.sums").read_text().splitlines()) if upgrade else {}
        for member in control:
            if member.isfile():
                (info / f"{NAME}.{member.name[2:]}").write_bytes(control.extractfile(member).read())
                os.chmod(info / f"{NAME}.{member.name[2:]}", member.mode)
        conffiles = (info / f"{NAME}.conffiles").read_text().split()
        paths, sums = [], []
        for member in data:
            path = member.name[1:]
            if member.isfile() and path in conffiles:
                content = data.extractfile(member).read()
                sums.append(f"{path} {hashlib.md5(content).hexdigest()}")
                if self.exists(path[1:]) and self.checksum(path) not in (known.get(path), hashlib.md5(content).hexdigest()):
                    self.write(path[1:] + "-opkg", content.decode(), member.mode)
                    paths.append(path)
                    continue
            data.extract(member, self.root, numeric_owner=True)
            if member.isfile():
                paths.append(path)
        (info / f"{NAME}.list").write_text("".join(f"{path}\n" for path in paths))
        (info / f"{NAME}.sums").write_text("".join(f"{line}\n" for line in sums))
        self.put_under_qemu()
        return self.script("postinst", "configure", **environment)

    def put_under_qemu(self):
        """The machine's processor is not the package's: its program starts by way of qemu."""
        program = self.root / f"usr/bin/{NAME}"
        program.rename(self.root / f"usr/bin/{NAME}.mips")
        self.write(f"usr/bin/{NAME}", f'#!/bin/busybox sh\nexec /usr/bin/qemu -cpu 24KEc /usr/bin/{NAME}.mips "$@"\n', 0o755)

    def remove(self):
        self.script("prerm", "remove")
        info = self.root / "usr/lib/opkg/info"
        sums = dict(line.split() for line in (info / f"{NAME}.sums").read_text().splitlines())
        for path in (info / f"{NAME}.list").read_text().split():
            if sums.get(path) in (None, self.checksum(path)):
                (self.root / path[1:]).unlink(missing_ok=True)
        for file in info.glob(f"{NAME}.*"):
            file.unlink()
        (self.root / f"usr/bin/{NAME}.mips").unlink()

    def script(self, name, *arguments, **environment):
        return self.sh(f"/usr/lib/opkg/info/{NAME}.{name} {' '.join(arguments)}", **environment)


def connack(address, user=None, password=None):
    """Connects as an MQTT 3.1.1 client; returns the CONNACK's code, or why there was none."""
    def field(text):
        return len(text).to_bytes(2, "big") + text.encode()
    flags = 2 | (0xC0 if user else 0)
    body = field("MQTT") + bytes([4, flags, 0, 60]) + field("days") + (field(user) + field(password) if user else b"")
    try:
        with socket.create_connection((address, 1883), timeout=LIMIT) as stream:
            stream.sendall(bytes([0x10, len(body)]) + body)
            answer = stream.recv(4)
            return answer[3] if len(answer) == 4 else f"{answer!r}"
    except OSError as error:
        return type(error).__name__


def renewed(package, folder):
    """Repacks a package as the next release, with another bridge.toml."""
    target = folder / "next.ipk"
    with tarfile.open(package) as outer:
        parts = {member.name: outer.extractfile(member).read() for member in outer}
    def change(archive, edits):
        stream = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.GNU_FORMAT) as new:
            for member in old:
                content = old.extractfile(member).read() if member.isfile() else None
                for path, (before, after) in edits.items():
                    if member.name == path:
                        assert before in content
                        content = content.replace(before, after)
                        member.size = len(content)
                new.addfile(member, io.BytesIO(content) if content is not None else None)
        return stream.getvalue()
    parts["./data.tar.gz"] = change(parts["./data.tar.gz"], {f"./etc/{NAME}/bridge.toml": (b"[defaults]", b"# next\n[defaults]")})
    parts["./control.tar.gz"] = change(parts["./control.tar.gz"], {"./control": (b"-r1\n", b"-r2\n")})
    with tarfile.open(target, "w:gz", format=tarfile.GNU_FORMAT) as outer:
        for name, content in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            outer.addfile(member, io.BytesIO(content))
    return target


def first_boot(board, package):
    print("-- installed before the network is up")
    (board.root / "tmp/network/lan.v4").write_text("")
    result = board.install(package)
    check("postinst succeeds", (result.returncode, result.stderr), (0, ""))
    check("it is enabled", (board.root / f"etc/rc.d/S95{NAME}").is_symlink())
    check("it has a user of its own", board.read("etc/passwd"), re.compile(rf"^{NAME}:x:1886:1886:", re.M))
    check("procd is told", [board.told(kind) for kind in ("user", "group", "respawn", "stdout", "stderr", "no_new_privs")],
          [[NAME], [NAME], ["3600", "5", "0"], ["1"], ["1"], ["1"]])
    check("what is missing is said", board.read("tmp/logger"), re.compile("network `lan` has no address yet"))
    board.wait_said(rf"{NAME} user add")
    check("and has room for clients, none for core files", board.told("limits"), ["core=0", "nofile=12288 12288"])
    check("ntpd, which does not run yet, is left alone", board.exists("tmp/sysntpd.log"), False)
    check("no jail without ujail", board.told("jail"), [])
    board.wait_said(r"listening on 127\.0\.0\.1:1883")
    board.wait_said(r"listening on \[::1\]:1883")
    check("the daemon is not root", board.ids(), "1886 1886")

    print("-- the network comes up, there are no users yet")
    board.network("lan", "192.168.1.1", "fd00:1::1")
    check("its addresses are listeners", board.read(LISTENERS).split(),
          ["127.0.0.1:1883", "192.168.1.1:1883", "[::1]:1883", "[fd00:1::1]:1883"])
    check("the daemon may read them, and is told where", (facts_of(board, LISTENERS), board.told("command")[-2:]),
          ((0, 0, 0o644), ["--listen-file", f"/{LISTENERS}"]))
    board.wait_said("the configuration [0-9a-f]{8} is in force")
    check("all in one life", board.starts, 1)
    check("programs on the router may connect", connack("127.0.0.1"), 0)
    check("the LAN finds nobody", connack("192.168.1.1"), "ConnectionRefusedError")


def users(board):
    print("-- a user is added")
    pid = board.process.pid
    result = board.sh(f"{NAME} user add kitchen")
    check("user add succeeds", (result.returncode, result.stderr), (0, ""))
    password = max(re.findall(r"[A-Za-z0-9]{20,}", result.stdout), key=len)
    board.wait_said(r"listening on 192\.168\.1\.1:1883")
    board.wait_said(r"listening on \[fd00:1::1\]:1883")
    check("without a restart", board.process.pid, pid)
    check("the node is let in", connack("192.168.1.1", "kitchen", password), 0)
    check("over IPv6 as well", connack("fd00:1::1", "kitchen", password), 0)
    check("a wrong password is not", connack("192.168.1.1", "kitchen", "wrong"), 4)
    check("nobody else is", connack("192.168.1.1"), 5)
    file = (board.root / f"etc/{NAME}/users.toml").stat()
    check("the users file is root's, readable to the daemon only", (file.st_uid, file.st_gid, file.st_mode & 0o777), (0, 1886, 0o640))

    print("-- the last user goes, and one comes back")
    board.sh(f"{NAME} user remove kitchen")
    check("the LAN listener closes", wait_until(lambda: connack("192.168.1.1") == "ConnectionRefusedError"))
    password = max(re.findall(r"[A-Za-z0-9]{20,}", board.sh(f"{NAME} user add kitchen").stdout), key=len)
    check("and opens again", wait_until(lambda: connack("192.168.1.1", "kitchen", password) == 0))
    check("still without a restart", board.process.pid, pid)
    return password


def addresses(board, password):
    print("-- the addresses of the network change")
    pid, file = board.process.pid, os.lstat(board.root / LISTENERS)
    board.network("lan", "192.168.1.1", "fd00:1::1")
    check("the same addresses again: nothing happens", os.lstat(board.root / LISTENERS), file)
    board.network("lan", "192.168.1.1", "fe80::1 fd00:1::1")
    check("nor for a link-local one", os.lstat(board.root / LISTENERS), file)
    with socket.create_connection(("127.0.0.1", 1883)) as node:
        board.network("lan", "192.168.7.1")
        check("others: the old one closes", wait_until(lambda: connack("192.168.1.1") == "ConnectionRefusedError"))
        board.wait_said(r"192\.168\.7\.1:1883.*; tried again every few seconds")
        run("ip", "address", "add", "192.168.7.1/24", "dev", "lo")
        check("a new one opens when it is there", wait_until(lambda: connack("192.168.7.1", "kitchen", password) == 0))
        node.sendall(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01n")
        check("and nodes at the others stay", node.recv(4), b"\x20\x02\0\0")
    good = board.read(f"etc/{NAME}/bridge.toml")
    for edited in ("[[[", good.replace("/posts/{id}", "/edited/{id}")):
        board.write(f"etc/{NAME}/bridge.toml", edited, 0o640)
        board.network("lan", "192.168.1.1", "fd00:1::1")
        check("also while somebody edits bridge.toml", wait_until(lambda: connack("192.168.1.1", "kitchen", password) == 0))
        board.network("lan", "192.168.7.1")
        check("to and fro", wait_until(lambda: connack("192.168.1.1") == "ConnectionRefusedError"))
    check("which is not taken over before its time", board.said("/edited/"), False)
    board.write(f"etc/{NAME}/bridge.toml", good, 0o640)
    board.network("lan", "192.168.1.1", "fd00:1::1")
    uci = board.read(f"etc/config/{NAME}")
    board.write(f"etc/config/{NAME}", uci.replace("1883", "1884"))
    board.sh(f"/etc/init.d/{NAME} reload")
    check("another port: that too", wait_until(lambda: connack("192.168.1.1") == "ConnectionRefusedError"))
    board.write(f"etc/config/{NAME}", uci)
    board.sh(f"/etc/init.d/{NAME} reload")
    check("and back", wait_until(lambda: connack("192.168.1.1", "kitchen", password) == 0))
    check("without a restart", board.process.pid, pid)


def full(board, password):
    print("-- /tmp is full")
    board.sh(f"/etc/init.d/{NAME} stop")
    run("mount", "-t", "tmpfs", "-o", "nr_inodes=2", "tmpfs", board.root / f"var/run/{NAME}")  # itself, and the daemon's folder
    board.sh(f"/etc/init.d/{NAME} start")
    check("it is said", board.read("tmp/logger"), re.compile("listeners can not be written, is /tmp full"))
    board.wait_said(r"listening on 127\.0\.0\.1:1883")
    check("and it runs with the listeners of bridge.toml", (connack("127.0.0.1"), "--listen-file" in board.told("command")), (0, False))
    board.sh(f"/etc/init.d/{NAME} stop")
    run("umount", board.root / f"var/run/{NAME}")
    board.sh(f"/etc/init.d/{NAME} start")
    check("with room the network is back", wait_until(lambda: connack("192.168.1.1", "kitchen", password) == 0))


def owners_and_modes(board, password):
    print("-- owners and modes of what the service reads")
    folder = board.root / f"etc/{NAME}"
    def facts(path):
        found = os.lstat(path)
        return found.st_uid, found.st_gid, found.st_mode & 0o777
    def service(action):
        check(f"{action} succeeds", board.sh(f"/etc/init.d/{NAME} {action}").returncode, 0)
    (folder / "certificates").mkdir(mode=0o700)
    board.write(f"etc/{NAME}/certificates/two words.pem", "not read by anyone\n", 0o666)
    board.write(f"etc/{NAME}/listener-ca.key", "key of a CA\n", 0o644)
    board.write("etc/elsewhere", "of others\n", 0o600)
    (folder / "link").symlink_to("/etc/elsewhere")
    (folder / "own").mkdir(mode=0o700)
    board.write(f"etc/{NAME}/own/data", "of the daemon\n", 0o600)
    for path in ("own", "own/data"):
        os.chown(folder / path, 1886, 1886)
    service("start")
    check("readable to the daemon, writable to root only", {path: facts(folder / path) for path in
          (".", "bridge.toml", "users.toml", "certificates", "certificates/two words.pem")},
          {".": (0, 1886, 0o750), "bridge.toml": (0, 1886, 0o640), "users.toml": (0, 1886, 0o640),
           "certificates": (0, 1886, 0o750), "certificates/two words.pem": (0, 1886, 0o640)})
    check("the key of the CA is root's alone", facts(folder / "listener-ca.key")[2], 0o600)
    check("where a link leads stays as it is", facts(board.root / "etc/elsewhere"), (0, 0, 0o600))
    check("what the daemon wrote stays its own", [facts(folder / path) for path in ("own", "own/data")],
          [(1886, 1886, 0o700), (1886, 1886, 0o600)])
    before = {path: os.lstat(path).st_ctime_ns for path in folder.rglob("*")}
    service("start")
    check("another start writes nothing to flash", {path: os.lstat(path).st_ctime_ns for path in folder.rglob("*")}, before)
    shutil.rmtree(folder / "own")
    shutil.rmtree(folder / "certificates")
    for path in ("listener-ca.key", "link"):
        (folder / path).unlink()
    board.sh(f"/etc/init.d/{NAME} start")
    check("the daemon ran all the time, or again", board.process.poll(), None)
    check("and lets the node in", wait_until(lambda: connack("192.168.1.1", "kitchen", password) == 0))

    print("-- a backup of another router is restored, which knows no such user")
    board.sh(f"/etc/init.d/{NAME} stop")
    board.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    board.write("etc/group", "root:x:0:\n")
    service("start")
    check("it has a user of its own again", board.read("etc/passwd"), re.compile(rf"^{NAME}:x:1886:1886:", re.M))
    check("and a group", board.read("etc/group"), re.compile(rf"^{NAME}:x:1886:", re.M))
    check("and is not root", board.ids(), "1886 1886")


def facts_of(board, path):
    """Owner, group and mode."""
    found = os.lstat(board.root / path)
    return found.st_uid, found.st_gid, found.st_mode & 0o777


def configuration(board):
    print("-- the configuration changes")
    pid, file = board.process.pid, f"etc/{NAME}/bridge.toml"
    good = board.read(file)
    board.write(file, good.replace('endpoint = "posts"', 'endpoint = "post"'), 0o640)
    result = board.sh(f"/etc/init.d/{NAME} reload")
    check("a mistake: reload fails", result.returncode, 1)
    check("says where", board.read("tmp/logger"), re.compile(r"bridge\.toml:\d+: .*`post`"))
    check("and what ran goes on", (board.process.pid, board.process.poll()), (pid, None))
    board.write(file, good + "\n# reviewed\n", 0o640)
    board.sh(f"/etc/init.d/{NAME} reload")
    board.wait_said(r"the configuration [0-9a-f]{8} is in force")
    told = board.sh(f"{NAME} status")
    check("root may ask the daemon", (told.returncode, told.stderr), (0, ""))
    check("which has taken it over", told.stdout, re.compile(r"^reload +taken over .*, 1 since the start$", re.M))
    check("without a restart", board.process.pid, pid)
    socket_mode = os.lstat(board.root / f"var/run/{NAME}/daemon/status.sock").st_mode & 0o777
    check("nobody else may", (socket_mode, facts_of(board, f"var/run/{NAME}/daemon")), (0o600, (1886, 1886, 0o700)))
    secret = "\n[secret.posts]\nfile = \"posts.token\"\n"
    board.write(file, good + secret, 0o640)
    board.write(f"etc/{NAME}/posts.token", "s3cr3t\n", 0o600)
    board.sh(f"/etc/init.d/{NAME} reload")
    check("a secret of root's: it is shared and read", wait_until(lambda: "2 since the start" in board.sh(f"{NAME} status").stdout))
    check("without a restart", board.process.pid, pid)
    board.write(file, good + "\n# reviewed\n", 0o640)
    board.sh(f"/etc/init.d/{NAME} reload")
    secret = (board.root / f"etc/{NAME}/posts.token").stat()
    check("and it is for the daemon only", (secret.st_gid, secret.st_mode & 0o777), (1886, 0o640))
    uci = board.read(f"etc/config/{NAME}")
    board.write(f"etc/config/{NAME}", uci.replace("log_level 'info'", "log_level 'debug'"))
    check("a change of UCI is watched", f"config {NAME}" in board.told("trigger"))
    board.sh(f"/etc/init.d/{NAME} reload")
    check("and reaches the daemon", board.told("command")[3:5], ["--log-level", "debug"])
    board.write(f"etc/config/{NAME}", uci.replace("\tlist network 'lan'\n", ""))
    board.sh(f"/etc/init.d/{NAME} reload")
    check("no network: bridge.toml says where to listen", "--listen-file" in board.told("command"), False)
    board.write(f"etc/config/{NAME}", uci)
    board.sh(f"/etc/init.d/{NAME} reload")
    pid = board.process.pid
    for before, after, why in (
            (f"/etc/{NAME}/bridge.toml", "/etc/two words.toml", "path `/etc/two words.toml` holds white space"),
            (f"/etc/{NAME}/store", "store", "path `store` does not begin with /"),
            ("'info'", "'warning'", "log_level `warning` is none"),
            ("'1883'", "'mqtt'", "port `mqtt` is none"), ("'1883'", "'65536'", "port `65536` is none"), ("'1883'", "'0'", "port `0` is none")):
        board.write(f"etc/config/{NAME}", uci.replace(before, after))
        for action in ("reload", "start", "uplink"):
            check(f"{why}: {action} fails", board.sh(f"/etc/init.d/{NAME} {action}").returncode, 1)
            check("says why", why in board.read("tmp/logger").splitlines()[-1])
            check("and what ran goes on", (board.process.pid, board.process.poll()), (pid, None))
    board.write(f"etc/config/{NAME}", uci.replace("enabled '1'", "enabled '0'"))
    board.sh(f"/etc/init.d/{NAME} reload")
    check("disabled: it stops", board.process, None)
    board.write(f"etc/config/{NAME}", uci)
    board.sh(f"/etc/init.d/{NAME} start")


def hotplug(board, password):
    print("-- the clock is set")
    clock, script = f"var/run/{NAME}/clock", f". /etc/hotplug.d/ntp/95-{NAME}"
    for event in (dict(ACTION="stratum", stratum="16"), dict(ACTION="unsync", stratum="16"), dict(ACTION="step", stratum="3"), dict(ACTION="stratum"),
                  dict(ACTION="stratum", stratum="0"), dict(ACTION="periodic", stratum="16"), dict(ACTION="stratum", stratum="150")):
        board.sh(script, **event)
        check(f"not yet: {event}", board.exists(clock), False)
    board.sh(script, ACTION="periodic", stratum="15")
    check("what ntpd says every 11 minutes counts as well", board.read(clock), "stratum 15\n")
    (board.root / clock).unlink()
    check("now", (board.sh(script, ACTION="stratum", stratum="3").returncode, board.exists(clock)), (0, True))
    check("readable to the daemon", [(board.root / path).stat().st_mode & 0o777 for path in (clock, f"var/run/{NAME}")], [0o644, 0o755])
    check("it says what the clock hangs on", board.read(clock), "stratum 3\n")
    first = (board.root / clock).stat().st_ino
    board.sh(script, ACTION="periodic", stratum="3")
    check("each time by another file: the clock may have jumped back", (board.root / clock).stat().st_ino != first)

    print("-- the WAN comes up")
    script, pid = f". /etc/hotplug.d/iface/95-{NAME}", board.process.pid
    board.sh(script, ACTION="ifup", INTERFACE="wan")
    check("without a jail it goes on", board.process.pid, pid)
    board.wait_said("trying at once what did not work")
    board.process.send_signal(signal.SIGSTOP)
    uplink = subprocess.Popen(["chroot", board.root, "/bin/sh", "-c", f"/etc/init.d/{NAME} uplink"])
    time.sleep(0.5)
    check("one that does not answer yet gets no signal", board.exists("tmp/procd.signals"), False)
    board.process.send_signal(signal.SIGCONT)
    check("but once it does", (uplink.wait(LIMIT), board.read("tmp/procd.signals")), (0, "USR1\n"))
    board.sh("true")
    check("and outlives it", board.process.pid, pid)
    board.write("sbin/ujail", "#!/bin/sh\nexit 255\n", 0o755)
    board.sh(f"/etc/init.d/{NAME} reload")
    check("with a ujail that can not run it there is no jail", board.told("jail"), [])
    check("which is said", board.read("tmp/logger"), re.compile("/sbin/ujail can not run"))
    check("and it goes on", board.process.pid, pid)
    board.write("sbin/ujail", "", 0o755)
    board.sh(f"/etc/init.d/{NAME} reload")
    check("with ujail there is a jail", board.told("jail"), [f"{NAME} ronly procfs"])
    check("with the paths it needs", board.told("mount"),
          [f"/etc/{NAME}", f"/var/run/{NAME}", "/etc/ssl", "/etc/hosts", "/etc/resolv.conf"])
    check("and one where its socket is", board.told("mount_rw"), [f"/var/run/{NAME}/daemon"])
    check("the daemon is not root there", board.ids(), "1886 1886")
    check("nothing else there can be written", [os.statvfs(f"/proc/{board.process.pid}/root/{path}").f_flag & os.ST_RDONLY for path in
          ("", f"etc/{NAME}", f"var/run/{NAME}")], [os.ST_RDONLY] * 3)
    check("it knows the name of the router", os.path.exists(f"/proc/{board.process.pid}/root/proc/sys/kernel/hostname"))
    pid = board.process.pid
    board.wait_said(r"listening on 192\.168\.1\.1:1883")
    check("nodes are let in", connack("192.168.1.1", "kitchen", password), 0)
    check("root may ask it from outside", board.sh(f"{NAME} status").returncode, 0)
    hall = max(re.findall(r"[A-Za-z0-9]{20,}", board.sh(f"{NAME} user add hall").stdout), key=len)
    check("it sees a user who is added now", wait_until(lambda: connack("192.168.1.1", "hall", hall) == 0))
    board.sh(f"{NAME} user remove hall")
    check("without a restart", board.process.pid, pid)
    board.sh(script, ACTION="ifup", INTERFACE="wan")
    check("the same resolver: nothing happens", board.process.pid, pid)
    board.write("tmp/resolv.conf", "nameserver 9.9.9.9\n")
    board.sh(script, ACTION="ifdown", INTERFACE="wan")
    check("on the way down neither", board.process.pid, pid)
    board.sh(script, ACTION="ifup", INTERFACE="wan")
    check("another: the jail is made anew", board.process.pid != pid)
    board.sh(f"/etc/init.d/{NAME} stop")
    board.sh(script, ACTION="ifup", INTERFACE="wan")
    check("a stopped service stays so", board.process, None)

    print("-- what has to survive is stored")
    file = f"etc/{NAME}/bridge.toml"
    good = board.read(file)
    board.write(file, good + '\n[store]\ndirectory = "store"\n', 0o640)
    board.sh(f"/etc/init.d/{NAME} start")
    check("the jail lets it be written", board.told("mount_rw"), [f"/var/run/{NAME}/daemon", f"/etc/{NAME}/store"])
    board.wait_said(r"store `.*/store`: 0 values")
    check("by the daemon alone", facts_of(board, f"etc/{NAME}/store"), (1886, 1886, 0o700))
    for path in (f"etc/{NAME}/store", f"etc/{NAME}/store/log"):
        os.chown(board.root / path, 0, 0)
    board.sh(f"/etc/init.d/{NAME} start")
    check("also one that root restored", [facts_of(board, path) for path in (f"etc/{NAME}/store", f"etc/{NAME}/store/log")],
          [(1886, 1886, 0o700)] * 2)
    board.sh(f"/etc/init.d/{NAME} stop")
    shutil.rmtree(board.root / f"etc/{NAME}/store")

    print("-- and on a disk, which is not there at first")
    uci = board.read(f"etc/config/{NAME}")
    board.write(f"etc/config/{NAME}", uci.replace(f"/etc/{NAME}/store", "/mnt/disk/store"))
    board.write("etc/config/fstab", "config mount\n\toption target '/mnt/disk'\n\toption enabled '1'\n")
    board.write(file, good + '\n[store]\ndirectory = "/mnt/disk/store"\n', 0o640)
    (board.root / "mnt/disk").mkdir(parents=True)
    board.sh(f"/etc/init.d/{NAME} start")
    check("flash is not taken for it", os.listdir(board.root / "mnt/disk"), [])
    check("which is said", board.read("tmp/logger"), re.compile("nothing is stored yet: no disk at /mnt/disk"))
    board.wait_said(r"listening on 127\.0\.0\.1:1883")
    check("the rest works", connack("192.168.1.1", "kitchen", password), 0)
    (board.root / "mnt/disk/store").mkdir()
    board.sh(f"/etc/init.d/{NAME} start")
    check("one that is on flash already is told of", board.read("tmp/logger"), re.compile("the store `/mnt/disk/store` is on flash"))
    (board.root / "mnt/disk/store").rmdir()
    check("the disk is waited for", "mount /mnt/disk/store" in board.told("trigger"))
    run("mount", "-t", "tmpfs", "tmpfs", board.root / "mnt/disk")
    board.write("etc/config/fstab", "config mount\n\toption target '/mnt/link'\n")
    (board.root / "mnt/link").symlink_to("disk")
    board.write(file, good + '\n[store]\ndirectory = "/mnt/link/store"\n', 0o640)
    board.write(f"etc/config/{NAME}", uci.replace(f"/etc/{NAME}/store", "/mnt/link/store/"))
    for action in ("stop", "start"):  # a restart, of which this procd sees both halves
        board.sh(f"/etc/init.d/{NAME} {action}")
    board.wait_said(r"store `/mnt/link/store`: 0 values")
    check("there, behind a link, the daemon has it for itself", facts_of(board, "mnt/disk/store"), (1886, 1886, 0o700))
    board.sh(f"/etc/init.d/{NAME} stop")
    run("umount", board.root / "mnt/disk")
    (board.root / "mnt/link").unlink()
    (board.root / "etc/config/fstab").unlink()
    board.write(f"etc/config/{NAME}", uci)
    board.write(file, good, 0o640)
    (board.root / "sbin/ujail").unlink()
    board.sh(f"/etc/init.d/{NAME} start")


def upgrade_and_removal(board, package, password):
    print("-- an upgrade, the owner has edited bridge.toml")
    edited, users_file, starts = board.read(f"etc/{NAME}/bridge.toml"), board.read(f"etc/{NAME}/users.toml"), board.starts
    with tempfile.TemporaryDirectory() as folder:
        result = board.install(renewed(package, pathlib.Path(folder)), upgrade=True)
    check("it succeeds", (result.returncode, result.stderr), (0, ""))
    check("the owner's file stays", board.read(f"etc/{NAME}/bridge.toml"), edited)
    check("the new one lies beside it", "# next" in board.read(f"etc/{NAME}/bridge.toml-opkg"))
    check("the users stay", board.read(f"etc/{NAME}/users.toml"), users_file)
    check("a clock known to be set: ntpd is left alone", board.exists("tmp/sysntpd.log"), False)
    check("the service runs again, once", (board.starts, board.process.poll()), (starts + 1, None))
    check("and lets the node in", wait_until(lambda: connack("192.168.1.1", "kitchen", password) == 0))

    print("-- an upgrade by apk, which stops nothing and then says `start`")
    pid = board.process.pid
    board.write(f"etc/{NAME}/bridge.toml.apk-new", "# of the next package\n")
    board.sh(f"/etc/init.d/{NAME} start", PKG_UPGRADE="1")
    check("nothing but its new configuration: nothing happens", board.process.pid, pid)
    starts = board.starts
    with (board.root / f"usr/bin/{NAME}").open("a") as program:
        program.write("# another program\n")
    board.sh(f"/etc/init.d/{NAME} start", PKG_UPGRADE="1")
    check("another program: it runs, once", (board.starts, board.process.poll()), (starts + 1, None))
    (board.root / f"etc/{NAME}/bridge.toml.apk-new").unlink()

    print("-- installed anew, on a router that has been up for long")
    (board.root / f"var/run/{NAME}/clock").unlink()
    board.write("tmp/sysntpd", "running")
    board.install(package, upgrade=True)
    check("ntpd is started anew", board.read("tmp/sysntpd.log"), "restart\n")
    check("and tells at once that the clock is set", board.read(f"var/run/{NAME}/clock"), "stratum 2\n")

    print("-- removal")
    kept = kept_files(board)
    board.remove()
    check("the service is gone", (board.process, board.exists(f"etc/rc.d/S95{NAME}")), (None, False))
    left = sorted(str(path.relative_to(board.root)) for path in board.root.rglob(f"*{NAME}*") if path.is_symlink() or path.is_file() or not any(path.iterdir()))
    check("nothing else is left", left, [])
    check("what the owner made stays", sorted(path.name for path in (board.root / f"etc/{NAME}").iterdir()),
          ["bridge.toml", "bridge.toml-opkg", "posts.token", "users.toml"])
    return kept


def kept_files(board):
    """What sysupgrade and backups would keep: path → (content, mode), found as they find it."""
    found = board.sh("find $(sed -n '/^#/d;p' /lib/upgrade/keep.d/*) -type f -o -type l").stdout.split()
    return {path: ((board.root / path[1:]).read_bytes(), (board.root / path[1:]).stat().st_mode & 0o777) for path in found}


def sysupgrade(board, package, password, kept):
    print("-- sysupgrade to an image without the package, which is installed again")
    check("configuration, users and secrets were kept", sorted(kept),
          [f"/etc/{NAME}/{name}" for name in ("bridge.toml", "bridge.toml-opkg", "posts.token", "users.toml")])
    shutil.rmtree(board.root / f"etc/{NAME}")
    shutil.rmtree(board.root / f"var/run/{NAME}")
    (board.root / f"etc/{NAME}").mkdir()
    for path, (content, mode) in kept.items():
        board.write(path[1:], content.decode(), mode)
    result = board.install(package)
    check("it succeeds", (result.returncode, result.stderr), (0, ""))
    check("the configuration is the owner's", board.read(f"etc/{NAME}/bridge.toml"), kept[f"/etc/{NAME}/bridge.toml"][0].decode())
    check("and the node is let in", wait_until(lambda: connack("192.168.1.1", "kitchen", password) == 0))
    check("the secret is for the daemon only", [(found.st_gid, found.st_mode & 0o777) for found in [(board.root / f"etc/{NAME}/posts.token").stat()]], [(1886, 0o640)])


def main():
    package, qemu, shell = sys.argv[1:]
    run("ip", "link", "set", "lo", "up")
    for address in ("192.168.1.1/24", "fd00:1::1/64"):
        run("ip", "address", "add", address, "dev", "lo")
    board = Board(qemu, shell)
    try:
        first_boot(board, package)
        password = users(board)
        addresses(board, password)
        full(board, password)
        owners_and_modes(board, password)
        configuration(board)
        hotplug(board, password)
        kept = upgrade_and_removal(board, package, password)
        sysupgrade(board, package, password, kept)
    finally:
        if failed:
            print("---- log of the daemon\n" + "".join(board.log))
        with contextlib.suppress(subprocess.TimeoutExpired):
            board.halt(LIMIT)
        board.clear()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if os.environ.get("BOARD_SCRATCH") != "inside":
    os.execvpe("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv],
               {**os.environ, "BOARD_SCRATCH": "inside"})
sys.exit(main())
