//! What the gateway publishes about its clients, on `$bridge/clients/<client ID>`.
//!
//! Not retained: what was ever wrong with any client must not stay. Only access rules that grant
//! these topics in so many words let a client hear them.

use bytes::Bytes;

use super::Report;
use crate::core::json;
use crate::core::message::{Message, QoS};
use crate::core::topic::Topic;

/// Returns what to publish about a report, `None` if it is for the log alone.
pub(super) fn notice(report: &Report) -> Option<Message> {
    let (client, text) = match report {
        Report::Unacknowledged {
            client,
            topic,
            bytes,
            waited,
            cause,
        } => {
            let mut text = Vec::from(&b"{\"event\":\"unacknowledged\",\"topic\":"[..]);
            json::push_string(topic, &mut text);
            let rest = format!(
                ",\"bytes\":{bytes},\"seconds\":{},\"cause\":",
                waited.as_secs()
            );
            text.extend_from_slice(rest.as_bytes());
            json::push_string(cause, &mut text);
            text.push(b'}');
            (client, text)
        }
        Report::Rivals { client, addresses } => {
            let [first, second] =
                addresses.map(|address| address.map_or_else(String::new, |it| it.to_string()));
            let text = format!("{{\"event\":\"rivals\",\"addresses\":[\"{first}\",\"{second}\"]}}");
            (client, text.into_bytes())
        }
        Report::Denied { .. }
        | Report::Dropped { .. }
        | Report::TakenOver { .. }
        | Report::Refused { .. }
        | Report::Violation { .. }
        | Report::RetainedFull { .. }
        | Report::Expelled { .. }
        | Report::Forgotten { .. } => return None,
    };
    Some(Message {
        topic: Topic::own("clients", client),
        payload: Bytes::from(text),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: None,
    })
}

/// Returns why a client most likely did not acknowledge a message, as far as one knows the
/// libraries that nodes use.
pub(super) fn likely_cause(topic: &str, bytes: usize) -> &'static str {
    if bytes > 256 {
        "its library drops packets that are too large for it, as PubSubClient does with more than \
         256 bytes"
    } else if topic.len() > 128 {
        "its library drops messages with a topic of more than 128 bytes, as AsyncMqttClient does"
    } else {
        "its program does not answer; a node that sleeps should disconnect before"
    }
}
