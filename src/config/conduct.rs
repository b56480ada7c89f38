//! How an endpoint is treated: `retry`, `pause`, `rate`, `client_rate` and `idempotency_key`.
//!
//! Decides what may be written. What follows from it is decided by `core::retry` and
//! `core::bridge`.

use std::time::Duration;

use crate::core::endpoint::{Conduct, Rate};
use crate::core::retry::Retry;

use super::section::Section;
use super::show::quote;

/// Most requests of a rate.
const MOST: u32 = 1_000_000;

/// What was said of it; a more special section replaces it.
#[derive(Clone, Default)]
pub(super) struct Written {
    attempts: Option<usize>,
    first: Option<Duration>,
    longest: Option<Duration>,
    pause: Option<bool>,
    rate: Option<Rate>,
    client_rate: Option<Rate>,
    /// `Some(None)` for a key that is off.
    key: Option<Option<String>>,
}

impl Written {
    /// Reads the keys that defaults and endpoints share.
    pub(super) fn read(section: &Section<'_>) -> Self {
        let mut written = Self {
            pause: section.flag("pause"),
            rate: read_rate(section, "rate"),
            client_rate: read_rate(section, "client_rate"),
            key: read_key(section),
            ..Self::default()
        };
        if let Some(retry) = open_retry(section) {
            let wait = Duration::from_millis(10)..=Duration::from_secs(24 * 3600);
            let duration = |key: &str| retry.duration(key, wait.clone()).map(|at| at.value);
            written.attempts = retry.number("attempts", 1..=1000).map(|at| at.value);
            written.first = duration("first");
            written.longest = duration("longest");
        }
        written
    }

    /// Returns these values, and `general`'s where nothing was said.
    pub(super) fn or(self, general: &Self) -> Self {
        Self {
            attempts: self.attempts.or(general.attempts),
            first: self.first.or(general.first),
            longest: self.longest.or(general.longest),
            pause: self.pause.or(general.pause),
            rate: self.rate.or(general.rate),
            client_rate: self.client_rate.or(general.client_rate),
            key: self.key.or_else(|| general.key.clone()),
        }
    }

    /// Returns what follows from it.
    pub(super) fn resolve(self) -> Conduct {
        let standard = Conduct::default();
        let attempts = self.attempts.and_then(|it| u32::try_from(it).ok());
        Conduct {
            retry: Retry {
                attempts,
                first: self.first.unwrap_or(standard.retry.first),
                longest: self.longest.unwrap_or(standard.retry.longest),
            },
            pause: self.pause.unwrap_or(standard.pause),
            rate: self.rate,
            client_rate: self.client_rate,
            idempotency_key: self.key.unwrap_or(standard.idempotency_key),
        }
    }
}

/// Opens the table `retry`.
fn open_retry<'a>(section: &Section<'a>) -> Option<Section<'a>> {
    if section.has("retry") && !section.is_table("retry") {
        let text = "retry is not a table; write `retry = { attempts = 3 }`";
        section.report.error(section.origin_of("retry"), text);
        return None;
    }
    let label = format!("`retry` of {}", section.label);
    section.table("retry", "defaults.retry", &label)
}

fn read_rate(section: &Section<'_>, key: &str) -> Option<Rate> {
    let written = section.text(key)?;
    let rate = parse_rate(written.value);
    if rate.is_none() {
        let shown = quote(written.value);
        let text = format!(
            "{key} is {shown}, expected a rate such as `10/s`, `60/m` or `1000/h`; write \
             `{key} = \"10/s\"`"
        );
        section.report.error(written.origin, text);
    }
    rate
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (count, unit) = text.split_once('/')?;
    let count = count.trim().parse().ok()?;
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let per = Duration::from_secs(seconds);
    (1..=MOST).contains(&count).then_some(Rate { count, per })
}

fn read_key(section: &Section<'_>) -> Option<Option<String>> {
    let written = section.text("idempotency_key")?;
    if written.value == "off" {
        return Some(None);
    }
    if http::HeaderName::from_bytes(written.value.as_bytes()).is_err() {
        let shown = quote(written.value);
        let text = format!(
            "idempotency_key is {shown}, expected the name of a header or `off`; write \
             `idempotency_key = \"Idempotency-Key\"`"
        );
        section.report.error(written.origin, text);
        return None;
    }
    Some(Some(written.value.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_requests_in_a_second_minute_or_hour() {
        let rate = |count, seconds| {
            let per = Duration::from_secs(seconds);
            Some(Rate { count, per })
        };
        for (text, expected) in [
            ("10/s", rate(10, 1)),
            ("60 / m", rate(60, 60)),
            ("1000000/h", rate(1_000_000, 3600)),
            ("0/s", None),
            ("1000001/s", None),
            ("10", None),
            ("10/d", None),
            ("-1/s", None),
        ] {
            assert_eq!(parse_rate(text), expected, "{text}");
        }
    }
}
