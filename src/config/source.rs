//! The text of one configuration file: its lines, its syntax errors, and what is left of it.
//!
//! Decides which parts of a file with syntax errors are still worth reading.

use toml::Spanned;
use toml::de::DeTable;

use super::error::{Line, Report};

/// The text of one configuration file.
pub(super) struct Source {
    whole: Line,
    text: String,
    /// Offsets of line ends, so that finding a line does not read the file again for each key.
    line_ends: Vec<usize>,
}

impl Source {
    /// Takes a file's text and reports every syntax error; `file` is its name in messages.
    ///
    /// Sections with errors are blanked: what a parser makes of the rest of them misleads.
    pub(super) fn new(file: &str, text: &str, report: &Report) -> Self {
        let mut source = Self {
            whole: report.open(file),
            text: text.to_owned(),
            line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        };
        if DeTable::parse(text).is_err() {
            report.set_incomplete();
            source.text = source.without_broken_sections(report);
        }
        source
    }

    fn without_broken_sections(&self, report: &Report) -> String {
        let mut sound = String::with_capacity(self.text.len());
        for section in split_sections(&self.text) {
            let (_, errors) = DeTable::parse_recoverable(section);
            if errors.is_empty() {
                sound.push_str(section);
            } else {
                self.report_syntax(errors, sound.len(), report);
                // Of the same length, so that offsets and lines stay.
                let blank = |byte| if byte == b'\n' { '\n' } else { ' ' };
                sound.extend(section.bytes().map(blank));
            }
        }
        let (_, errors) = DeTable::parse_recoverable(&sound);
        self.report_syntax(errors, 0, report);
        sound
    }

    fn report_syntax(&self, errors: Vec<toml::de::Error>, offset: usize, report: &Report) {
        let mut last = 0;
        for error in errors {
            let origin = error
                .span()
                .map_or_else(|| self.whole(), |span| self.origin(offset + span.start));
            let what = error.message().lines().collect::<Vec<_>>().join(", ");
            if origin.number != last {
                report.error(origin, format!("not TOML: {what}; correct the line"));
            }
            last = origin.number;
            // An open bracket makes nonsense of all that follows.
            if ["array", "inline table", "multi-line"]
                .iter()
                .any(|word| what.contains(word))
            {
                break;
            }
        }
    }

    /// Returns the place of a byte offset.
    pub(super) fn origin(&self, offset: usize) -> Line {
        Line {
            number: 1 + self.line_ends.partition_point(|end| *end < offset),
            ..self.whole
        }
    }

    /// Returns the file as a whole.
    pub(super) fn whole(&self) -> Line {
        self.whole
    }

    /// Returns what could be understood.
    pub(super) fn table(&self) -> Spanned<DeTable<'_>> {
        DeTable::parse_recoverable(&self.text).0
    }
}

/// Splits before each line that is a section's header.
fn split_sections(text: &str) -> Vec<&str> {
    let mut sections = Vec::new();
    let (mut start, mut offset) = (0, 0);
    for line in text.split_inclusive('\n') {
        let name = line
            .trim_start()
            .strip_prefix('[')
            .map(|rest| rest.trim_start_matches('['));
        if name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic())) {
            sections.extend(text.get(start..offset));
            start = offset;
        }
        offset += line.len();
    }
    sections.extend(text.get(start..));
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> (String, Vec<String>) {
        let report = Report::default();
        let source = Source::new("f", text, &report);
        let errors = report.finish("f").err().unwrap_or_default();
        (
            source.text,
            errors.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn broken_sections_are_blanked_and_others_keep_their_lines() {
        let (text, errors) = errors("[a]\nx = é\n[b]\ny = 1\n");
        assert_eq!(text, "   \n      \n[b]\ny = 1\n");
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("f:2: not TOML: "), "{errors:?}");
    }

    #[test]
    fn an_open_bracket_is_reported_once_and_ends_with_its_section() {
        let (_, errors) = errors("[a]\nx = [1\ny = 2\nz = 3\n[b]\ny = 1\n");
        assert_eq!(errors.len(), 1, "{errors:?}");
    }

    #[test]
    fn lines_are_found_by_offset() {
        let source = Source::new("f", "a = 1\n\nb = 2", &Report::default());
        let lines = [0, 5, 6, 7, 12, 99].map(|offset| source.origin(offset).number);
        assert_eq!(lines, [1, 1, 2, 3, 3, 3]);
    }
}
