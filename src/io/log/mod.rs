//! The log: level, format and escapes; what is said how often is for [`caps`] and [`journal`].
//!
//! Lines go to stderr. Payloads and query strings never do; client IDs, topics and whatever else
//! a remote party chose pass through [`escape`] first.

pub(crate) mod caps;
pub(crate) mod journal;

use std::fmt;
use std::io::{self, Write};

use log::{LevelFilter, Record};

use crate::core::calendar::iso8601;
use crate::io::clock;

/// Starts the log; a second call changes nothing.
///
/// Other crates are heard from `warn` on, whatever the level: below it they write URLs with their
/// query strings, packets and headers. Of rustls that is for `debug`: any stranger can have it
/// write a line for each connection, and what matters of them is told by us, and capped.
pub(crate) fn init(level: LevelFilter) {
    let started = builder(level).format(write_line).try_init();
    if started.is_err() {
        log::debug!("the log was started before; its level stays");
    }
}

fn builder(level: LevelFilter) -> env_logger::Builder {
    let others = level.min(LevelFilter::Warn);
    let rustls = match level {
        LevelFilter::Debug | LevelFilter::Trace => others,
        _ => LevelFilter::Off,
    };
    let mut builder = env_logger::Builder::new();
    builder
        .filter_level(others)
        .filter_module("rustls", rustls)
        .filter_module(env!("CARGO_CRATE_NAME"), level);
    builder
}

fn write_line(out: &mut env_logger::fmt::Formatter, record: &Record<'_>) -> io::Result<()> {
    if is_noise(record.target(), &record.args().to_string()) {
        return Ok(());
    }
    let (time, level) = (iso8601(clock::unix_time().as_secs()), record.level());
    if record.target().starts_with(env!("CARGO_CRATE_NAME")) {
        writeln!(out, "{time} {level:<5} {}", record.args())
    } else {
        writeln!(
            out,
            "{time} {level:<5} {}: {}",
            record.target(),
            record.args()
        )
    }
}

/// Returns whether a record is the life of a `tracing` span and no event.
///
/// `tracing` hands spans of any level to `log` as `++ name`, `-> name`, `<- name` and `-- name`;
/// rumqttd opens them at error level, several a packet. Switching its target off would lose its
/// real errors too.
fn is_noise(target: &str, text: &str) -> bool {
    target.starts_with("tracing::span")
        || (["rumqttd", "tracing"]
            .iter()
            .any(|name| target.starts_with(name))
            && ["++ ", "-> ", "<- ", "-- "]
                .iter()
                .any(|mark| text.starts_with(mark)))
}

/// Most characters of a remote party's text in one line.
const ESCAPED_CHARACTERS: usize = 120;

/// Shows text that a remote party chose, on one line and without effect on a terminal.
pub(crate) fn escape(text: &str) -> Escaped<'_> {
    Escaped { text, quote: '`' }
}

/// The same for text that no backticks stand around, so that it may hold some.
pub(crate) fn escape_unquoted(text: &str) -> Escaped<'_> {
    Escaped { text, quote: '\0' }
}

/// See [`escape`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a> {
    text: &'a str,
    /// What would end the text: escaped too.
    quote: char,
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, character) in self.text.chars().enumerate() {
            if index == ESCAPED_CHARACTERS {
                return f.write_str("…");
            }
            if is_plain(character) && character != self.quote {
                fmt::Write::write_char(f, character)?;
            } else {
                write!(f, "{}", character.escape_unicode())?;
            }
        }
        Ok(())
    }
}

/// Returns whether a character shows as itself: no control, no change of direction, no line
/// break, nothing invisible.
fn is_plain(character: char) -> bool {
    let invisible = matches!(
        character,
        '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFF0}'..='\u{FFFF}' | '\u{E0000}'..='\u{10FFFF}'
    );
    !character.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_break_a_line_or_steer_a_terminal() {
        let cases = [
            ("küche/ofen", "küche/ofen", "ordinary text stays"),
            ("a\nb", "a\\u{a}b", "a line break"),
            ("\u{1b}[31m", "\\u{1b}[31m", "an escape sequence"),
            ("\u{9b}31m", "\\u{9b}31m", "its eight-bit form"),
            ("a\u{202e}b", "a\\u{202e}b", "right to left override"),
            ("a\u{2028}b", "a\\u{2028}b", "line separator"),
            ("a`b", "a\\u{60}b", "the quote"),
        ];
        for (text, shown, why) in cases {
            assert_eq!(escape(text).to_string(), shown, "{why}");
        }
    }

    #[test]
    fn unquoted_text_keeps_its_backticks() {
        assert_eq!(escape_unquoted("`a`\n").to_string(), "`a`\\u{a}");
    }

    #[test]
    fn long_text_is_cut() {
        let shown = escape(&"é".repeat(65_000)).to_string();
        assert_eq!(shown, format!("{}…", "é".repeat(120)));
    }

    #[test]
    fn what_strangers_have_rustls_say_is_heard_with_debug_only() {
        let heard = |level, target| {
            let metadata = log::Metadata::builder()
                .level(log::Level::Warn)
                .target(target)
                .build();
            log::Log::enabled(&builder(level).build(), &metadata)
        };
        for (level, target, expected) in [
            (LevelFilter::Info, "rustls::msgs::handshake", false),
            (LevelFilter::Debug, "rustls::msgs::handshake", true),
            (LevelFilter::Info, "rumqttd::router", true),
            (LevelFilter::Info, "mqtt_https_bridge::io", true),
            (LevelFilter::Error, "rumqttd::router", false),
        ] {
            assert_eq!(heard(level, target), expected, "{level} {target}");
        }
    }

    #[test]
    fn spans_are_noise_and_errors_are_not() {
        let cases = [
            ("rumqttd::router", "++ incoming_link", true),
            ("tracing::span", "shadow_connection;", true),
            ("tracing::span::active", "-> x", true),
            ("rumqttd::router", "connection broken", false),
            ("mqtt_https_bridge", "-> x", false),
        ];
        for (target, text, noise) in cases {
            assert_eq!(is_noise(target, text), noise, "{target}: {text}");
        }
    }
}
