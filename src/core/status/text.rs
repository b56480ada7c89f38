//! The status in aligned lines, for people.

use std::fmt::Display;
use std::time::Duration;

use crate::core::bridge::Share;

use super::{
    Certificate, Clients, Configuration, Door, Endpoint, Listener, Memory, Route, Status, Store,
};

/// Columns that the labels of single lines take.
const LABEL: usize = 15;

pub(super) fn write(status: &Status) -> String {
    let mut out = String::new();
    let stopping = match status.stopping {
        true => ", stopping",
        false => "",
    };
    let up = age(status.uptime);
    let version = status.version;
    line(
        &mut out,
        "version",
        format_args!("{version}, up {up}{stopping}"),
    );
    configuration(&status.configuration, &mut out);
    let clock = status.clock_unset.as_deref();
    line(&mut out, "clock", clock.unwrap_or("believed"));
    listeners(&status.listeners, &mut out);
    clients(status.clients, &mut out);
    if let Some(own) = &status.store {
        store(own, &mut out);
    }
    memory(status.memory, &mut out);
    routes(&status.routes, &mut out);
    endpoints(&status.endpoints, &mut out);
    certificates(&status.certificates, &mut out);
    out
}

fn configuration(own: &Configuration, out: &mut String) {
    line(
        out,
        "configuration",
        format_args!("{} {}", own.id, own.file),
    );
    let Some(last) = &own.last else {
        return;
    };
    let ago = age(last.ago);
    let text = match last.errors.len() {
        0 => format!("taken over {ago} ago, {} since the start", own.reloads),
        _ => format!("FAILED {ago} ago, what ran before goes on:"),
    };
    line(out, "reload", text);
    for error in &last.errors {
        line(out, "", error);
    }
}

fn listeners(listeners: &[Listener], out: &mut String) {
    for (index, listener) in listeners.iter().enumerate() {
        let label = if index == 0 { "listeners" } else { "" };
        let over = if listener.tls { " over TLS" } else { "" };
        let door = match listener.door {
            Door::Open => "",
            Door::Closed => ", closed until there is a user",
            Door::Failing => ", can not be listened on; tried again, see the log",
        };
        let address = listener.address;
        line(out, label, format_args!("{address}{over}{door}"));
    }
}

fn clients(clients: Clients, out: &mut String) {
    let Clients {
        connected,
        offline,
        most,
        accepted,
        turned_away,
        refused,
        violations,
        denied,
        dropped,
    } = clients;
    line(
        out,
        "clients",
        format_args!("{connected} connected of {most}, {offline} sessions without a client"),
    );
    line(
        out,
        "connections",
        format_args!(
            "{accepted} accepted, {turned_away} turned away, {refused} refused, {violations} broke the \
         protocol"
        ),
    );
    line(
        out,
        "messages",
        format_args!("{denied} denied, {dropped} dropped"),
    );
}

fn store(store: &Store, out: &mut String) {
    line(
        out,
        "store",
        format_args!(
            "{} values, {} of {}; {} files, {}; written: {} batches, {} KiB, {} syncs",
            store.values,
            kib(store.live),
            kib(store.room),
            store.segments,
            kib(store.total),
            store.batches,
            store.written >> 10,
            store.syncs
        ),
    );
    if let Some(trouble) = &store.trouble {
        line(
            out,
            "",
            format_args!("CAN NOT BE WRITTEN: {trouble}; free or repair the disk"),
        );
    }
    if store.full {
        let text = "FULL: no room for as much as came last; raise [store] max_bytes, or see why \
                    messages wait";
        line(out, "", text);
    }
    if store.refused > 0 || store.damaged > 0 {
        let (refused, damaged) = (store.refused, store.damaged);
        line(
            out,
            "",
            format_args!("{refused} batches refused, {damaged} files or values damaged"),
        );
    }
}

fn memory(memory: Memory, out: &mut String) {
    let mut text = format!(
        "{} of {} for messages",
        kib(memory.used),
        kib(memory.ceiling)
    );
    if let Some(resident) = memory.resident {
        text.push_str(&format!(", {} in all", kib(resident)));
    }
    line(out, "memory", text);
}

fn routes(routes: &[Route], out: &mut String) {
    let mut head = vec![
        "routes",
        "received",
        "succeeded",
        "failed",
        "queued",
        "in flight",
        "dropped",
        "oldest",
    ];
    let stored = routes.iter().any(|route| route.share.is_some());
    if stored {
        head.push("store");
    }
    let row = |route: &Route| {
        let counters = &route.counters;
        let numbers = [
            counters.received,
            counters.succeeded,
            counters.failed,
            counters.queued,
            counters.in_flight,
            counters.dropped,
        ];
        let endpoint = route.endpoint.as_deref().unwrap_or("NO ROUTE");
        let mut row = vec![format!("{} → {endpoint}", route.name)];
        row.extend(numbers.map(|number| number.to_string()));
        row.push(route.oldest.map_or_else(|| "-".to_owned(), age));
        if stored {
            row.push(route.share.map_or_else(|| "-".to_owned(), share));
        }
        row
    };
    table(&head, routes.iter().map(row).collect(), out);
}

fn share(share: Share) -> String {
    let state = if share.is_full { "FULL, " } else { "" };
    let most = share.max_bytes.map(|most| format!(" of {}", kib(most)));
    format!("{state}{}{}", kib(share.bytes), most.unwrap_or_default())
}

fn endpoints(endpoints: &[Endpoint], out: &mut String) {
    let head = [
        "endpoints",
        "requests",
        "full",
        "resumed",
        "failed",
        "state",
        "next probe",
    ];
    let row = |endpoint: &Endpoint| {
        let numbers = [
            endpoint.requests,
            endpoint.full,
            endpoint.resumed,
            endpoint.failed,
        ];
        let mut row = vec![format!("{} {}", endpoint.name, endpoint.url)];
        row.extend(numbers.map(|number| number.to_string()));
        let state = super::standing(endpoint.standing).to_owned();
        row.push(match endpoint.since {
            Some(since) => format!("{state} for {}", age(since)),
            None => state,
        });
        let next = |until| format!("in {}", age(until));
        row.push(endpoint.next_probe.map_or_else(|| "-".to_owned(), next));
        row
    };
    table(&head, endpoints.iter().map(row).collect(), out);
    let failed = endpoints
        .iter()
        .filter_map(|it| Some((it, it.last_error.as_ref()?)));
    for (index, (endpoint, error)) in failed.enumerate() {
        if index == 0 {
            push(out, "\nlast errors");
        }
        let detail = match error.detail.is_empty() {
            true => String::new(),
            false => format!(", {}", error.detail),
        };
        let ago = age(error.ago);
        push(
            out,
            &format!("  {}: {}, {ago} ago{detail}", endpoint.name, error.code),
        );
    }
}

fn certificates(certificates: &[Certificate], out: &mut String) {
    let head = ["certificates", "days left", "end"];
    let row = |certificate: &Certificate| {
        let own = if certificate.own { " (our own)" } else { "" };
        vec![
            format!("{}{own}", certificate.name),
            certificate.days.to_string(),
            certificate.end.clone(),
        ]
    };
    table(&head, certificates.iter().map(row).collect(), out);
}

/// Appends a labelled line.
fn line(out: &mut String, label: &str, text: impl Display) {
    labelled(out, label, &text);
}

fn labelled(out: &mut String, label: &str, text: &dyn Display) {
    push(out, &format!("{label:<LABEL$}{text}"));
}

/// Appends a table, the first column to the left and the others to the right; nothing without
/// rows.
fn table(head: &[&str], rows: Vec<Vec<String>>, out: &mut String) {
    if rows.is_empty() {
        return;
    }
    let indented = rows.into_iter().map(|mut row| {
        if let Some(first) = row.first_mut() {
            first.insert_str(0, "  ");
        }
        row
    });
    let head = head.iter().map(|it| (*it).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(indented).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    out.push('\n');
    for row in &rows {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            match column {
                0 => text.push_str(&format!("{cell:<width$}")),
                _ => text.push_str(&format!("  {cell:>width$}")),
            }
        }
        push(out, &text);
    }
}

/// Appends a line, without what would move a terminal's cursor.
fn push(out: &mut String, text: &str) {
    let text = text.trim_end();
    out.extend(text.chars().map(|c| match c.is_control() && c != '\n' {
        true => '?',
        false => c,
    }));
    out.push('\n');
}

/// Writes a duration in its two largest units.
fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Writes a size in KiB.
fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}
