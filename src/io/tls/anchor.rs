//! What a root's certificate says of itself, of which WebPKI takes no more than name, key and name
//! constraints.
//!
//! RFC 5280 §6.2 leaves it open whether the rest counts. Here it does, as it does for OpenSSL: a
//! root that is over, that is no CA or that may issue for somebody else only has not meant it so.

use std::fmt;

use crate::core::calendar::date;
use crate::io::tls::certificate::Certificate;

/// What is kept of a root.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Begin and end of its validity, seconds since 1970.
    life: (u64, u64),
    /// What it may not issue for, in words; `None` if servers' certificates are fine.
    never: Option<String>,
    /// Most CAs below it, if they are limited.
    path_length: Option<u8>,
}

impl Facts {
    /// Reads them; nothing is held against a root that can't be read.
    pub(super) fn of(root: Option<&Certificate>) -> Self {
        let Some(root) = root else {
            return Self {
                life: (0, u64::MAX),
                never: None,
                path_length: None,
            };
        };
        let never = match root {
            Certificate { is_ca: false, .. } => Some("is not a CA".to_owned()),
            Certificate {
                may_issue: false, ..
            } => Some("may not sign certificates".to_owned()),
            Certificate {
                for_servers: false, ..
            } => Some(format!(
                "is not meant for servers but for {}",
                root.uses.join(", ")
            )),
            _ => None,
        };
        Self {
            life: (root.not_before, root.not_after),
            never,
            path_length: root.path_length,
        }
    }

    /// Whether it is valid at this time, in seconds since 1970.
    pub(super) fn is_valid(&self, now: u64) -> bool {
        (self.life.0..=self.life.1).contains(&now)
    }

    /// When it ends, in seconds since 1970.
    pub(super) const fn end(&self) -> u64 {
        self.life.1
    }

    /// Whether it limits what may be below it.
    pub(super) const fn limits(&self) -> bool {
        self.never.is_some() || self.path_length.is_some()
    }

    /// Returns why it is no root of a chain with so many CAs below it.
    pub(super) fn forbids(&self, below: usize) -> Option<String> {
        if self.never.is_some() {
            return self.never.clone();
        }
        let most = self.path_length.map(usize::from)?;
        (below > most).then(|| format!("allows {most} CAs below it, the chain has {below}"))
    }

    /// Returns how it is not valid at this time; `None` if it is.
    pub(super) fn out_of_date(&self, name: &str, now: u64) -> Option<OutOfDate> {
        let ended = now > self.life.1;
        (!self.is_valid(now)).then(|| OutOfDate {
            name: name.to_owned(),
            ended,
            at: if ended { self.life.1 } else { self.life.0 },
        })
    }
}

/// The root that signed a chain is not valid at this time.
#[derive(Debug)]
pub(crate) struct OutOfDate {
    name: String,
    /// Whether it is over; else it is still to come.
    pub(crate) ended: bool,
    /// When it ended or begins, seconds since 1970.
    at: u64,
}

impl fmt::Display for OutOfDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, date) = (&self.name, date(self.at));
        match self.ended {
            true => write!(f, "root {name} expired {date}"),
            false => write!(f, "root {name} not valid before {date}"),
        }
    }
}

impl std::error::Error for OutOfDate {}

/// The root that signed a chain may not have.
#[derive(Debug)]
pub(crate) struct Forbidden {
    pub(super) name: String,
    pub(super) why: String,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "root {} {}", self.name, self.why)
    }
}

impl std::error::Error for Forbidden {}
