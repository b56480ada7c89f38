//! `[[user]]` of bridge.toml and of the users file.
//!
//! Decides who the users are and what their rules say. Whether a rule collides with replies is
//! decided by `routes`, once those are known.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::access::{Bindings, ClientIds, RuleError, Rules};
use crate::core::topic::TopicFilter;

use super::error::{ConfigError, Origin, Report};
use super::section::{At, Section};
use super::show::{Quoted, quote};
use super::source::Source;
use super::{PasswordHash, User, broker, keys, secrets};

/// Smallest `reply_packet`: below it not even a failure code fits.
pub(super) const SMALLEST_REPLY_PACKET: usize = 64;
/// Largest `reply_packet`.
pub(super) const LARGEST_REPLY_PACKET: usize = 4 << 20;
/// Largest users file that is read.
const LARGEST_FILE: usize = 1 << 20;

/// One access rule with its place.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// As written.
    pub(super) text: At<String>,
    /// With the user's name filled in, and `+` for a client ID.
    pub(super) filter: TopicFilter,
    /// Whose rule it is, `None` for anonymous clients.
    pub(super) user: Option<Arc<str>>,
}

/// Users read so far, from all files.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    pub(super) users: Vec<User>,
    /// Publish rules, written or default.
    pub(super) publish_rules: Vec<Rule>,
    names: HashMap<String, Origin>,
    bindings: Bindings,
}

impl Users {
    /// Reads each `[[user]]` of a file.
    pub(super) fn read(&mut self, top: &Section<'_>) {
        for section in top.list("user") {
            if let Some(user) = self.read_one(&section) {
                self.users.push(user);
            }
        }
    }

    /// Reads the users file; one that does not exist has no users.
    pub(super) fn read_file(&mut self, file: &Path, shown: &str, report: &Report) {
        let text = match read_text(file) {
            Ok(text) => text.unwrap_or_default(),
            Err(cause) => {
                let origin = Source::new(shown, "", report).whole();
                let text = format!("can not be read: {cause}; correct the file or `users_file`");
                report.error(origin, text);
                return;
            }
        };
        let source = Source::new(shown, &text, report);
        let table = source.table();
        self.read(&Section::top(
            table.get_ref(),
            &source,
            report,
            keys::IN_USERS_FILE,
        ));
    }

    fn read_one(&mut self, section: &Section<'_>) -> Option<User> {
        let remedy = "write one, or use `mqtt-https-bridge user add <name>`";
        let name = section.require("name", section.text("name"), remedy);
        let password = section.require("password", read_password(section), remedy);
        let reply_packet =
            section.size("reply_packet", SMALLEST_REPLY_PACKET..=LARGEST_REPLY_PACKET);
        let reply_packet = reply_packet.map(|at| at.value);
        let name = name.and_then(|name| self.admit(name, section.report));
        // Rules of a user without a usable name are read too, for their mistakes.
        let shared: Arc<str> = name.as_deref().unwrap_or("user").into();
        let client_ids = self.read_client_ids(section, &shared);
        let holder = Holder {
            user: Some(&shared),
            bound: !client_ids.is_empty(),
        };
        let (publish, subscribe) = (
            rules_or(section, "publish", "nodes/{user}/#", holder),
            rules_or(section, "subscribe", "replies/{user}/#", holder),
        );
        let texts = |rules: &[Rule]| rules.iter().map(|rule| rule.text.value.clone()).collect();
        let (name, password) = (name?, password?);
        let rules = Rules {
            publish: texts(&publish),
            subscribe: texts(&subscribe),
        };
        self.publish_rules.extend(publish);
        Some(User {
            name: name.into(),
            password,
            rules: Arc::new(rules),
            reply_packet,
            client_ids,
        })
    }

    /// Reads the client IDs of a user, which nobody else may have.
    fn read_client_ids(&mut self, section: &Section<'_>, user: &Arc<str>) -> Vec<ClientIds> {
        let example = "[\"{user}\", \"{user}-*\"]";
        let texts = section.texts("client_ids", example).unwrap_or_default();
        if texts.is_empty() && section.has("client_ids") && section.is_list("client_ids") {
            let text = format!("client_ids is empty; write `client_ids = {example}` or remove it");
            section.report.error(section.origin_of("client_ids"), text);
        }
        let mut client_ids = Vec::with_capacity(texts.len());
        for text in texts {
            let shown = quote(text.value);
            match ClientIds::parse(text.value, user) {
                Err(error) => {
                    let mistake = format!(
                        "client ID {shown} {error}; write a whole client ID, or how it begins \
                         with a `*` behind"
                    );
                    section.report.error(text.origin, mistake);
                }
                Ok(ids) => {
                    if let Err(other) = self.bindings.insert(&ids, user) {
                        let other = quote(&other);
                        let mistake = format!(
                            "client ID {shown} belongs to user {other}, at least in part; \
                             choose client IDs that differ from the start"
                        );
                        section.report.error(text.origin, mistake);
                    }
                    client_ids.push(ids);
                }
            }
        }
        client_ids
    }

    /// Returns the name if it can be one and is not taken.
    fn admit(&mut self, name: At<&str>, report: &Report) -> Option<String> {
        if let Err(error) = check_name(name.value) {
            report.error(name.origin, error);
            return None;
        }
        if let Some(first) = self.names.get(name.value) {
            let shown = quote(name.value);
            let text = format!("user {shown} is already defined at {first}; remove one");
            report.error(name.origin, text);
            return None;
        }
        let origin = report.origin(name.origin);
        self.names.insert(name.value.to_owned(), origin);
        Some(name.value.to_owned())
    }
}

/// Whose rules are read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holder<'a> {
    /// The user, `None` for anonymous clients.
    pub(super) user: Option<&'a Arc<str>>,
    /// Whether the user's client IDs are bound to it.
    pub(super) bound: bool,
}

fn rules_or(section: &Section<'_>, key: &str, default: &str, holder: Holder<'_>) -> Vec<Rule> {
    read_rules(section, key, holder).unwrap_or_else(|| {
        let text = At {
            value: default,
            origin: section.origin,
        };
        expand(text, holder.user).into_iter().collect()
    })
}

fn read_password(section: &Section<'_>) -> Option<PasswordHash> {
    let password = section.text("password")?;
    match PasswordHash::parse(password.value) {
        Ok(hash) => Some(hash),
        Err(error) => {
            let text = if password.value.starts_with('$') {
                format!("password {}", error.0)
            } else {
                "password is not hashed; remove this user here and run \
                 `mqtt-https-bridge user add <name>`, which writes the hash"
                    .to_owned()
            };
            section.report.error(password.origin, text);
            None
        }
    }
}

/// Says why a text cannot be a user name, as `what; remedy`.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fault = if name.is_empty() {
        "is empty"
    } else if name.contains(['/', '+', '#']) {
        "holds `/`, `+` or `#`, which mean something in topics"
    } else if name.chars().any(char::is_control) {
        "holds a control character"
    } else if name.starts_with('$') {
        "begins with `$`, as only the broker's own topics do"
    } else if name.len() > 64 {
        "is longer than 64 bytes"
    } else {
        return Ok(());
    };
    Err(format!(
        "user name {} {fault}; choose another name",
        quote(name)
    ))
}

/// Reads a list of access rules, `None` when the key is not there.
pub(super) fn read_rules(
    section: &Section<'_>,
    key: &str,
    holder: Holder<'_>,
) -> Option<Vec<Rule>> {
    let texts = section.texts(key, "[\"nodes/{user}/#\"]")?;
    let mut rules = Vec::with_capacity(texts.len());
    for text in &texts {
        match checked(*text, key, holder) {
            Ok(rule) => rules.push(rule),
            Err(error) => section.report.error(text.origin, error),
        }
    }
    Some(rules)
}

fn checked(text: At<&str>, key: &str, holder: Holder<'_>) -> Result<Rule, String> {
    let shown = quote(text.value);
    let names = |placeholder: &str| text.value.split('/').any(|level| level == placeholder);
    let is_unknown =
        |level: &str| !matches!(level, "{user}" | "{client}") && level.contains(['{', '}']);
    Rules::check(text.value).map_err(|error| rule_error(key, shown, &error))?;
    if let Some(level) = text.value.split('/').find(|level| is_unknown(level)) {
        let error = RuleError::Unknown(level.to_owned());
        return Err(rule_error(key, shown, &error));
    }
    if names("{user}") && holder.user.is_none() {
        return Err(format!(
            "{key} rule {shown} names a user, and anonymous clients have none; \
             write the rule at a [[user]]"
        ));
    }
    if names("{client}") && !holder.bound {
        return Err(format!(
            "{key} rule {shown} trusts a client ID, which any client may choose; write {{user}}{}",
            match holder.user {
                Some(_) => ", or give the user its own `client_ids`",
                None => " in a rule at a [[user]]",
            }
        ));
    }
    if key.ends_with("publish") && text.value.starts_with('$') {
        return Err(format!(
            "{key} rule {shown} is about the broker's own topics, where no client may publish; \
             remove it"
        ));
    }
    let too_long = || format!("{key} rule {shown} is too long; shorten it");
    expand(text, holder.user).ok_or_else(too_long)
}

fn rule_error(key: &str, shown: Quoted<'_>, error: &RuleError) -> String {
    match error {
        RuleError::Filter(error) => {
            format!("{key} rule {shown} is not a topic filter: {error}; correct it")
        }
        RuleError::Unknown(_) => format!(
            "{key} rule {shown} has an unknown placeholder; only {{user}} and {{client}} may \
             stand in rules"
        ),
        RuleError::PartOfLevel(_) => format!(
            "{key} rule {shown} has a placeholder that is only a part of its level; write it as \
             a level of its own"
        ),
        RuleError::Shared => format!(
            "{key} rule {shown} names a shared subscription; write the filter behind the group"
        ),
        RuleError::OpenException => format!(
            "{key} rule {shown} is an exception with a placeholder, which would except nothing \
             where that has no value; write a filter without"
        ),
    }
}

fn expand(text: At<&str>, user: Option<&Arc<str>>) -> Option<Rule> {
    // A client ID may be anything that its user's `client_ids` allow: `+` covers them all.
    let filter = text.value.strip_prefix('!').unwrap_or(text.value);
    let expanded = filter.replace("{client}", "+");
    let expanded = expanded.replace("{user}", user.map_or("", |name| name));
    Some(Rule {
        filter: TopicFilter::parse(&expanded).ok()?,
        text: At {
            value: text.value.to_owned(),
            origin: text.origin,
        },
        user: user.cloned(),
    })
}

/// Reads a text file, `None` if it does not exist; the error is its cause.
pub(crate) fn read_text(file: &Path) -> Result<Option<String>, String> {
    let most = u64::try_from(LARGEST_FILE).unwrap_or(u64::MAX);
    let read = std::fs::File::open(file).and_then(|file| {
        let mut text = String::new();
        file.take(most.saturating_add(1))
            .read_to_string(&mut text)?;
        Ok(text)
    });
    match read {
        Ok(text) if text.len() > LARGEST_FILE => Err("it is larger than 1MiB".into()),
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(secrets::io_cause(&error)),
    }
}

/// Where users are kept, as the `user` command needs to know.
#[derive(Debug)]
pub struct UserFiles {
    /// The users file, which need not exist.
    pub file: PathBuf,
    /// Users that bridge.toml itself defines, with their places.
    pub fixed: Vec<(String, Origin)>,
}

impl UserFiles {
    /// Reads of bridge.toml only what says where users are, so that a mistake elsewhere (such as
    /// a secret that is not there yet) does not stand in the way.
    ///
    /// # Errors
    /// Reports what keeps the file from being understood.
    pub fn locate(path: &Path) -> Result<Self, Vec<ConfigError>> {
        let shown = path.display().to_string();
        let report = Report::default();
        let text = super::read_main(path, &report).unwrap_or_default();
        let source = Source::new(&shown, &text, &report);
        let table = source.table();
        let top = Section::top(table.get_ref(), &source, &report, keys::SECTIONS);
        let directory = super::directory_of(path);
        let section = top.table("broker", "broker", "[broker]");
        let file = directory.join(broker::users_file(section.as_ref()));
        let named = |user: Section<'_>| {
            let name = user.text("name")?;
            Some((name.value.to_owned(), report.origin(name.origin)))
        };
        let fixed = top.list("user").into_iter().filter_map(named).collect();
        report.finish(&shown)?;
        Ok(Self { file, fixed })
    }
}

/// Returns the names in a users file's text, in file order.
///
/// # Errors
/// Reports what keeps it from being understood.
pub fn names_in(text: &str, shown: &str) -> Result<Vec<String>, Vec<ConfigError>> {
    let report = Report::default();
    let mut users = Users::default();
    {
        let source = Source::new(shown, text, &report);
        let table = source.table();
        users.read(&Section::top(
            table.get_ref(),
            &source,
            &report,
            keys::IN_USERS_FILE,
        ));
    }
    report.finish(shown)?;
    Ok(users
        .users
        .iter()
        .map(|user| user.name.to_string())
        .collect())
}
