//! The command `mqtt-https-bridge`: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    mqtt_https_bridge::cli::main()
}
