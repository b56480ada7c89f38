//! What a `[[route]]` says of how its messages are kept: `delivery`, `max_bytes`, `max_age`,
//! `on_full` and `ack_reply`.

use std::time::Duration;

use crate::core::route::{OnFull, Stored};

use super::routes::Reader;

impl Reader<'_> {
    /// Reads how messages are stored; `None` for a direct route.
    pub(super) fn stored(&self) -> Option<Stored> {
        let section = &self.section;
        let kinds = [("direct", false), ("stored", true)];
        let delivery = section.choice("delivery", &kinds).map(|at| at.value);
        let is_stored = delivery == Some(true);
        let policies = [
            ("refuse", OnFull::Refuse),
            ("drop_oldest", OnFull::DropOldest),
        ];
        let ages = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
        let max_bytes = section.size("max_bytes", 1024..=1 << 30);
        let max_age = section.duration("max_age", ages);
        let on_full = section.choice("on_full", &policies);
        let ack_reply = section.flag("ack_reply");
        if !is_stored {
            let keys = ["max_bytes", "max_age", "on_full", "ack_reply"];
            let unclear = section.has("delivery") && delivery.is_none();
            let key = keys.into_iter().find(|key| section.has(key));
            if let Some(key) = key.filter(|_| !unclear) {
                let text = format!(
                    "{key} is for stored routes, and this one is direct; remove it or write \
                     `delivery = \"stored\"`"
                );
                self.error(section.origin_of(key), text);
            }
            return None;
        }
        if !self.parts.has_store {
            let text = "a stored route needs a place on the disk; add `[store]` with \
                        `directory = \"…\"`";
            self.error(section.origin_of("delivery"), text);
        }
        let standard = Stored::default();
        Some(Stored {
            max_bytes: max_bytes.map_or(standard.max_bytes, |at| at.value),
            max_age: max_age.map_or(standard.max_age, |at| at.value),
            on_full: on_full.map_or(standard.on_full, |at| at.value),
            ack_reply,
        })
    }
}
