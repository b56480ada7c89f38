//! Looks whether the users file has changed, and reads it when it has.
//!
//! What is in the file is for `config` to judge, and what becomes of clients for the hub. A file
//! with a mistake changes nothing: users that work are worth more than a gateway that locks all
//! out because of a slip of the pen.

use std::time::Duration;

use log::{error, info};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config::{ConfigError, Stamp, User, UsersReader};

/// A file that did not change for so long is taken as written to its end.
const SETTLED: Duration = Duration::from_millis(100);

/// The users file and how it was when it was last read.
#[derive(Debug)]
pub(crate) struct UsersWatch {
    reader: UsersReader,
    seen: Stamp,
}

impl UsersWatch {
    /// Watches from when bridge.toml was read.
    pub(crate) fn new(reader: UsersReader) -> Self {
        Self {
            seen: reader.seen(),
            reader,
        }
    }

    /// Returns all users if the file has changed since the last look, and is valid.
    ///
    /// A look asks the kernel for the file's times and reads nothing. A watch by inotify would
    /// miss changes behind a link.
    pub(crate) async fn look(&mut self) -> Option<Vec<User>> {
        if self.reader.stamp() == self.seen {
            return None;
        }
        // Taken before the file is read: what changes meanwhile is found at the next look.
        self.seen = settled(&self.reader).await;
        let reader = self.reader.clone();
        match spawn_blocking(move || reader.read()).await {
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

/// Waits until nobody writes to the file any more: half of it may be a valid file too.
async fn settled(reader: &UsersReader) -> Stamp {
    loop {
        let stamp = reader.stamp();
        sleep(SETTLED).await;
        if reader.stamp() == stamp {
            return stamp;
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
