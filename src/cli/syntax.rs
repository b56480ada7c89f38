//! Commands and their arguments as tables, and what was given of them.
//!
//! clap reads the command line by these tables, prints help and says what is wrong. What a command
//! makes of its arguments stands beside its code.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// Says what is wrong with a value.
///
/// One type for all, as clap is instantiated for each type of parser and of value.
type Check = fn(&str) -> Result<(), String>;

/// A command.
pub(super) struct Syntax {
    /// How it is called.
    pub(super) name: &'static str,
    /// What it does.
    pub(super) about: &'static str,
    /// In the order of help; operands also of the command line.
    pub(super) arguments: &'static [Argument],
    /// One of these has to follow, if there are any.
    pub(super) commands: &'static [Self],
    /// What help ends with, may be empty.
    pub(super) after_help: &'static str,
}

impl Syntax {
    /// Returns a command with arguments and nothing else.
    pub(super) const fn new(
        name: &'static str,
        about: &'static str,
        arguments: &'static [Argument],
    ) -> Self {
        Self {
            name,
            about,
            arguments,
            commands: &[],
            after_help: "",
        }
    }

    /// Translates it for clap.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(self.name).about(self.about);
        if !self.after_help.is_empty() {
            command = command.after_help(self.after_help);
        }
        for argument in self.arguments {
            command = command.arg(argument.translate());
        }
        for inner in self.commands {
            command = command.subcommand(inner.command());
        }
        let has_commands = !self.commands.is_empty();
        command
            .subcommand_required(has_commands)
            .arg_required_else_help(has_commands)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `--name`.
    Flag,
    /// `--name VALUE`.
    Option,
    /// `VALUE`.
    Operand,
}

#[derive(Clone, Copy)]
enum Value {
    Text,
    Path,
    Checked(Check),
}

/// An argument of a command.
#[derive(Clone, Copy)]
pub(super) struct Argument {
    kind: Kind,
    name: &'static str,
    /// What help calls the value.
    shown: &'static str,
    help: &'static str,
    short: Option<char>,
    value: Value,
    default: Option<&'static str>,
    required: bool,
    required_without: Option<&'static str>,
    requires: Option<&'static str>,
    excludes: Option<&'static str>,
    several: bool,
    global: bool,
}

impl Argument {
    const fn new(kind: Kind, name: &'static str, shown: &'static str, help: &'static str) -> Self {
        Self {
            kind,
            name,
            shown,
            help,
            short: None,
            value: Value::Text,
            default: None,
            required: false,
            required_without: None,
            requires: None,
            excludes: None,
            several: false,
            global: false,
        }
    }

    /// Returns an option without a value.
    pub(super) const fn flag(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Flag, name, "", help)
    }

    /// Returns an option with a value, which is a text unless said otherwise.
    pub(super) const fn option(
        name: &'static str,
        shown: &'static str,
        help: &'static str,
    ) -> Self {
        Self::new(Kind::Option, name, shown, help)
    }

    /// Returns an argument that its place tells.
    pub(super) const fn operand(
        name: &'static str,
        shown: &'static str,
        help: &'static str,
    ) -> Self {
        Self::new(Kind::Operand, name, shown, help)
    }

    /// Gives the option a short name as well.
    pub(super) const fn short(self, short: char) -> Self {
        let short = Some(short);
        Self { short, ..self }
    }

    /// Makes the value a path.
    pub(super) const fn path(self) -> Self {
        let value = Value::Path;
        Self { value, ..self }
    }

    /// Has the value checked.
    pub(super) const fn checked(self, check: Check) -> Self {
        let value = Value::Checked(check);
        Self { value, ..self }
    }

    /// Says what is meant if it is left out.
    pub(super) const fn default(self, default: &'static str) -> Self {
        let default = Some(default);
        Self { default, ..self }
    }

    /// Forbids to leave it out.
    pub(super) const fn required(self) -> Self {
        let required = true;
        Self { required, ..self }
    }

    /// Forbids to leave it out without that other argument.
    pub(super) const fn required_without(self, other: &'static str) -> Self {
        let required_without = Some(other);
        Self {
            required_without,
            ..self
        }
    }

    /// Makes it depend on another argument.
    pub(super) const fn requires(self, other: &'static str) -> Self {
        let requires = Some(other);
        Self { requires, ..self }
    }

    /// Forbids it together with another argument.
    pub(super) const fn excludes(self, other: &'static str) -> Self {
        let excludes = Some(other);
        Self { excludes, ..self }
    }

    /// Lets it be given several times.
    pub(super) const fn several(self) -> Self {
        let several = true;
        Self { several, ..self }
    }

    /// Lets it stand behind commands too.
    pub(super) const fn global(self) -> Self {
        let global = true;
        Self { global, ..self }
    }

    fn translate(&self) -> Arg {
        let mut arg = Arg::new(self.name)
            .help(self.help)
            .required(self.required)
            .global(self.global)
            .short(self.short);
        if self.kind != Kind::Operand {
            arg = arg.long(self.name);
        }
        if self.kind == Kind::Flag {
            arg = arg.action(ArgAction::SetTrue);
        } else {
            arg = arg.value_name(self.shown).value_parser(self.parser());
        }
        if self.several {
            arg = arg.action(ArgAction::Append);
            if self.kind == Kind::Operand {
                arg = arg.num_args(1..);
            }
        }
        if let Some(default) = self.default {
            arg = arg.default_value(default);
        }
        if let Some(other) = self.required_without {
            arg = arg.required_unless_present(other);
        }
        if let Some(other) = self.requires {
            arg = arg.requires(other);
        }
        if let Some(other) = self.excludes {
            arg = arg.conflicts_with(other);
        }
        arg
    }

    fn parser(&self) -> ValueParser {
        match self.value {
            Value::Text => ValueParser::string(),
            Value::Path => ValueParser::path_buf(),
            Value::Checked(check) => ValueParser::new(check),
        }
    }
}

/// What was given to a command, after clap has judged it.
///
/// Values are taken as they were written: asking clap for their types costs an instance each.
#[derive(Clone, Copy)]
pub(super) struct Given<'a>(&'a ArgMatches);

impl<'a> Given<'a> {
    /// Takes what clap has found.
    pub(super) const fn new(matches: &'a ArgMatches) -> Self {
        Self(matches)
    }

    /// Returns the command that follows, and what was given to it.
    pub(super) fn command(self) -> Option<(&'a str, Self)> {
        let (name, matches) = self.0.subcommand()?;
        Some((name, Self(matches)))
    }

    /// Returns whether a flag is there.
    pub(super) fn flag(self, name: &str) -> bool {
        self.0.value_source(name) == Some(ValueSource::CommandLine)
    }

    /// Returns each value of an argument.
    pub(super) fn texts(self, name: &str) -> Vec<String> {
        let text = |value: &OsStr| value.to_string_lossy().into_owned();
        self.0
            .get_raw(name)
            .map_or_else(Vec::new, |values| values.map(text).collect())
    }

    /// Returns the value of an argument, or its default.
    pub(super) fn text(self, name: &str) -> Option<String> {
        self.texts(name).pop()
    }

    /// Returns the value of an argument that is a path.
    pub(super) fn path(self, name: &str) -> Option<PathBuf> {
        self.0.get_raw(name)?.next_back().map(PathBuf::from)
    }

    /// Returns the value of an argument that was checked.
    pub(super) fn parsed<T>(
        self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(&self.text(name)?).ok()
    }
}
