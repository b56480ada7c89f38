//! Chapter 6: MQTT over WebSocket. What else there may be in frames is in `tests/websocket.rs`.

use std::io::Write;

use crate::mqtt::{Broker, CLEAN, Client, connect_4, connect_5};
use crate::web::{
    BINARY, CLOSE, CONTINUATION, FINAL, TEXT, expect_frame, frame, message, open, read_frame,
    read_head, request,
};

fn start() -> Broker {
    let text = "[broker]\nlisten = []\nwebsocket = { listen = [\"127.0.0.1:0\"] }\n";
    Broker::try_start(text).unwrap()
}

/// CONNECT of both versions, and the length of its answer.
fn connects() -> [(Vec<u8>, u8); 2] {
    [(connect_4("c", CLEAN), 4), (connect_5("c", CLEAN, &[]), 5)]
}

/// 3.1.1: MQTT-6.0.0-1
/// 5: MQTT-6.0.0-1
#[test]
fn data_frames_that_are_not_binary_end_the_connection() {
    let broker = start();
    for (connect, _) in connects() {
        let mut stream = open(broker.address);
        stream.write_all(&frame(FINAL | TEXT, &connect)).unwrap();
        expect_frame(&mut stream, FINAL | CLOSE, &1003_u16.to_be_bytes());
    }
}

/// 3.1.1: MQTT-6.0.0-2
/// 5: MQTT-6.0.0-2
#[test]
fn packets_may_span_frames_and_share_them() {
    let broker = start();
    for (connect, version) in connects() {
        let mut stream = open(broker.address);
        let packets = [connect.as_slice(), &[0xC0, 0, 0xC0, 0]].concat();
        let (first, rest) = packets.split_at(5);
        let (second, third) = rest.split_at(rest.len() - 3);
        stream.write_all(&message(first)).unwrap();
        stream.write_all(&frame(BINARY, second)).unwrap();
        let (_, answer) = read_frame(&mut stream).unwrap();
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{version}");
        stream
            .write_all(&frame(FINAL | CONTINUATION, third))
            .unwrap();
        expect_frame(&mut stream, FINAL | BINARY, &[0xD0, 0, 0xD0, 0]);
    }
}

/// 3.1.1: MQTT-6.0.0-3 MQTT-6.0.0-4
/// 5: MQTT-6.0.0-3 MQTT-6.0.0-4
#[test]
fn the_subprotocol_is_mqtt() {
    let broker = start();
    let offers = [
        ("mqtt", true),
        ("mqttv3.1, mqtt", true),
        ("mqttv3.1", false),
        ("chat", false),
    ];
    for (offer, is_taken) in offers {
        let mut stream = Client::socket(broker.address);
        let asked = request("").replace("Protocol: mqtt", &format!("Protocol: {offer}"));
        stream.write_all(asked.as_bytes()).unwrap();
        let head = read_head(&mut stream);
        let selected = head.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n");
        assert_eq!(selected, is_taken, "{head}");
        assert_eq!(head.starts_with("HTTP/1.1 101 "), is_taken, "{head}");
    }
}
