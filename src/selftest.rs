//! The command `mqtt-https-bridge-selftest`: the self-test and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    mqtt_https_bridge::cli::selftest_alone()
}
