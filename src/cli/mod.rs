//! The command line: one file per command.
//!
//! Decides what the arguments mean, what is printed and which exit code tells how it went.

mod arguments;
mod check;
mod der;
mod endpoint;
mod exit;
mod listener_cert;
mod probe;
mod run;
#[cfg(feature = "selftest")]
mod selftest;
mod send;
mod sign;
mod status;
mod user;
mod users_file;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::config::{Config, ConfigError, Warning};
use arguments::{Arguments, Command};
use exit::Exit;

/// Where bridge.toml is when neither an argument nor the current directory says so.
const SYSTEM_CONFIG: &str = "/etc/mqtt-https-bridge/bridge.toml";

/// Where the self-test is if not in this program.
#[cfg(not(feature = "selftest"))]
const SELFTEST_ELSEWHERE: &str = "this program is built without the self-test; run \
     `mqtt-https-bridge-selftest`, which the package of that name installs";

/// Runs the command that the arguments name and returns its exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A reader that has gone away is no reason to fail differently.
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            return exit.into();
        }
    };
    let mut streams = Streams {
        out: &mut io::stdout().lock(),
        // Not locked: threads of the daemon log there.
        err: &mut io::stderr(),
    };
    let result = dispatch(arguments, &mut streams);
    finish(result, &mut streams)
}

/// Runs the self-test, for a program that does nothing else, and returns its exit code.
#[cfg(feature = "selftest-program")]
pub fn selftest_alone() -> ExitCode {
    let mut streams = Streams {
        out: &mut io::stdout().lock(),
        err: &mut io::stderr(),
    };
    let mut arguments = std::env::args_os().skip(1);
    let result = selftest::alone(arguments.next().as_deref(), &mut streams);
    finish(result, &mut streams)
}

fn finish(result: io::Result<Exit>, streams: &mut Streams<'_>) -> ExitCode {
    match result.and_then(|exit| streams.out.flush().map(|()| exit)) {
        Ok(exit) => exit.into(),
        // `… | head -1` is satisfied with what it got.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok.into(),
        Err(error) => {
            let _ = writeln!(streams.err, "can not finish: {error}");
            Exit::Failed.into()
        }
    }
}

fn dispatch(arguments: Arguments, streams: &mut Streams<'_>) -> io::Result<Exit> {
    let given = arguments.config.is_some();
    let config = arguments.config.unwrap_or_else(default_config);
    let command = arguments.command;
    match command.unwrap_or_else(|| Command::Run(run::Arguments::default())) {
        Command::Run(options) => run::run(&config, options, arguments.log_level, streams),
        Command::Check(options) => check::check(&config, &options, streams),
        Command::Probe(options) => {
            let level = arguments.log_level;
            crate::io::log::init(level.unwrap_or_else(run::level_from_environment));
            let expected = given || options.endpoint.is_some();
            let config = (expected || config.exists()).then_some(&*config);
            probe::probe(config, &options.into(), streams)
        }
        #[cfg(feature = "selftest")]
        Command::Selftest => selftest::selftest(arguments.log_level, streams),
        #[cfg(not(feature = "selftest"))]
        Command::Selftest => {
            writeln!(streams.err, "{SELFTEST_ELSEWHERE}")?;
            Ok(Exit::Failed)
        }
        Command::Send(options) => send::send(&options, streams),
        Command::Status(options) => status::status(&config, options, streams),
        Command::ListenerCert(options) => listener_cert::listener_cert(&config, &options, streams),
        Command::User(options) => user::user(&config, &options.command, streams),
    }
}

/// Where a command prints: results and remarks.
struct Streams<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

fn default_config() -> PathBuf {
    let here = PathBuf::from("bridge.toml");
    let system = Path::new(SYSTEM_CONFIG);
    // If neither exists, the error names the one that a person can most easily create.
    if !here.exists() && system.exists() {
        return system.to_owned();
    }
    here
}

/// Loads the configuration, or prints every error.
fn load(path: &Path, streams: &mut Streams<'_>) -> io::Result<Option<(Config, Vec<Warning>)>> {
    match Config::load(path) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(errors) => {
            print_errors(&errors, streams)?;
            Ok(None)
        }
    }
}

fn print_errors(errors: &[ConfigError], streams: &mut Streams<'_>) -> io::Result<()> {
    for error in errors {
        writeln!(streams.err, "{error}")?;
    }
    Ok(())
}
