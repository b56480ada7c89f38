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
mod syntax;
mod user;
mod users_file;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{Config, ConfigError, Warning};
use exit::Exit;
use syntax::Given;

/// Where bridge.toml is when neither an argument nor the current directory says so.
const SYSTEM_CONFIG: &str = "/etc/mqtt-https-bridge/bridge.toml";

/// Where the self-test is if not in this program.
#[cfg(not(feature = "selftest"))]
const SELFTEST_ELSEWHERE: &str = "this program is built without the self-test; run \
     `mqtt-https-bridge-selftest`, which the package of that name installs";

/// Runs the command that the arguments name and returns its exit code.
pub fn main() -> ExitCode {
    let matches = match arguments::program().try_get_matches_from(std::env::args_os()) {
        Ok(matches) => matches,
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
    let result = dispatch(Given::new(&matches), &mut streams);
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

fn dispatch(given: Given<'_>, streams: &mut Streams<'_>) -> io::Result<Exit> {
    let named = given.path("config");
    let is_named = named.is_some();
    let config = named.unwrap_or_else(default_config);
    let level = given.parsed("log-level", arguments::level);
    let Some((command, given)) = given.command() else {
        return run::run(&config, None, level, streams);
    };
    match command {
        "check" => check::check(&config, &check::Arguments::read(given), streams),
        "probe" => {
            let options = arguments::probe_options(given);
            crate::io::log::init(level.unwrap_or_else(run::level_from_environment));
            let expected = is_named || options.endpoint.is_some();
            let config = (expected || config.exists()).then_some(&*config);
            probe::probe(config, &options, streams)
        }
        #[cfg(feature = "selftest")]
        "selftest" => selftest::selftest(level, streams),
        #[cfg(not(feature = "selftest"))]
        "selftest" => streams.refuse(Exit::Failed, SELFTEST_ELSEWHERE),
        "send" => send::send(&send::Arguments::read(given), streams),
        "status" => status::status(&config, given, streams),
        "listener-cert" => {
            let arguments = listener_cert::Arguments::read(given);
            listener_cert::listener_cert(&config, &arguments, streams)
        }
        "user" => user::user(&config, given, streams),
        // clap lets nothing else pass.
        _ => run::run(&config, run::listen(given), level, streams),
    }
}

/// Where a command prints: results and remarks.
struct Streams<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl Streams<'_> {
    /// Says why a command ends as it does, and ends it.
    fn refuse(&mut self, exit: Exit, why: impl Display) -> io::Result<Exit> {
        self.remark(&why).map(|()| exit)
    }

    fn remark(&mut self, text: &dyn Display) -> io::Result<()> {
        writeln!(self.err, "{text}")
    }
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
        streams.remark(error)?;
    }
    Ok(())
}
