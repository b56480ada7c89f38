//! Reads the users file when it has changed.
//!
//! What is in the file is for `config` to judge, and what becomes of clients for the hub. A file
//! with a mistake changes nothing: users that work are worth more than a gateway that locks all
//! out because of a slip of the pen.

use log::{error, info};

use super::task::aside;
use super::watch::Watch;
use crate::config::{ConfigError, User, UsersReader};

/// The users file and how it was when it was last read.
#[derive(Debug)]
pub(crate) struct UsersWatch {
    reader: UsersReader,
    watch: Watch,
}

impl UsersWatch {
    /// Watches from when bridge.toml was read.
    pub(crate) fn new(reader: UsersReader) -> Self {
        let file = reader.file().to_owned();
        Self {
            watch: Watch::new(vec![(file, reader.seen())]),
            reader,
        }
    }

    /// Waits until the file has changed; dropping the future forgets nothing.
    pub(crate) async fn changed(&mut self) {
        self.watch.changed().await;
    }

    /// Returns all users, if the file is valid.
    pub(crate) async fn read(&self) -> Option<Vec<User>> {
        let reader = self.reader.clone();
        match aside(move || reader.read()).await {
            Ok(Ok(users)) => {
                info!("{} has changed", self.reader.file().display());
                Some(users)
            }
            Ok(Err(errors)) => {
                error!("the users stay as they are: {}", summary(&errors));
                None
            }
            Err(fault) => {
                error!("a fault of this program ended the reading of users: {fault}");
                None
            }
        }
    }
}

/// Shows the first mistake, and how many there are.
fn summary(errors: &[ConfigError]) -> String {
    match errors {
        [] => String::new(),
        [only] => only.to_string(),
        [first, others @ ..] => format!(
            "{first} (and {} more, which `mqtt-https-bridge check` lists)",
            others.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    #[test]
    fn mistakes_are_one_line_that_begins_with_the_first() {
        let error = |line| ConfigError {
            origin: Origin {
                file: "users.toml".into(),
                line,
            },
            text: "name is missing; write one".to_owned(),
        };
        let one = "users.toml:2: name is missing; write one";
        let cases = [
            (vec![error(2)], one.to_owned()),
            (
                vec![error(2), error(7)],
                format!("{one} (and 1 more, which `mqtt-https-bridge check` lists)"),
            ),
        ];
        for (errors, expected) in cases {
            assert_eq!(summary(&errors), expected);
        }
    }
}
