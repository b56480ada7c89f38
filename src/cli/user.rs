//! `user`: users in the users file that bridge.toml names.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use crate::cli::exit::Exit;
use crate::cli::syntax::{Argument, Given, Syntax};
use crate::cli::users_file::{self, UsersFile};
use crate::cli::{Streams, print_errors};
use crate::config::{PasswordHash, UserFiles, check_name, escape, read_text};
use crate::io::password;

/// Shortest password that a person may choose.
const SHORTEST: usize = 8;
/// Longest password that is read: MQTT's own limit.
const LONGEST: usize = 65_535;

const NAME: Argument = Argument::operand("name", "NAME", "The user name").required();

const PASSWORD_STDIN: Argument = Argument::flag(
    "password-stdin",
    "Read the password from standard input instead of making a random one",
);

/// How `user` is written.
pub(super) const SYNTAX: Syntax = Syntax {
    commands: &[
        Syntax::new(
            "add",
            "Add a user with a random password, which is printed this once",
            &[
                NAME,
                PASSWORD_STDIN,
                Argument::flag("no-password", "Let the user in by client certificate alone")
                    .excludes("password-stdin"),
            ],
        ),
        Syntax::new(
            "set",
            "Give a user another password",
            &[NAME, PASSWORD_STDIN],
        ),
        Syntax::new("remove", "Remove a user", &[NAME]),
        Syntax::new("list", "List all users and where they are defined", &[]),
    ],
    ..Syntax::new(
        "user",
        "Add, change, remove or list users in the users file",
        &[],
    )
};

/// Reads the password that a person has chosen, if one is to come from standard input.
fn given_password(command: &str, given: Given<'_>) -> Result<Option<String>, String> {
    if !matches!(command, "add" | "set") || !given.flag("password-stdin") {
        return Ok(None);
    }
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(2);
    let mut line = Vec::new();
    io::stdin()
        .lock()
        .take(most)
        .read_until(b'\n', &mut line)
        .map_err(|error| format!("the password can not be read: {error}"))?;
    let line = String::from_utf8(line).map_err(|_| "the password is not UTF-8".to_owned())?;
    let chosen = line.trim_end_matches(['\n', '\r']);
    let bytes = chosen.len();
    if bytes < SHORTEST {
        Err(format!(
            "the password has {bytes} bytes, shortest is {SHORTEST}; choose a longer one or leave --password-stdin out"
        ))
    } else if bytes > LONGEST {
        Err(format!(
            "the password has more than {LONGEST} bytes; choose a shorter one"
        ))
    } else {
        Ok(Some(chosen.to_owned()))
    }
}

/// Performs one `user` command.
pub(super) fn user(config: &Path, given: Given<'_>, streams: &mut Streams<'_>) -> io::Result<Exit> {
    let files = match UserFiles::locate(config) {
        Ok(files) => files,
        Err(errors) => {
            print_errors(&errors, streams)?;
            return Ok(Exit::Configuration);
        }
    };
    let Some((command, given)) = given.command() else {
        return Ok(Exit::Usage);
    };
    // Before the lock: a person may take their time.
    let chosen = match given_password(command, given) {
        Ok(chosen) => chosen,
        Err(error) => return streams.refuse(Exit::Usage, error),
    };
    let _lock = users_file::lock(&files.file);
    let shown = files.file.display().to_string();
    let text = match read_text(&files.file) {
        Ok(text) => text.unwrap_or_default(),
        Err(cause) => {
            return streams.refuse(
                Exit::Configuration,
                format_args!("{shown}: can not be read: {cause}; correct the file"),
            );
        }
    };
    let users = match UsersFile::parse(text, &shown) {
        Ok(users) => users,
        Err(errors) => {
            print_errors(&errors, streams)?;
            return Ok(Exit::Configuration);
        }
    };
    let editor = Editor {
        config,
        files,
        users,
        shown,
    };
    let name = || given.text("name").unwrap_or_default();
    match command {
        "add" => editor.add(&name(), chosen, given.flag("no-password"), streams),
        "set" => editor.set(&name(), chosen, streams),
        "remove" => editor.remove(&name(), streams),
        _ => editor.list(streams),
    }
}

struct Editor<'a> {
    config: &'a Path,
    files: UserFiles,
    users: UsersFile,
    shown: String,
}

impl Editor<'_> {
    fn add(
        &self,
        name: &str,
        chosen: Option<String>,
        no_password: bool,
        streams: &mut Streams<'_>,
    ) -> io::Result<Exit> {
        if let Err(error) = check_name(name) {
            return streams.refuse(Exit::Usage, error);
        }
        if self.users.names().iter().any(|known| known == name) {
            let shown = &self.shown;
            return streams.refuse(
                Exit::Failed,
                format_args!(
                    "user `{name}` is already in {shown}; use `user set {name}` for a new password"
                ),
            );
        }
        if let Some(exit) = self.refuse_fixed(name, streams)? {
            return Ok(exit);
        }
        let password = match no_password {
            true => Password::none(),
            false => Password::make(chosen)?,
        };
        let text = self.users.with(name, &password.hash);
        let what = format!("user `{name}` added to {}", self.shown);
        self.finish(&text, &what, Some((name, &password)), streams)
    }

    fn set(
        &self,
        name: &str,
        chosen: Option<String>,
        streams: &mut Streams<'_>,
    ) -> io::Result<Exit> {
        if let Some(exit) = self.refuse_unknown(name, streams)? {
            return Ok(exit);
        }
        let password = Password::make(chosen)?;
        let Some(text) = self.users.with_password(name, &password.hash) else {
            return self.refuse_foreign(name, streams);
        };
        let what = format!("user `{name}` has a new password in {}", self.shown);
        self.finish(&text, &what, Some((name, &password)), streams)
    }

    fn remove(&self, name: &str, streams: &mut Streams<'_>) -> io::Result<Exit> {
        if let Some(exit) = self.refuse_unknown(name, streams)? {
            return Ok(exit);
        }
        let Some(text) = self.users.without(name) else {
            return self.refuse_foreign(name, streams);
        };
        let what = format!("user `{name}` removed from {}", self.shown);
        self.finish(&text, &what, None, streams)
    }

    fn list(&self, streams: &mut Streams<'_>) -> io::Result<Exit> {
        for name in self.users.names() {
            writeln!(streams.out, "{name}\t{}", self.shown)?;
        }
        for (name, origin) in &self.files.fixed {
            writeln!(streams.out, "{}\t{origin}", escape(name))?;
        }
        Ok(Exit::Ok)
    }

    fn refuse_fixed(&self, name: &str, streams: &mut Streams<'_>) -> io::Result<Option<Exit>> {
        let Some((_, origin)) = self.files.fixed.iter().find(|(fixed, _)| fixed == name) else {
            return Ok(None);
        };
        writeln!(
            streams.err,
            "user `{}` is defined at {origin}; change it there",
            escape(name)
        )?;
        Ok(Some(Exit::Failed))
    }

    fn refuse_unknown(&self, name: &str, streams: &mut Streams<'_>) -> io::Result<Option<Exit>> {
        if self.users.names().iter().any(|known| known == name) {
            return Ok(None);
        }
        if let Some(exit) = self.refuse_fixed(name, streams)? {
            return Ok(Some(exit));
        }
        let (name, shown) = (escape(name), &self.shown);
        writeln!(
            streams.err,
            "there is no user `{name}` in {shown}; use `user list` or `user add {name}`"
        )?;
        Ok(Some(Exit::Failed))
    }

    fn refuse_foreign(&self, name: &str, streams: &mut Streams<'_>) -> io::Result<Exit> {
        let (name, shown) = (escape(name), &self.shown);
        streams.refuse(
            Exit::Failed,
            format_args!(
                "{shown}: user `{name}` is not written as a plain [[user]] block; edit it by hand"
            ),
        )
    }

    /// Writes the file first and prints after: a password that is shown is one that works.
    fn finish(
        &self,
        text: &str,
        what: &str,
        user: Option<(&str, &Password)>,
        streams: &mut Streams<'_>,
    ) -> io::Result<Exit> {
        if let Err(error) = users_file::replace(&self.files.file, text) {
            let cause = crate::config::io_cause(&error);
            return streams.refuse(
                Exit::Failed,
                format_args!(
                    "{}: can not be written: {cause}; check the directory's permissions",
                    self.shown
                ),
            );
        }
        writeln!(
            streams.out,
            "{what}; a running bridge takes it over at once"
        )?;
        if let Some((name, password)) = user {
            password.print(name, streams.out)?;
        }
        if let Err(errors) = crate::config::Config::load(self.config) {
            writeln!(
                streams.err,
                "the bridge would not start with this configuration yet:"
            )?;
            print_errors(&errors, streams)?;
        }
        Ok(Exit::Ok)
    }
}

/// A password on its way into the file.
struct Password {
    hash: PasswordHash,
    /// Printed once; `None` for one that the person knows.
    shown: Option<String>,
}

impl Password {
    /// No password lets the user in.
    fn none() -> Self {
        Self {
            hash: PasswordHash::None,
            shown: None,
        }
    }

    /// Takes the one that was chosen, or makes one.
    fn make(chosen: Option<String>) -> io::Result<Self> {
        let made = match chosen {
            Some(chosen) => password::hash_chosen(&chosen).map(|hash| Self { hash, shown: None }),
            None => password::generate().and_then(|made| {
                let hash = password::hash_generated(&made)?;
                Ok(Self {
                    hash,
                    shown: Some(made),
                })
            }),
        };
        made.map_err(|_| io::Error::other("this machine has no random numbers or memory left"))
    }

    /// Prints a made password with lines to paste into a sketch.
    fn print(&self, name: &str, out: &mut dyn Write) -> io::Result<()> {
        let Some(password) = &self.shown else {
            return Ok(());
        };
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        writeln!(out, "password, shown this once: {password}\n")?;
        writeln!(
            out,
            "Arduino      mqtt.connect(\"{name}\", \"{name}\", \"{password}\");"
        )?;
        writeln!(
            out,
            "MicroPython  MQTTClient(\"{name}\", gateway, user=\"{name}\", password=\"{password}\")"
        )
    }
}
