#!/usr/bin/env python3
"""Asserts what opkg and OpenWrt expect of an .ipk, reading its bytes without a tar library.

    board-package.py FOLDER      every .ipk in it, against its SHA256SUMS and the feed's Makefile
"""

import hashlib
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import tomllib
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAME = "mqtt-https-bridge"
SELFTEST = f"{NAME}-selftest"
# Bytes of the program and of its package. MIPS is where flash is scarce: 3.5 MB and 1.6 MB are the
# most they may ever have; these hold them where they are.
MIPS_LIMITS = (3_260_000, 1_500_000)
OTHER_LIMITS = (3_500_000, 1_700_000)
MAGICS = {b"ustar\x0000": "ustar", b"ustar  \x00": "GNU"}
FIELDS = ["Package", "Version", "Depends", "SourceName", "License", "LicenseFiles", "Section", "Require-User",
          "SourceDateEpoch", "Architecture", "Installed-Size", "Description"]
# ELF class, byte order and machine for the first part of OpenWrt's architecture name.
ELF = {"mipsel": (1, "<", 8), "mips": (1, ">", 8), "aarch64": (2, "<", 183), "arm": (1, "<", 40), "x86": (2, "<", 62)}
SOFT_FLOAT = 3
passed = failed = 0


def check(what, good, detail=""):
    global passed, failed
    if good:
        passed += 1
        print(f"ok    {what}")
    else:
        failed += 1
        print(f"FAIL  {what} {detail}")


def gunzip(name, content):
    """Unpacks, asserting one gzip member whose header holds neither name nor time."""
    check(f"{name}: gzip without name and time", content[:4] == b"\x1f\x8b\x08\x00" and content[4:8] == bytes(4))
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    result = unpacker.decompress(content) + unpacker.flush()
    check(f"{name}: one complete gzip member", unpacker.eof and not unpacker.unused_data)
    return result


def text(field):
    return field.split(b"\0", 1)[0].decode()


def members(name, tar):
    """Reads the headers of a tar: a list of (path, mode, type, time, content)."""
    found, at, problems = [], 0, set()
    while at + 512 <= len(tar) and tar[at:at + 512] != bytes(512):
        header = tar[at:at + 512]
        path, kind = text(header[:100]), header[156:157]
        size, mode = int(text(header[124:136]), 8), int(text(header[100:108]), 8)
        if header[257:265] not in MAGICS:
            problems.add(f"{path}: neither GNU nor ustar")
        if kind not in (b"0", b"5"):
            problems.add(f"{path}: type {kind!r}, which opkg skips or misreads")
        if (int(text(header[108:116]), 8), int(text(header[116:124]), 8)) != (0, 0):
            problems.add(f"{path}: owner is not 0:0")
        if text(header[265:297]) or text(header[297:329]):
            problems.add(f"{path}: owner has a name")
        unsigned = sum(header[:148]) + 8 * 32 + sum(header[156:])
        if int(text(header[148:156]).strip(), 8) != unsigned:
            problems.add(f"{path}: wrong checksum")
        found.append((path, mode, kind, int(text(header[136:148]), 8), tar[at + 512:at + 512 + size]))
        at += 512 + (size + 511) // 512 * 512
    check(f"{name}: headers as opkg reads them", not problems, sorted(problems))
    check(f"{name}: ends with two empty blocks", tar[at:at + 1024] == bytes(1024) and not tar[at:].strip(b"\0"))
    check(f"{name}: one time for all", len({member[3] for member in found}) == 1)
    paths = [member[0] for member in found]
    check(f"{name}: every path below ./, none twice",
          all(path.startswith("./") and ".." not in path.split("/") for path in paths) and len(set(paths)) == len(paths), paths)
    return found


def folder_tree(name, tar):
    """Like `members`, for the tars that hold a tree: sorted, each folder before its files."""
    found = members(name, tar)
    names = [path.rstrip("/") for path, *_ in found]
    check(f"{name}: sorted", names == sorted(names), names)
    folders = {path for path, _, kind, *_ in found if kind == b"5"}
    check(f"{name}: every folder is there", all(f"{path.rsplit('/', 1)[0]}/" in folders for path, _, kind, *_ in found if kind == b"0"))
    return {path[1:].rstrip("/") or "/": (mode, kind == b"5", content) for path, mode, kind, _, content in found}


def parse_control(content):
    fields, name = {}, None
    for line in content.decode().splitlines():
        if line.startswith(" "):
            fields[name] += "\n" + line
        else:
            name, value = line.split(": ", 1)
            fields[name] = value
    return fields


def check_control(control, package, architecture, data_size, time):
    fields = parse_control(control["/control"][2])
    wanted = FIELDS if package == NAME else [field for field in FIELDS if field != "Require-User"]
    check("control: the fields, in OpenWrt's order", list(fields) == wanted, list(fields))
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    check("control: Version is Cargo's, with a release", re.fullmatch(re.escape(version) + r"-r[1-9]\d*", fields["Version"]))
    check("control: Package is that of the file name", fields["Package"] == package)
    check("control: Architecture is that of the file name", fields["Architecture"] == architecture, fields["Architecture"])
    check("control: Installed-Size is that of the data tar", int(fields["Installed-Size"]) == data_size)
    check("control: SourceDateEpoch is the members' time", int(fields["SourceDateEpoch"]) == time)
    check("control: Depends, License, Section as the feed's Makefile says",
          [fields[name] for name in ("Depends", "SourceName", "License", "LicenseFiles", "Section")] == ["libc", NAME, "MIT", "LICENSE", "net"], fields)
    check("control: the licence is there", (ROOT / fields["LicenseFiles"]).is_file())
    check("control: Description is text, each line after one blank", all(re.fullmatch(r" [!-~][ -~]*", line)
          for line in fields["Description"].split("\n")), fields["Description"])
    scripts = {"/control": 0o644, "/postinst": 0o755, "/prerm": 0o755}
    if package == NAME:
        user = re.fullmatch(r"([a-z-]+)=(\d+):([a-z-]+)=(\d+)", fields["Require-User"])
        check("control: Require-User names user and group, not root", user and user[1] == user[3] == NAME and 0 < int(user[2]) == int(user[4]) < 65536)
        scripts |= {"/conffiles": 0o644, "/postinst-pkg": 0o755}
    check("control: ends with a newline, no empty line", control["/control"][2].endswith(b"\n") and b"\n\n" not in control["/control"][2])
    check("control: its files and their modes", {path: mode for path, (mode, folder, _) in control.items() if not folder} == scripts)
    for script in ("postinst", "prerm"):
        lines = control[f"/{script}"][2].decode().splitlines()
        check(f"{script}: the stock one", lines[0] == "#!/bin/sh" and lines[-2:] == [". ${IPKG_INSTROOT}/lib/functions.sh", f"default_{script} $0 $@"])


def check_files(data, control):
    files = {path: (mode, content) for path, (mode, folder, content) in data.items() if not folder}
    if f"/usr/bin/{SELFTEST}" in files:
        check("the self-test brings its program and nothing else", {path: mode for path, (mode, _) in files.items()} == {f"/usr/bin/{SELFTEST}": 0o755}, set(files))
    else:
        check_service(files, data, control)
    for path, (mode, content) in {**files, **{p: (m, c) for p, (m, _, c) in control.items()}}.items():
        if content.startswith(b"#!"):
            for shell in (["dash", "-n"], ["busybox", "sh", "-n"]):
                result = subprocess.run(shell, input=content, capture_output=True)
                check(f"{path}: {shell[0]} can read it", result.returncode == 0, result.stderr)


def check_service(files, data, control):
    conffiles = control["/conffiles"][2].decode().splitlines()
    check("conffiles: in the package", conffiles and set(conffiles) <= set(files), conffiles)
    wanted = {path for path in files if path.startswith("/etc/config/") or path.endswith(".toml")}
    check("conffiles: every configuration", wanted == set(conffiles), wanted)
    check("the owner's files are not readable to all", all(files[path][0] & 0o007 == 0 for path in conffiles))
    init = files[f"/etc/init.d/{NAME}"]
    check("init: rc.common, procd, executable", init[0] == 0o755 and init[1].startswith(b"#!/bin/sh /etc/rc.common\n")
          and re.search(rb"^USE_PROCD=1$", init[1], re.M) and re.search(rb"^START=\d\d$", init[1], re.M))
    ids = set(re.findall(r"=(\d+)", parse_control(control["/control"][2])["Require-User"]))
    check("init: makes the user with the ID that Require-User gives", set(re.findall(rb"^ID=(\d+)", init[1], re.M)) == {number.encode() for number in ids})
    for kind in ("ntp", "iface"):
        found = [path for path in files if re.fullmatch(rf"/etc/hotplug\.d/{kind}/\d\d-{NAME}", path)]
        check(f"hotplug.d/{kind}: one script, executable", len(found) == 1 and files[found[0]][0] == 0o755)
    kept = files[f"/lib/upgrade/keep.d/{NAME}"][1].decode().split()
    check("keep.d: folders of the package", kept and all(path.rstrip("/") in data for path in kept), kept)
    check("no file holds a carriage return", not any(b"\r" in content for path, (_, content) in files.items() if not path.startswith("/usr/bin")))


def check_program(program, architecture):
    bits, order, machine = ELF[re.split("[_.]", architecture)[0]]
    check("program: class and byte order", program[:6] == b"\x7fELF" + bytes([bits, 1 if order == "<" else 2]))
    kind, found = struct.unpack_from(order + "HH", program, 16)
    check("program: machine, and not position-independent", (kind, found) == (2, machine), (kind, found))
    if bits == 1:
        (start,), (flags,), (size, count) = (struct.unpack_from(order + f, program, at) for f, at in (("I", 28), ("I", 36), ("HH", 42)))
        headers = [struct.unpack_from(order + "IIIIIIII", program, start + n * size) for n in range(count)]
        segments = {kind: (offset, flag) for kind, offset, _, _, _, _, flag, _ in headers}
    else:
        (start,), (flags,), (size, count) = (struct.unpack_from(order + f, program, at) for f, at in (("Q", 32), ("I", 48), ("HH", 54)))
        headers = [struct.unpack_from(order + "IIQQQQQQ", program, start + n * size) for n in range(count)]
        segments = {kind: (offset, flag) for kind, flag, offset, *_ in headers}
    check("program: static (no interpreter, nothing dynamic)", 3 not in segments and 2 not in segments)
    check("program: no executable stack", 0x6474E551 in segments and not segments[0x6474E551][1] & 1)
    if machine == 8:
        offset = segments[0x70000003][0]
        check("program: MIPS32r2, soft float", program[offset + 2:offset + 4] == b"\x20\x02" and program[offset + 7] == SOFT_FLOAT
              if flags >> 28 == 7 else False, hex(flags))
    names = {b".symtab\0", b".pdr\0", b".comment\0", b".debug_info\0"}
    check("program: stripped", not any(name in program[-8192:] for name in names))
    check("program: names no folder of the machine that built it", str(ROOT).encode() not in program and b"/.cargo/" not in program)
    most = limits(architecture)[0]
    check(f"program: {len(program)} bytes, at most {most}", len(program) <= most)


def limits(architecture):
    return MIPS_LIMITS if architecture.startswith("mips") else OTHER_LIMITS


def makefile_tree(package, program, folder):
    """Runs the feed Makefile's install rule for a package under a stand-in for OpenWrt's build system."""
    stand_in = folder / "openwrt"
    (stand_in / "feeds/packages/lang/rust").mkdir(parents=True)
    (stand_in / "rules.mk").write_text(
        "INSTALL_DIR:=install -d -m0755\nINSTALL_BIN:=install -m0755\nINSTALL_DATA:=install -m0644\nINSTALL_CONF:=install -m0600\nCP:=cp -fpR\n")
    (stand_in / "package.mk").write_text(
        "define BuildPackage\nifeq ($(1),$(PACKAGE))\n$(if $(filter $(1),$(PACKAGE)),$(eval $(call Package/$(1))))\nexport POSTINST=$$(call Package/$(1)/postinst)\n"
        "try-install:\n\t$$(call Package/$(1)/install,$(DEST))\n"
        "try-show:\n\t@echo '$$(USERID)|$$(PKG_VERSION)-r$$(PKG_RELEASE)|$$(strip $$(Package/$(1)/conffiles))|$$(strip $$(Package/$(1)/description))'\n"
        "try-postinst:\n\t@printenv POSTINST\n"
        "try-prepare:\n\t$$(Build/Prepare)\nendif\nendef\n")
    (stand_in / "feeds/packages/lang/rust/rust-package.mk").write_text("define RustBinPackage\nendef\n")
    (folder / "install/bin").mkdir(parents=True)
    (folder / "install/bin" / package).write_bytes(program)
    dest = folder / "root"
    def make(*goals):
        return subprocess.run(
            ["make", "-s", "-C", ROOT / "openwrt-package", f"PACKAGE={package}", f"TOPDIR={stand_in}", f"INCLUDE_DIR={stand_in}", f"DEST={dest}",
             f"PKG_INSTALL_DIR={folder}/install", f"PKG_BUILD_DIR={folder}/source", *goals], capture_output=True, text=True, check=True).stdout
    make("try-install", "try-prepare")
    tree = {}
    for path in sorted(dest.rglob("*")):
        content = None if path.is_dir() else path.read_bytes()
        tree[f"/{path.relative_to(dest)}"] = (path.stat().st_mode & 0o777, path.is_dir(), content)
    return tree, make("try-show").strip().split("|"), make("try-postinst"), {path.name for path in (folder / "source").iterdir()}


def check_makefile(package, data, control, program):
    with tempfile.TemporaryDirectory() as folder:
        tree, (user, version, conffiles, description), postinst, sources = makefile_tree(package, program, pathlib.Path(folder))
    ours = {path: (mode, is_folder, None if is_folder else content) for path, (mode, is_folder, content) in data.items() if path != "/"}
    different = {path for path in ours.keys() | tree.keys() if ours.get(path) != tree.get(path)}
    check("Makefile: installs the same files with the same modes", not different, sorted(different))
    fields = parse_control(control["/control"][2])
    control_of = lambda name: control[name][2].decode() if name in control else ""
    check("Makefile: the same user, version and conffiles", [user, version, conffiles.split()]
          == [fields.get("Require-User", ""), fields["Version"], control_of("/conffiles").split()], (user, version, conffiles))
    check("Makefile: the same description", description.split() == fields["Description"].split(), description)
    check("Makefile: the same script after installation", postinst.strip() == control_of("/postinst-pkg").strip(), postinst)
    check("Makefile: takes the sources that cargo needs", sources >= {"Cargo.toml", "Cargo.lock", "src", "tests", "LICENSE"}, sources)


def check_package(path):
    print(f"-- {path.name}")
    package, version, architecture = re.fullmatch(rf"({NAME}|{SELFTEST})_([^_]+)_(.+)\.ipk", path.name).groups()
    content = path.read_bytes()
    check("a gzipped tar, not ar", content[:2] == b"\x1f\x8b")
    outer = members("ipk", gunzip("ipk", content))
    check("ipk: its three members, in order", [member[0] for member in outer] == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"])
    check("ipk: format 2.0", outer[0][4] == b"2.0\n")
    data_tar = gunzip("data", outer[1][4])
    data, control = folder_tree("data", data_tar), folder_tree("control", gunzip("control", outer[2][4]))
    check_control(control, package, architecture, len(data_tar), outer[0][3])
    check("file name: the control's version", parse_control(control["/control"][2])["Version"] == version)
    check_files(data, control)
    program = data[f"/usr/bin/{package}"][2]
    check_program(program, architecture)
    check_makefile(package, data, control, program)
    most = limits(architecture)[1]
    check(f"ipk: {len(content)} bytes, at most {most}", len(content) <= most)


def main():
    folder = pathlib.Path(sys.argv[1])
    packages = sorted(folder.glob("*.ipk"))
    check("there are packages", bool(packages))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in packages]
    check("SHA256SUMS: every package, nothing else", (folder / "SHA256SUMS").read_text().splitlines() == sums)
    every = re.search(r"^readonly ALL=\((.+)\)$", (ROOT / "openwrt-package/build-ipk").read_text(), re.M)[1].split()
    readme = (ROOT / "README.md").read_text()
    check("README: names every architecture", all(f"`{architecture}`" in readme for architecture in every), every)
    for path in packages:
        check_package(path)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
