//! Which HTTP status codes a route counts as success.

use crate::core::route::RouteError;

/// A set of HTTP status codes such as `["2xx", "404"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet {
    /// Inclusive ranges.
    pub ranges: Vec<(u16, u16)>,
}

impl StatusSet {
    /// Parses entries such as `2xx`, `404` or `200-204`.
    ///
    /// # Errors
    /// Quotes the entry that is none of these.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, RouteError> {
        let ranges: Result<Vec<_>, _> = entries.into_iter().map(parse_entry).collect();
        let ranges = ranges?;
        if ranges.is_empty() {
            return Err(RouteError(
                "no status would be a success; write for example `2xx`".to_owned(),
            ));
        }
        Ok(Self { ranges })
    }

    /// Returns whether the status is in the set.
    pub fn contains(&self, status: u16) -> bool {
        let within = |(first, last): &(u16, u16)| (*first..=*last).contains(&status);
        self.ranges.iter().any(within)
    }
}

fn parse_entry(entry: &str) -> Result<(u16, u16), RouteError> {
    let range = if let Some(class) = entry.strip_suffix("xx") {
        code(&format!("{class}00")).map(|first| (first, first + 99))
    } else if let Some((first, last)) = entry.split_once('-') {
        code(first)
            .zip(code(last))
            .filter(|(first, last)| first <= last)
    } else {
        code(entry).map(|only| (only, only))
    };
    range.ok_or_else(|| {
        RouteError(format!(
            "`{entry}` is not a set of status codes; write one such as `2xx`, `404` or `200-204`"
        ))
    })
}

/// A final status code: 1xx never ends an exchange (RFC 9110 §15.2).
fn code(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.filter(|number| (200..=599).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_classes_codes_and_ranges() {
        let set = StatusSet::parse(["2xx", "404", "300-302"]).unwrap();
        assert_eq!(set.ranges, [(200, 299), (404, 404), (300, 302)]);
        let cases = [
            (200, true),
            (299, true),
            (303, false),
            (404, true),
            (405, false),
            (999, false),
        ];
        for (status, expected) in cases {
            assert_eq!(set.contains(status), expected, "{status}");
        }
    }

    #[test]
    fn an_entry_that_is_none_of_these_is_quoted() {
        for entry in [
            "", "xx", "1xx", "6xx", "2x", "+20", "204-200", "20é", "200-", "100",
        ] {
            assert_eq!(
                StatusSet::parse([entry]).unwrap_err().0,
                format!(
                    "`{entry}` is not a set of status codes; write one such as `2xx`, `404` or `200-204`"
                )
            );
        }
        assert_eq!(
            StatusSet::parse([]).unwrap_err().0,
            "no status would be a success; write for example `2xx`"
        );
    }
}
