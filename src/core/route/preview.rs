//! What a message would cause, without causing it.

use bytes::Bytes;

use crate::core::bridge::Publisher;
use crate::core::message::Message;
use crate::core::outcome::Failure;
use crate::core::reply::{Address, Word};
use crate::core::request::{Method, Request};
use crate::core::route::{Route, RouteTable};
use crate::core::template::{MessageId, Values};

/// What a message would cause, for `check --topic`; secrets are shown as `***`.
#[derive(Debug)]
pub struct Preview<'a> {
    /// The route that takes it.
    pub route: &'a Route,
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// Header names in lower case and their values.
    pub headers: Vec<(String, String)>,
    /// The body, `None` for none.
    pub body: Option<Bytes>,
    /// Where the reply goes after success.
    pub reply_topic_ok: String,
    /// Where the reply goes after a failure.
    pub reply_topic_error: String,
}

impl RouteTable {
    /// Returns what a message would cause, `None` when no route takes it.
    pub fn preview(
        &self,
        message: &Message,
        publisher: &Publisher,
        gateway: &str,
        unix_time: u64,
    ) -> Option<Result<Preview<'_>, Failure>> {
        let (_, route) = self.first_match(message.topic.as_str())?;
        let values = Values {
            message,
            publisher,
            gateway,
            id: MessageId { boot: 0, number: 0 },
            unix_time,
            reply: None,
            mask_secrets: true,
        };
        Some(preview(self, route, &values))
    }
}

fn preview<'a>(
    table: &RouteTable,
    route: &'a Route,
    values: &Values<'_>,
) -> Result<Preview<'a>, Failure> {
    let request = Request::render(route, values)?;
    let address = Address::resolve(route, table, values);
    if let Some(failure) = address.unusable {
        return Err(failure);
    }
    Ok(Preview {
        route,
        method: request.method,
        url: request.url(),
        reply_topic_ok: address.address.topic(Word::Ok),
        reply_topic_error: address.address.topic(Word::Error),
        headers: request.headers,
        body: request.body,
    })
}
