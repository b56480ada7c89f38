//! Says how old the program is at least, and packs its relocations.
//!
//! A clock that shows a time before the program was written is not believed. The packers of
//! distributions give the date of their sources in SOURCE_DATE_EPOCH.
//!
//! Packs the relative relocations of the program where the C library can read them.
//!
//! A position-independent program holds thousands of them at 24 bytes each; packed (`DT_RELR`)
//! they take 5 % off the binary and cost nothing in address space layout randomisation. glibc
//! reads them since 2.36 and says so by a version name in its `libc.so.6`; with an older one the
//! program would not start, so that this machine's own library is asked.

use std::env::var;
use std::fs::read;

const MARK: &[u8] = b"GLIBC_ABI_DT_RELR";

/// 2026-11-01, the month in which this version was written: raised with each release.
const WRITTEN: u64 = 1_793_491_200;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    // Not the time of the build, so that the same sources give the same bytes.
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let date = var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|date| date.parse().ok());
    // Some packers give a date long past to all that they build.
    println!(
        "cargo::rustc-env=BUILT={}",
        date.unwrap_or(WRITTEN).max(WRITTEN)
    );
    let native = var("HOST") == var("TARGET");
    let glibc = var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    let arch = var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let folders = [
        format!("/lib/{arch}-linux-gnu"),
        "/lib64".into(),
        "/usr/lib".into(),
    ];
    let reads_them = folders.iter().any(|folder| {
        let library = read(format!("{folder}/libc.so.6")).unwrap_or_default();
        library.windows(MARK.len()).any(|bytes| bytes == MARK)
    });
    if native && glibc && reads_them {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
