//! What a `[[route]]` says about its reply.
//!
//! Decides form, selection and whether the topic leaves room for a payload. How a reply is made
//! and fitted is decided by `core::reply`.

use std::time::Duration;

use crate::core::message::QoS;
use crate::core::reply::{Form, Oversize, ReplyPlan};
use crate::core::select;
use crate::core::template::Place;

use super::endpoints::Delivery;
use super::placeholders::shortest_topic;
use super::routes::{Reader, with_remedy};
use super::section::At;
use super::show::quote;

const REPLY_PACKET: usize = 256;

/// Fewest bytes of payload that a reply topic must leave: a code and a short detail.
const LEAST_PAYLOAD: usize = 48;
/// A PUBLISH's fixed header and topic length at most, and its packet identifier.
const PACKET_OVERHEAD: usize = 5 + 2;

impl Reader<'_> {
    /// Reads where and how the reply goes, with its QoS; `None` after a mistake.
    pub(super) fn reply(&self) -> Option<(ReplyPlan, QoS)> {
        let section = &self.section;
        let delivery = Delivery::read(section).or(&self.parts.defaults.delivery);
        let select = self.select();
        let expiry = section.duration(
            "expiry",
            Duration::from_secs(1)..=Duration::from_secs(30 * 86_400),
        );
        let retain = section.flag("retain").unwrap_or_default();
        let written = self.require_reply();
        let form = self.form();
        let written = written?;
        if written.value.starts_with('$') {
            let text = format!(
                "reply {} begins with `$`, as only the broker's own topics do; remove the `$`",
                quote(written.value)
            );
            self.error(written.origin, text);
            return None;
        }
        let topic = self.template("reply", written, Place::Topic, true)?;
        let packet = delivery.reply_packet.unwrap_or(REPLY_PACKET);
        self.check_room(written, packet);
        let form = match form? {
            Some(form) => form,
            None if topic.names().contains(&"outcome") => Form::Plain,
            None => Form::Json,
        };
        let oversize = delivery.oversize.unwrap_or_default();
        if retain && oversize == Oversize::Chunks {
            let text = "`retain` keeps the last reply of each topic, and would mix the chunks of \
                        several; remove it, or write another `oversize`";
            self.error(section.origin_of("retain"), text);
        }
        let plan = ReplyPlan {
            topic,
            form,
            select: select?,
            packet,
            oversize,
            retain,
            expiry: expiry.map(|at| at.value),
        };
        Some((plan, delivery.qos.unwrap_or(QoS::AtLeastOnce)))
    }

    /// Returns what is written, or reports that nothing is.
    pub(super) fn require_reply(&self) -> Option<At<&str>> {
        let written = self.section.text("reply");
        let remedy = "write `reply = \"replies/{node}/…/{outcome}\"`";
        self.section.require("reply", written, remedy)
    }

    fn check_room(&self, reply: At<&str>, packet: usize) {
        let taken = PACKET_OVERHEAD + shortest_topic(reply.value);
        if taken + LEAST_PAYLOAD > packet {
            let text = format!(
                "reply topic leaves too little room: with it a packet takes {taken} of \
                 `reply_packet` {packet}, and {LEAST_PAYLOAD} are needed for the payload; \
                 shorten the topic or raise `reply_packet`"
            );
            self.error(reply.origin, text);
        }
    }

    /// Returns the form that was written, `Some(None)` for none, `None` after a mistake.
    fn form(&self) -> Option<Option<Form>> {
        let section = &self.section;
        if !section.has("form") {
            return Some(None);
        }
        if section.is_table("form") {
            let table = section.table("form", "route.form", "`form` of [[route]]")?;
            let text = table.text("template");
            let text = table.require("template", text, "write `{ template = \"…\" }`")?;
            let place = Place::of_body(text.value, None);
            return Some(Some(Form::Template(
                self.template("form", text, place, true)?,
            )));
        }
        // Owned templates keep `Form` from being cloned: choose first, build after.
        let json = section
            .choice("form", &[("plain", false), ("json", true)])?
            .value;
        Some(Some(if json { Form::Json } else { Form::Plain }))
    }

    fn select(&self) -> Option<Vec<(Option<String>, String)>> {
        let section = &self.section;
        let pointers: Vec<(Option<String>, At<&str>)> = if section.is_table("select") {
            let table = section.text_table("select", "{ title = \"/title\" }")?;
            table
                .into_iter()
                .map(|(name, pointer)| (Some(name), pointer))
                .collect()
        } else {
            let pointer = section.text("select");
            if section.has("select") && pointer.is_none() {
                return None;
            }
            pointer.into_iter().map(|pointer| (None, pointer)).collect()
        };
        let mut valid = true;
        for (_, pointer) in &pointers {
            if let Err(error) = select::check(pointer.value) {
                self.error(pointer.origin, format!("select: {}", with_remedy(error)));
                valid = false;
            }
        }
        let texts = pointers
            .into_iter()
            .map(|(name, pointer)| (name, pointer.value.to_owned()));
        valid.then(|| texts.collect())
    }
}
