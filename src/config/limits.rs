//! The limits in `[broker]`: what clients may take of the gateway.

use std::time::Duration;

use crate::core::hub::Limits;

use super::ConnectionLimits;
use super::section::Section;
use super::show_size;

/// Reads what the hub holds to.
pub(super) fn read_limits(section: Option<&Section<'_>>) -> Limits {
    let standard = Limits::default();
    let queue = open_bounds(section, "queue", "broker.queue");
    let retained = open_bounds(section, "retained", "broker.retained");
    let (queue, retained) = (queue.as_ref(), retained.as_ref());
    let number = |section: Option<&Section<'_>>, key: &str, bounds, default| {
        let read = section.and_then(|section| section.number(key, bounds));
        read.map_or(default, |at| at.value)
    };
    let size = |section: Option<&Section<'_>>, key: &str, bounds, default| {
        let read = section.and_then(|section| section.size(key, bounds));
        read.map_or(default, |at| at.value)
    };
    let time = |key: &str, longest| {
        let bounds = Duration::from_secs(1)..=Duration::from_secs(longest);
        let read = section.and_then(|section| section.duration(key, bounds));
        read.map(|at| at.value)
    };
    let levels = standard.topic_levels;
    let memory = size(section, "memory", 1 << 20..=1 << 30, standard.memory);
    let limits = Limits {
        clients: number(section, "max_clients", 1..=10_000, standard.clients),
        max_packet: size(section, "max_packet", 256..=4 << 20, standard.max_packet),
        topic_bytes: size(section, "max_topic", 64..=65_535, standard.topic_bytes),
        topic_levels: number(section, "max_topic_levels", 4..=levels, levels),
        subscriptions: number(
            section,
            "max_subscriptions",
            1..=10_000,
            standard.subscriptions,
        ),
        memory,
        queue_messages: number(queue, "messages", 1..=100_000, standard.queue_messages),
        queue_bytes: size(queue, "bytes", 1024..=16 << 20, standard.queue_bytes),
        in_flight: standard.in_flight,
        ack_timeout: time("ack_timeout", 3600).unwrap_or(standard.ack_timeout),
        idle: time("idle_limit", 7 * 24 * 3600),
        offline_sessions: number(
            section,
            "offline_sessions",
            0..=100_000,
            standard.offline_sessions,
        ),
        retained_messages: number(
            retained,
            "messages",
            0..=1_000_000,
            standard.retained_messages,
        ),
        retained_bytes: size(retained, "bytes", 0..=256 << 20, standard.retained_bytes),
    };
    refuse_beyond_memory(section, &limits);
    limits
}

/// Reports what could never be used.
fn refuse_beyond_memory(section: Option<&Section<'_>>, limits: &Limits) {
    let Some(section) = section else { return };
    let parts = [
        ("max_packet", limits.max_packet),
        ("queue", limits.queue_bytes),
        ("retained", limits.retained_bytes),
    ];
    for (key, bytes) in parts {
        if section.has(key) && bytes > limits.memory {
            let (bytes, memory) = (show_size(bytes), show_size(limits.memory));
            let text = format!(
                "{key} takes up to `{bytes}`, more than all memory for messages, `{memory}`; raise \
                 memory or lower it"
            );
            section.report.error(section.origin_of(key), text);
        }
    }
}

/// Reads what each connection is held to.
pub(super) fn read_connections(section: Option<&Section<'_>>) -> ConnectionLimits {
    let standard = ConnectionLimits::default();
    let Some(section) = section else {
        return standard;
    };
    let number = |key: &str| section.number(key, 0..=1_000_000).map(|at| at.value);
    let time = |key: &str, default| {
        let bounds = Duration::from_secs(1)..=Duration::from_secs(300);
        section.duration(key, bounds).map_or(default, |at| at.value)
    };
    ConnectionLimits {
        per_address: number("max_per_address"),
        connect_rate: number("connect_rate"),
        publish_rate: number("publish_rate"),
        connect_timeout: time("connect_timeout", standard.connect_timeout),
        packet_timeout: time("packet_timeout", standard.packet_timeout),
    }
}

/// Opens a table of `messages` and `bytes`.
fn open_bounds<'a>(
    section: Option<&Section<'a>>,
    key: &str,
    kind: &'static str,
) -> Option<Section<'a>> {
    let section = section?;
    if section.has(key) && !section.is_table(key) {
        let example = format!("{key} = {{ messages = 100, bytes = \"64KiB\" }}");
        let text = format!("{key} is not a table; write `{example}`");
        section.report.error(section.origin_of(key), text);
        return None;
    }
    section.table(key, kind, &format!("`{key}` of [broker]"))
}
