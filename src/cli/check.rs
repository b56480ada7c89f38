//! `check`: what bridge.toml means, or what one message would cause. Sends nothing.

use std::fmt::{Display, Write as _};
use std::io;
use std::path::Path;

use bytes::Bytes;

use crate::cli::exit::Exit;
use crate::cli::syntax::{Argument, Given, Syntax};
use crate::cli::{Streams, endpoint, load};
use crate::config::{
    Anonymous, Config, User, default_socket, escape, is_network, show_duration, show_size,
};
use crate::core::access::Hearing;
use crate::core::bridge::Publisher;
use crate::core::message::{Message, QoS};
use crate::core::reply::{Form, Oversize};
use crate::core::route::Route;
use crate::core::topic::Topic;
use crate::io::http::workers;
use crate::io::status_socket;
use crate::io::store;
use crate::io::tls::listener::Acceptor;

/// How `check` is written.
pub(super) const SYNTAX: Syntax = Syntax::new(
    "check",
    "Validate bridge.toml and print what it means, or what one message would cause",
    &[
        Argument::option(
            "topic",
            "TOPIC",
            "Show which route takes a message on this topic, its request and reply topics",
        ),
        Argument::option("payload", "TEXT", "The payload of that message")
            .requires("topic")
            .default(""),
        Argument::option("user", "NAME", "The user that publishes it").requires("topic"),
        Argument::option("client", "ID", "The client ID that publishes it")
            .requires("topic")
            .default("check"),
    ],
);

/// Arguments of `check`.
pub(super) struct Arguments {
    topic: Option<String>,
    payload: String,
    user: Option<String>,
    client: String,
}

impl Arguments {
    /// Reads what was given.
    pub(super) fn read(given: Given<'_>) -> Self {
        Self {
            topic: given.text("topic"),
            payload: given.text("payload").unwrap_or_default(),
            user: given.text("user"),
            client: given.text("client").unwrap_or_default(),
        }
    }
}

/// Validates the configuration and prints what was understood.
pub(super) fn check(
    path: &Path,
    arguments: &Arguments,
    streams: &mut Streams<'_>,
) -> io::Result<Exit> {
    let Some((config, warnings)) = load(path, streams)? else {
        return Ok(Exit::Configuration);
    };
    for warning in &warnings {
        writeln!(streams.err, "{warning} (warning)")?;
    }
    let mut usable = true;
    for endpoint in &config.endpoints {
        if let Err(error) = workers::check(endpoint) {
            writeln!(streams.err, "{}: {error}", config.path.display())?;
            usable = false;
        }
    }
    if let Some(tls) = &config.broker.tls
        && let Err(error) = Acceptor::load(tls)
    {
        let path = config.path.display();
        writeln!(streams.err, "{path}: [broker] tls: {error}")?;
        usable = false;
    }
    if let Some(settings) = &config.store {
        for finding in store::check(&settings.directory, settings.max_bytes) {
            let (path, text) = (config.path.display(), finding.text);
            let warning = if finding.is_mistake { "" } else { " (warning)" };
            writeln!(streams.err, "{path}: [store] {text}{warning}")?;
            usable &= !finding.is_mistake;
        }
    }
    let default = default_socket(path);
    let socket = config.status_socket.as_deref().unwrap_or(&default);
    // On OpenWrt, the service makes the folder before it starts the daemon.
    let comes = config.status_socket.is_none();
    if let Some(cause) = status_socket::check(socket)
        && !(comes && cause.kind() == io::ErrorKind::NotFound)
    {
        let (path, why) = (
            config.path.display(),
            status_socket::why_none(socket, &cause),
        );
        writeln!(streams.err, "{path}: {why} (warning)")?;
    }
    if !usable {
        return Ok(Exit::Configuration);
    }
    match &arguments.topic {
        Some(topic) => preview(&config, topic, arguments, streams),
        None => {
            streams.out.write_all(overview(&config).as_bytes())?;
            Ok(Exit::Ok)
        }
    }
}

fn preview(
    config: &Config,
    topic: &str,
    arguments: &Arguments,
    streams: &mut Streams<'_>,
) -> io::Result<Exit> {
    let topic = match Topic::parse(topic) {
        Ok(topic) => topic,
        Err(error) => {
            return streams.refuse(
                Exit::Usage,
                format_args!("`{}` is not a topic: {error}; correct it", escape(topic)),
            );
        }
    };
    let user = arguments.user.as_deref();
    let known = user.and_then(|name| config.user(name));
    if let (Some(name), None) = (user, known) {
        let name = escape(name);
        return streams.refuse(
            Exit::Failed,
            format_args!("there is no user `{name}`; name one of `mqtt-https-bridge user list`"),
        );
    }
    if let Some(why) = denied(config, &topic, known, &arguments.client) {
        return streams.refuse(
            Exit::Failed,
            format_args!("`{}`: {why}", escape(topic.as_str())),
        );
    }
    let publisher = Publisher {
        client: arguments.client.as_str().into(),
        user: known.map(|user| user.name.clone()),
        reply_packet: known.and_then(|user| user.reply_packet),
        maximum_packet: None,
        hearing: Hearing::Deny,
    };
    let message = Message {
        topic: topic.clone(),
        payload: Bytes::from(arguments.payload.clone()),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: None,
    };
    let now = crate::io::clock::unix_time().as_secs();
    let shown = escape(topic.as_str());
    let preview = match config
        .routes
        .preview(&message, &publisher, &config.gateway, now)
    {
        None => {
            return streams.refuse(
                Exit::Failed,
                format_args!(
                    "no route takes `{shown}`: it is ordinary MQTT; see `mqtt-https-bridge check`"
                ),
            );
        }
        Some(Err(failure)) => {
            let (code, detail) = (failure.code.as_str(), &failure.detail);
            writeln!(streams.out, "answer    {code} - {detail}")?;
            return Ok(Exit::Failed);
        }
        Some(Ok(preview)) => preview,
    };
    writeln!(streams.out, "route     {}", escape(&preview.route.name))?;
    writeln!(
        streams.out,
        "request   {} {}",
        preview.method.as_str(),
        preview.url
    )?;
    for (name, value) in &preview.headers {
        writeln!(streams.out, "          {name}: {value}")?;
    }
    if let Some(body) = &preview.body {
        writeln!(streams.out, "body      {}", shown_body(body))?;
    }
    writeln!(streams.out, "reply     {}", preview.reply_topic_ok)?;
    if preview.reply_topic_error != preview.reply_topic_ok {
        writeln!(streams.out, "          {}", preview.reply_topic_error)?;
    }
    Ok(Exit::Ok)
}

fn shown_body(body: &Bytes) -> String {
    match std::str::from_utf8(body) {
        Ok("") => "(empty)".into(),
        Ok(text) if !text.contains(|c: char| c.is_control() && c != '\n') => text.into(),
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => format!("({} bytes)", body.len()),
    }
}

/// Describes the whole configuration; never a secret nor a header's value.
/// Says why the broker would not take the message, `None` if it would.
fn denied(config: &Config, topic: &Topic, user: Option<&User>, client: &str) -> Option<String> {
    if topic.is_reserved() {
        return Some("nobody may publish there: it begins with `$`; name another topic".into());
    }
    if config.routes.takes_replies(topic.as_str()) {
        return Some(
            "nobody may publish there: it is where a route replies; name the topic of a request"
                .into(),
        );
    }
    let user = user?;
    let grants = user.rules.expand(Some(&user.name), client);
    (!grants.may_publish(topic)).then(|| {
        let rules = user.rules.publish.join(", ");
        let (name, client) = (escape(&user.name), escape(client));
        format!("user `{name}` with client ID `{client}` may not publish there, only to {rules}; correct its `publish`")
    })
}

fn overview(config: &Config) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn Display| {
        // Writing to a String can not fail.
        let _ = writeln!(text, "{name:<12}{value}");
    };
    let (file, id) = (config.path.display(), &config.id);
    line("file", &format_args!("{file} is valid, id {id}"));
    line("gateway", &config.gateway);
    let broker = &config.broker;
    let plain = broker.listen.iter().map(|address| (address, ""));
    let tls = broker.tls.iter().flat_map(|tls| &tls.listen);
    let web = broker.websocket.iter().flat_map(|web| {
        let over = match web.tls {
            true => " over WebSocket and TLS",
            false => " over WebSocket",
        };
        web.listen.iter().map(move |address| (address, over))
    });
    let tls = tls.map(|address| (address, " over TLS"));
    for (address, over) in plain.chain(tls).chain(web) {
        let closed = is_network(*address) && !broker.anonymous.lets_network_in(config.users.len());
        let state = if closed {
            ", closed until there is a user"
        } else {
            ""
        };
        line(
            "listener",
            &format_args!("{address} (MQTT 3.1, 3.1.1 and 5{over}){state}"),
        );
    }
    line("anonymous", &anonymous(config));
    for user in &config.users {
        let (publish, subscribe) = (
            user.rules.publish.join(", "),
            user.rules.subscribe.join(", "),
        );
        let name = escape(&user.name);
        line(
            "user",
            &format_args!("{name} publishes to {publish}; subscribes to {subscribe}"),
        );
    }
    if let Some(stored) = &config.store {
        let (directory, bytes) = (stored.directory.display(), show_size(stored.max_bytes));
        line("store", &format_args!("{directory}, up to {bytes}"));
        if store::is_in_memory(&stored.directory) {
            let what = "lies in memory: what it holds survives a restart of the program, not one \
                        of the board or a power cut";
            line("", &what);
        }
        match (stored.sessions, stored.interval) {
            (true, interval) => line(
                "",
                &format_args!("sessions and retained messages, at least every {interval:?}"),
            ),
            (false, _) => line("", &"no sessions, no retained messages"),
        }
    }
    line("users file", &config.broker.users_file.display());
    for endpoint in &config.endpoints {
        let _ = writeln!(
            text,
            "\nendpoint    {} {}",
            escape(&endpoint.name),
            endpoint.url
        );
        for detail in endpoint::describe(endpoint) {
            let _ = writeln!(text, "            {detail}");
        }
    }
    for (number, route) in (1..).zip(&config.routes.routes) {
        let _ = writeln!(text, "\nroute {number:<6}{}", escape(&route.name));
        for detail in describe_route(route) {
            let _ = writeln!(text, "            {detail}");
        }
    }
    text
}

fn anonymous(config: &Config) -> String {
    let rules = &config.broker.anonymous_rules;
    let (publish, subscribe) = (rules.publish.join(", "), rules.subscribe.join(", "));
    match config.broker.anonymous {
        Anonymous::No => "nobody connects without a password".into(),
        Anonymous::Loopback => format!(
            "clients on this machine, which publish to {publish} and subscribe to {subscribe}"
        ),
        Anonymous::Anywhere => format!(
            "anyone who reaches a listener, who may publish to {publish} and subscribe to {subscribe}"
        ),
    }
}

fn describe_route(route: &Route) -> Vec<String> {
    let mut details = Vec::new();
    let (topic, method, endpoint) = (
        &route.topic.text,
        route.method.as_str(),
        &route.endpoint.name,
    );
    let port = if route.port == 443 {
        String::new()
    } else {
        format!(":{}", route.port)
    };
    let (host, path) = (route.host.as_str(), route.path.as_str());
    details.push(format!(
        "{topic} → {method} https://{host}{port}{path} ({endpoint})"
    ));
    if !route.query.is_empty() {
        details.push(format!("query {}", names(&route.query)));
    }
    if !route.headers.is_empty() {
        details.push(format!("headers {}", names(&route.headers)));
    }
    let reply = &route.reply;
    let form = match &reply.form {
        Form::Plain => "plain",
        Form::Json => "json",
        Form::Template(_) => "by template",
    };
    let oversize = match reply.oversize {
        Oversize::Error => "an error",
        Oversize::Cut => "cut",
        Oversize::Chunks => "sent in chunks",
    };
    let qos = match route.reply_qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    };
    let retain = if reply.retain { ", retained" } else { "" };
    let packet = show_size(reply.packet);
    details.push(format!(
        "reply {}: {form}, QoS {qos}{retain}",
        reply.topic.as_str()
    ));
    details.push(format!(
        "packets of {packet}, longer replies are {oversize}"
    ));
    if !reply.select.is_empty() {
        let pointers: Vec<_> = reply
            .select
            .iter()
            .map(|(_, pointer)| pointer.as_str())
            .collect();
        details.push(format!("selects {}", pointers.join(", ")));
    }
    let limits = &route.limits;
    details.push(format!(
        "success {}; timeout {}, deadline {}, responses up to {}",
        statuses(&route.success.ranges),
        show_duration(limits.timeout),
        show_duration(limits.deadline),
        show_size(limits.max_response)
    ));
    details
}

fn names<T>(named: &[(String, T)]) -> String {
    let names: Vec<_> = named.iter().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}

fn statuses(ranges: &[(u16, u16)]) -> String {
    let show = |(first, last): &(u16, u16)| match (first, last) {
        (first, last) if first == last => first.to_string(),
        (first, last) if first % 100 == 0 && *last == first + 99 => format!("{}xx", first / 100),
        (first, last) => format!("{first}-{last}"),
    };
    ranges.iter().map(show).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_shown_as_they_are_written() {
        assert_eq!(
            statuses(&[(200, 299), (404, 404), (500, 503)]),
            "2xx, 404, 500-503"
        );
    }

    #[test]
    fn bodies_are_shown_on_terms_of_the_terminal() {
        let cases: [(&[u8], &str); 4] = [
            (b"", "(empty)"),
            (b"{\n}", "{\n}"),
            (b"\x1b[2J", "\\u{1b}[2J"),
            (b"\xff\xff", "(2 bytes)"),
        ];
        for (body, expected) in cases {
            assert_eq!(shown_body(&Bytes::copy_from_slice(body)), expected);
        }
    }
}
