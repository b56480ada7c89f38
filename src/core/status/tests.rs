use serde_json::Value;

use super::*;

fn store() -> Store {
    Store {
        batches: 7,
        refused: 1,
        written: 4096,
        syncs: 5,
        live: 1024,
        room: 2048,
        full: true,
        total: 2048,
        segments: 1,
        values: 3,
        damaged: 0,
        trouble: Some("No space left on device".into()),
    }
}

fn share() -> Share {
    Share {
        bytes: 700,
        max_bytes: Some(1024),
        is_full: true,
    }
}

/// A gateway in the middle of its work.
fn busy() -> Status {
    let seconds = Duration::from_secs;
    Status {
        version: "1.2.3",
        uptime: seconds(3 * 86_400 + 4 * 3600 + 5),
        stopping: false,
        configuration: Configuration {
            file: "/etc/bridge.toml".into(),
            id: "0123abcd".into(),
            reloads: 2,
            last: Some(Reload {
                ago: seconds(61),
                errors: vec!["bridge.toml:3: a \"b\"; correct it".into()],
            }),
        },
        clock_unset: None,
        listeners: vec![
            Listener {
                address: ([127, 0, 0, 1], 1883).into(),
                tls: false,
                door: Door::Open,
            },
            Listener {
                address: ([0, 0, 0, 0], 8883).into(),
                tls: true,
                door: Door::Closed,
            },
        ],
        clients: Clients {
            connected: 12,
            offline: 3,
            most: 200,
            accepted: 40,
            ..Clients::default()
        },
        routes: vec![Route {
            name: "door".into(),
            endpoint: Some("alarms".into()),
            counters: Counters {
                received: 1000,
                succeeded: 990,
                failed: 6,
                queued: 2,
                in_flight: 1,
                dropped: 1,
            },
            oldest: Some(seconds(7)),
            share: Some(share()),
        }],
        endpoints: vec![Endpoint {
            name: "alarms".into(),
            url: "https://api.example.net".into(),
            requests: 996,
            full: 3,
            resumed: 20,
            failed: 1,
            standing: Standing::Paused,
            since: Some(seconds(3700)),
            next_probe: Some(seconds(12)),
            last_error: Some(LastError {
                ago: seconds(3700),
                code: "tls.expired",
                detail: "ended\u{1b}[2J".into(),
            }),
        }],
        certificates: vec![Certificate {
            name: "api.example.net".into(),
            endpoint: "alarms".into(),
            own: false,
            days: 49,
            end: "2026-12-01T09:00:00Z".into(),
        }],
        store: Some(store()),
        memory: Memory {
            used: 2000,
            ceiling: 8 << 20,
            resident: Some(6 << 20),
        },
    }
}

#[test]
fn lines_for_people_are_aligned_and_hold_no_control_characters() {
    let expected = "\
version        1.2.3, up 3 d 4 h
configuration  0123abcd /etc/bridge.toml
reload         FAILED 1 min 1 s ago, what ran before goes on:
               bridge.toml:3: a \"b\"; correct it
clock          believed
listeners      127.0.0.1:1883
               0.0.0.0:8883 over TLS, closed until there is a user
clients        12 connected of 200, 3 sessions without a client
connections    40 accepted, 0 turned away, 0 refused, 0 broke the protocol
messages       0 denied, 0 dropped
store          3 values, 1 KiB of 2 KiB; 1 files, 2 KiB; written: 7 batches, 4 KiB, 5 syncs
               CAN NOT BE WRITTEN: No space left on device; free or repair the disk
               FULL: no room for as much as came last; raise [store] max_bytes, or see why messages wait
               1 batches refused, 0 files or values damaged
memory         2 KiB of 8192 KiB for messages, 6144 KiB in all

routes           received  succeeded  failed  queued  in flight  dropped  oldest                 store
  door → alarms      1000        990       6       2          1        1     7 s  FULL, 1 KiB of 1 KiB

endpoints                         requests  full  resumed  failed                 state  next probe
  alarms https://api.example.net       996     3       20       1  paused for 1 h 1 min     in 12 s

last errors
  alarms: tls.expired, 1 h 1 min ago, ended?[2J

certificates       days left                   end
  api.example.net         49  2026-12-01T09:00:00Z
";
    assert_eq!(busy().text(), expected);
}

#[test]
fn the_document_is_json_and_its_counters_add_up() {
    let document: Value = serde_json::from_str(&busy().json()).unwrap();
    let route = &document["routes"][0];
    let parts = ["succeeded", "failed", "queued", "in_flight", "dropped"];
    let sum: u64 = parts.map(|part| route[part].as_u64().unwrap()).iter().sum();
    assert_eq!(route["received"].as_u64(), Some(sum));
    let cases = [
        ("/configuration/id", "\"0123abcd\""),
        ("/configuration/last_reload/ok", "false"),
        ("/clock_unset", "null"),
        ("/listeners/1/address", "\"0.0.0.0:8883\""),
        ("/listeners/1/state", "\"closed\""),
        ("/clients/connected", "12"),
        ("/routes/0/oldest", "7"),
        ("/endpoints/0/handshakes/resumed", "20"),
        ("/endpoints/0/state", "\"paused\""),
        ("/endpoints/0/next_probe", "12"),
        ("/endpoints/0/last_error/detail", "\"ended\\u001b[2J\""),
        ("/certificates/0/days_left", "49"),
        ("/store/trouble", "\"No space left on device\""),
        ("/store/syncs", "5"),
        ("/store/full", "true"),
        ("/store/room", "2048"),
        ("/routes/0/store/bytes", "700"),
        ("/routes/0/store/max_bytes", "1024"),
        ("/routes/0/store/full", "true"),
        ("/memory/resident", "6291456"),
    ];
    for (pointer, expected) in cases {
        let found = document.pointer(pointer).map(ToString::to_string);
        assert_eq!(found.as_deref(), Some(expected), "{pointer}");
    }
}

#[test]
fn what_is_not_there_is_left_out_for_people_and_null_for_programs() {
    let status = Status {
        configuration: Configuration::default(),
        clock_unset: Some("the gateway's clock has not been set yet".into()),
        listeners: Vec::new(),
        routes: Vec::new(),
        endpoints: Vec::new(),
        certificates: Vec::new(),
        store: None,
        memory: Memory::default(),
        ..busy()
    };
    let text = status.text();
    assert!(text.contains("clock          the gateway's clock has not been set yet\n"));
    for absent in ["routes", "endpoints", "certificates", "reload", "in all"] {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
    let document: Value = serde_json::from_str(&status.json()).unwrap();
    assert!(document["configuration"]["last_reload"].is_null());
    assert!(document["memory"]["resident"].is_null());
    assert_eq!(document["routes"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_fingerprint_has_eight_digits_and_tells_texts_apart() {
    assert_eq!(fingerprint("").len(), 8);
    assert_eq!(fingerprint("a"), fingerprint("a"));
    assert_ne!(fingerprint("a"), fingerprint("b"));
}
