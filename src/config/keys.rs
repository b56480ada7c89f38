//! The registry of keys: what may stand in bridge.toml, for suggestions and for the README.
//!
//! Decides which names are known in which section. How a value is read and checked is decided by
//! the section's own module.

/// One key of bridge.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The section it stands in, without brackets; `user`, `endpoint`, `secret` and `route` stand
    /// for each of theirs.
    pub section: &'static str,
    /// The key.
    pub name: &'static str,
    /// The type of its value, for people.
    pub kind: &'static str,
    /// The default as it would be written, or in words.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// Sections of bridge.toml, as the top level knows them.
pub(super) const SECTIONS: &[&str] = &[
    "gateway", "broker", "store", "user", "defaults", "secret", "endpoint", "route",
];

/// Sections of a users file.
pub(super) const IN_USERS_FILE: &[&str] = &["user"];

/// Keys that are planned and have no function in this release: (section, key).
const NOT_BUILT: &[(&str, &str)] = &[
    ("", "upstream"),
    ("", "metrics"),
    ("", "log"),
    ("broker", "persistence"),
    ("defaults", "delivery"),
    ("route", "retry"),
    ("route", "rate"),
];

macro_rules! keys {
    ($($section:literal { $($name:literal $kind:literal $default:literal $meaning:literal;)+ })+) => {
        const KEYS: &[Key] = &[$($(Key {
            section: $section,
            name: $name,
            kind: $kind,
            default: $default,
            meaning: $meaning,
        },)+)+];
    };
}

keys! {
    "gateway" {
        "name" "text" "the host name" "value of `{gateway}` in templates";
        "stop_timeout" "duration" "\"10s\"" "how long a stop waits for requests in flight";
        "status_socket" "path" "`bridge.sock` beside bridge.toml; `/var/run/mqtt-https-bridge/daemon/status.sock` if that is below /etc" "where `mqtt-https-bridge status` asks the daemon; 100 bytes at most";
        "clock" "`trusted` or `{ synchronised_file = \"…\" }`" "\"trusted\"" "when the time is believed: always, or once a file says that it was set since boot";
    }
    "gateway.clock" {
        "synchronised_file" "path" "required" "file that is written when the clock has been set; on a disk that a restart empties";
    }
    "broker" {
        "listen" "list of addresses" "[\"127.0.0.1:1883\", \"[::1]:1883\"]" "IP address and port of each listener; port 0 takes any free one";
        "anonymous" "`no`, `loopback` or `anywhere`" "\"loopback\"" "who may connect without user name and password";
        "anonymous_publish" "list of filters" "[\"#\"]" "what clients without a user may publish to, `!` before exceptions; replies and `$` topics never";
        "anonymous_subscribe" "list of filters" "[\"#\"]" "what clients without a user may subscribe to and hear, `!` before exceptions";
        "users_file" "path" "\"users.toml\"" "the file that `user add` writes, beside bridge.toml; it need not exist";
        "tls" "table" "none" "a listener with TLS: `{ listen = [\"0.0.0.0:8883\"], certificate = \"listener.pem\", key = \"listener.key\" }`";
        "websocket" "table" "none" "a listener for MQTT over WebSocket, as browsers speak it: `{ listen = [\"127.0.0.1:8080\"], origins = [\"https://garden.example\"] }`; not in the OpenWrt packages";
        "max_clients" "number" "200" "connected clients at most";
        "max_packet" "size" "\"64KiB\"" "largest packet a client may send";
        "idle_limit" "duration" "none" "how long a client without keep alive may say nothing; MQTT 5 clients are told to ping in time";
        "ack_timeout" "duration" "\"60s\"" "how long a connected client may take to acknowledge a message before that is given up";
        "queue" "table" "`{ messages = 100, bytes = \"64KiB\" }`" "what waits for one client at most; the oldest is dropped first";
        "retained" "table" "`{ messages = 10000, bytes = \"1MiB\" }`" "what the broker retains at most";
        "max_per_address" "number" "64 from the network" "connections from one address at most; 0 for no limit. Programs on this machine are limited only if the key is there";
        "connect_rate" "number" "20 from the network" "new connections from one address in a second, beside a first burst of as many as it may have; more are closed at once";
        "connect_timeout" "duration" "\"10s\"" "until a client has sent its CONNECT; a TLS handshake before it may take as long again";
        "packet_timeout" "duration" "\"30s\"" "from the first byte of a packet to its last";
        "publish_rate" "number" "100 from the network" "messages and changes of subscriptions of one client in a second, beside a burst of 5 seconds' worth; a faster one is read more slowly, and nothing is lost. 0 for no limit";
        "max_topic" "size" "\"4KiB\"" "longest topic or topic filter";
        "max_topic_levels" "number" "128" "levels of a topic or topic filter at most";
        "max_subscriptions" "number" "256" "subscriptions of one session at most";
        "memory" "size" "\"8MiB\"" "all that is queued, retained, asked and answered together, wills and subscriptions; past it the largest queue loses its oldest messages, and from three quarters on nothing new is retained or asked, no client with a will over 1 KiB comes in, and none gets more than 4 KiB of subscriptions";
        "offline_sessions" "number" "1000" "sessions without a connection at most; of the user with most of them, the one that left first is forgotten";
    }
    "broker.tls" {
        "listen" "list of addresses" "required" "IP address and port of each listener with TLS";
        "certificate" "path" "required" "PEM file: the certificate to show, with what stands between it and its root; read again when it changes";
        "key" "path" "required" "PEM file: its private key";
        "client_ca" "path" "none" "PEM file: who issues client certificates; a client that shows one is the user whom it names";
    }
    "broker.websocket" {
        "listen" "list of addresses" "required" "IP address and port of each listener with WebSocket";
        "tls" "true or false" "`false`" "whether it is over TLS (`wss`), with the certificate of `tls`, whose own `listen` may then be `[]`";
        "path" "text" "`/mqtt`" "the path of the URL";
        "origins" "list of sites" "none" "sites whose pages may connect, as in `https://garden.example`; clients that are no browser need not be named";
    }
    "broker.queue" {
        "messages" "number" "100" "messages waiting for one client at most";
        "bytes" "size" "\"64KiB\"" "bytes of topic and payload waiting for one client at most";
    }
    "broker.retained" {
        "messages" "number" "10000" "retained messages at most";
        "bytes" "size" "\"1MiB\"" "bytes of retained topics and payloads at most";
    }
    "store" {
        "directory" "path" "required" "directory of what has to survive a restart, for this program alone; made if need be, with access for its user only. Best on a disk that a power cut does not empty";
        "commit_window" "duration" "\"5ms\"" "least time between two writes: what comes within it is written together. A longer one wears flash less, and acknowledgements come later; a message that comes alone is written at once";
        "max_bytes" "size" "\"4MiB\"" "room that the store takes on the disk, of which about half holds messages; what finds no room is refused";
        "sessions" "true or false" "true" "whether sessions that outlive their connection, and retained messages, survive a restart";
        "interval" "duration" "\"5m\"" "how often retained messages at QoS 0, and what connected clients have not acknowledged, are stored; at a stop they are in any case";
    }
    "user" {
        "name" "text" "required" "the user name";
        "password" "hash or `none`" "required" "as `mqtt-https-bridge user add` writes it; `none` for a user who has a client certificate";
        "publish" "list of filters" "[\"nodes/{user}/#\"]" "what the user may publish to, `!` before exceptions";
        "subscribe" "list of filters" "[\"replies/{user}/#\"]" "what the user may subscribe to and hear, `!` before exceptions";
        "reply_packet" "size" "the route's" "largest packet this user's nodes take";
        "client_ids" "list of client IDs" "any" "the client IDs that this user's nodes may have, and nobody else; `*` at the end stands for any rest, `{user}` for the name";
    }
    "defaults" {
        "timeout" "duration" "\"5s\"" "one attempt, and each of its phases, at most";
        "deadline" "duration" "\"12s\"" "from the node's publish to its reply at most";
        "max_response" "size" "\"64KiB\"" "largest response body";
        "success" "list of statuses" "[\"2xx\"]" "what counts as success: `2xx`, `404` or `200-204`";
        "roots" "`bundled`, `system`, files or `none`" "\"bundled\"" "whom to trust: Mozilla's roots, the system's, these PEM files alone, or nobody but `pins`";
        "crl" "list of files or `fetch`" "none" "revocation lists: PEM or DER files, read again when they change, or fetched from where certificates say";
        "revocation" "`off`, `check` or `require`" "`check` with `crl`, else `off`" "whether a certificate may be revoked: not asked; not if a list says so; and a current list must say it is not";
        "min_tls" "`1.2` or `1.3`" "\"1.2\"" "lowest TLS version to accept";
        "ip" "`both`, `4` or `6`" "\"both\"" "IP versions to use";
        "concurrency" "number" "2" "requests to one endpoint at the same time";
        "queue" "number" "100" "jobs of one endpoint that wait or run; one more is answered `bridge.busy`";
        "share" "number" "a quarter of the queue" "of these, how many one client may hold";
        "redirects" "`none`, `same-origin` or `any`" "\"same-origin\"" "which redirects are followed; to https only";
        "retry" "table" "{ attempts = 3, first = \"500ms\", longest = \"5m\" }" "how often a request is sent, and when again";
        "pause" "true or false" "true" "whether a refused certificate pauses the endpoint";
        "rate" "rate" "none" "how fast requests to one endpoint may start, such as `10/s`, `60/m` or `1000/h`; faster ones wait";
        "client_rate" "rate" "none" "how fast requests of one client to one endpoint may start";
        "idempotency_key" "header name or `off`" "\"Idempotency-Key\"" "header by which a server knows a repeated request";
        "qos" "0, 1 or 2" "1" "QoS of replies";
        "oversize" "`error`, `cut` or `chunks`" "\"error\"" "what becomes of a reply larger than `reply_packet`";
        "reply_packet" "size" "256" "largest packet for a node that does not say; 256 is PubSubClient's";
    }
    "defaults.retry" {
        "attempts" "number" "3, on stored routes no limit" "how often a request is sent at most; 1 sends nothing again";
        "first" "duration" "\"500ms\"" "the wait before the second attempt, which doubles with each further one; half of it is left to chance";
        "longest" "duration" "\"5m\"" "the longest wait";
    }
    "secret" {
        "file" "path" "this or `env`" "file that holds the secret, relative to bridge.toml; its last line end is not part of it";
        "env" "text" "this or `file`" "environment variable that holds the secret";
    }
    "endpoint" {
        "url" "URL" "required" "`https://host[:port][/path]`; the first label of the host may be a `{capture}`";
        "address" "IP address" "by look-up" "connect here; the certificate must still fit the host name";
        "headers" "table" "none" "header templates sent with each request";
        "query" "table" "none" "query parameter templates sent with each request";
        "private_addresses" "true or false" "true, with a captured host false" "whether private, loopback and link-local addresses may be connected to";
        "timeout" "duration" "as in defaults" "one attempt, and each of its phases, at most";
        "deadline" "duration" "as in defaults" "from the node's publish to its reply at most";
        "max_response" "size" "as in defaults" "largest response body";
        "success" "list of statuses" "as in defaults" "what counts as success";
        "roots" "`bundled`, `system`, files or `none`" "as in defaults" "whom to trust";
        "pins" "list of pins" "none" "`sha256/…` of keys, one of which must be in the server's chain; with `roots = \"none\"` be its own";
        "unchecked" "list of `name`, `dates`" "none" "what is not checked of a certificate that `pins` alone vouch for, with `roots = \"none\"`";
        "client_certificate" "path" "none" "PEM file with the certificate, and its chain, for servers that ask for one";
        "client_key" "path" "none" "PEM file with its key: PKCS#8, PKCS#1 or SEC1, not encrypted";
        "crl" "list of files or `fetch`" "as in defaults" "revocation lists";
        "revocation" "`off`, `check` or `require`" "as in defaults" "whether a certificate may be revoked";
        "min_tls" "`1.2` or `1.3`" "as in defaults" "lowest TLS version to accept";
        "ip" "`both`, `4` or `6`" "as in defaults" "IP versions to use";
        "concurrency" "number" "as in defaults" "requests at the same time";
        "queue" "number" "as in defaults" "jobs that wait or run";
        "share" "number" "as in defaults" "of these, how many one client may hold";
        "redirects" "`none`, `same-origin` or `any`" "as in defaults" "which redirects are followed";
        "retry" "table" "as in defaults" "how often a request is sent, and when again";
        "pause" "true or false" "as in defaults" "whether a refused certificate pauses the endpoint";
        "rate" "rate" "as in defaults" "how fast requests may start";
        "client_rate" "rate" "as in defaults" "how fast requests of one client may start";
        "idempotency_key" "header name or `off`" "as in defaults" "header by which a server knows a repeated request";
    }
    "route" {
        "topic" "topic" "required" "topic with captures: `{name}` is one level, `{name+}` the rest";
        "endpoint" "text" "required" "name of the `[endpoint.<name>]` to ask";
        "reply" "topic template" "required" "where the reply goes; `{outcome}` becomes `ok`, `error`, `part` or `queued`";
        "name" "text" "the topic" "name of the route in logs";
        "method" "`GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`" "\"GET\"" "the HTTP method";
        "path" "template" "\"/\"" "path of the request, behind the path of the endpoint's url";
        "query" "table" "none" "query parameter templates, behind the endpoint's";
        "headers" "table" "none" "header templates; they replace the endpoint's of the same name";
        "body" "template" "`{payload}` for POST, PUT and PATCH" "body of the request: JSON if it starts with `{`, `[` or `\"`, a form if `content-type` says so, else text";
        "select" "JSON pointer or table" "the whole body" "what of the response is sent: one pointer, or several with names";
        "form" "`plain`, `json` or `{ template = \"…\" }`" "plain if `reply` has `{outcome}`, else json" "how the reply looks";
        "qos" "0, 1 or 2" "as in defaults" "QoS of the reply";
        "retain" "true or false" "false" "whether the broker keeps the last reply";
        "expiry" "duration" "none" "when a reply that waits or is retained becomes useless";
        "oversize" "`error`, `cut` or `chunks`" "as in defaults" "what becomes of a reply larger than `reply_packet`";
        "reply_packet" "size" "as in defaults" "largest packet the nodes of this route take";
        "success" "list of statuses" "the endpoint's" "what counts as success";
        "timeout" "duration" "the endpoint's" "one attempt, and each of its phases, at most";
        "deadline" "duration" "the endpoint's" "from the node's publish to its reply at most";
        "max_response" "size" "the endpoint's" "largest response body";
        "delivery" "`direct` or `stored`" "\"direct\"" "whether messages are kept in memory until their deadline, or in the store until they arrive";
        "max_bytes" "size" "1 MiB" "stored: bytes of the store that this route's messages may take";
        "max_age" "duration" "7 days" "stored: how old messages may become; then they are answered `bridge.expired`";
        "on_full" "`refuse` or `drop_oldest`" "`refuse`" "stored: what becomes of one more when the bytes are taken: it is left with the node, or the oldest make room";
        "ack_reply" "true or false" "true at QoS 0" "stored: whether a reply with the outcome `queued` tells that a message is stored";
    }
    "route.form" {
        "template" "template" "required" "text of the reply with `{outcome}`, `{code}`, `{status}`, `{detail}`, `{body}` and the request's values";
    }
}

/// Returns every key of bridge.toml, by section, in the order of the README table.
pub fn keys() -> &'static [Key] {
    KEYS
}

/// Returns the names of the keys of a section.
pub(super) fn names(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter(move |key| key.section == section)
        .map(|key| key.name)
}

/// Returns whether a key is planned and has no function yet.
pub(super) fn is_not_built(section: &str, name: &str) -> bool {
    NOT_BUILT.contains(&(section, name))
}

/// Returns the known name that is nearest to what was written, if one is near.
pub(crate) fn nearest<'k>(
    written: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let closest = |best, name| closer(written, best, name);
    let (_, name) = known.into_iter().fold(None, closest)?;
    Some(name)
}

/// Returns the better of what was found so far, with its distance, and of one more name.
fn closer<'k>(
    written: &str,
    best: Option<(usize, &'k str)>,
    name: &'k str,
) -> Option<(usize, &'k str)> {
    let distance = strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase());
    let near = (distance <= 1 + name.len() / 4).then_some((distance, name));
    match (best, near) {
        (Some(best), Some(near)) => Some(best.min(near)),
        (best, near) => best.or(near),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_are_suggested_and_far_ones_are_not() {
        let cases = [
            ("lisen", Some("listen"), "a letter is missing"),
            ("Listen", Some("listen"), "case"),
            (
                "max_client",
                Some("max_clients"),
                "the shorter distance wins",
            ),
            ("colour", None, "nothing is near"),
        ];
        for (written, expected, reason) in cases {
            assert_eq!(nearest(written, names("broker")), expected, "{reason}");
        }
    }

    #[test]
    fn no_key_is_both_known_and_not_built() {
        for key in keys() {
            assert!(!is_not_built(key.section, key.name), "{key:?}");
        }
    }

    #[test]
    fn every_key_is_listed_once() {
        for (i, key) in keys().iter().enumerate() {
            let twin = keys()[..i]
                .iter()
                .find(|other| (other.section, other.name) == (key.section, key.name));
            assert_eq!(twin, None);
        }
    }
}
