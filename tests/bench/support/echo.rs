//! A bare MQTT echo: what a bridge without HTTP would cost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::process::{Child, cpu_of};
use crate::support::wire;

/// The echo as a process of its own.
pub(crate) struct Echo {
    child: Child,
}

impl Echo {
    /// Starts it and waits until it has subscribed.
    pub(crate) fn start(port: u16, qos: u8) -> Self {
        let child = Child::of_this_program(&["echo", &port.to_string(), &qos.to_string()]);
        child.wait_for_line("ready");
        Self { child }
    }

    /// Returns the CPU time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }
}

/// The role: answers `nodes/<n>/…` on `replies/<n>/…` until the broker goes.
pub(crate) fn run(arguments: &[String]) {
    let (port, qos): (u16, u8) = (arguments[0].parse().unwrap(), arguments[1].parse().unwrap());
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all(&wire::connect("echo")).unwrap();
    socket.write_all(&wire::subscribe("nodes/#", qos)).unwrap();
    let (mut buffer, mut chunk, mut packet_id) = (Vec::new(), [0; 65_536], 0_u16);
    loop {
        let read = socket.read(&mut chunk).unwrap_or(0);
        if read == 0 {
            return;
        }
        buffer.extend_from_slice(&chunk[..read]);
        let mut out = Vec::new();
        while let Some(packet) = wire::split(&mut buffer) {
            if packet.first == 0x90 {
                println!("ready");
            }
            let Some((topic, id, payload)) = packet.as_publish() else {
                continue;
            };
            if id != 0 {
                out.extend(wire::puback(id));
            }
            packet_id = packet_id.checked_add(1).unwrap_or(1);
            out.extend(wire::publish(
                &topic.replacen("nodes/", "replies/", 1),
                payload,
                qos,
                packet_id,
            ));
        }
        socket.write_all(&out).unwrap();
    }
}
