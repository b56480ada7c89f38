//! Just enough MQTT 3.1.1 for a load: CONNECT, SUBSCRIBE, PUBLISH, PUBACK.

/// Builds a CONNECT with keep alive 0.
pub(crate) fn connect(client_id: &str) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04\x02\0\0".to_vec();
    text(&mut body, client_id);
    packet(0x10, &body)
}

/// Builds a SUBSCRIBE to one filter.
pub(crate) fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    text(&mut body, filter);
    body.push(qos);
    packet(0x82, &body)
}

/// Builds a PUBLISH; the packet identifier is used at QoS 1.
pub(crate) fn publish(topic: &str, payload: &[u8], qos: u8, packet_id: u16) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    text(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&packet_id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

/// Builds a PUBACK.
pub(crate) fn puback(packet_id: u16) -> Vec<u8> {
    packet(0x40, &packet_id.to_be_bytes())
}

/// One packet of the stream: first byte and body.
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    /// Takes a PUBLISH apart: topic, packet identifier (0 at QoS 0), payload.
    pub(crate) fn as_publish(&self) -> Option<(&str, u16, &[u8])> {
        if self.first >> 4 != 3 {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        let topic = std::str::from_utf8(&self.body[2..2 + length]).unwrap();
        let rest = &self.body[2 + length..];
        if self.first & 0x06 == 0 {
            return Some((topic, 0, rest));
        }
        Some((topic, u16::from_be_bytes([rest[0], rest[1]]), &rest[2..]))
    }
}

/// Splits the first whole packet off, `None` while it is not all there.
pub(crate) fn split(buffer: &mut Vec<u8>) -> Option<Packet> {
    let (mut length, mut header) = (0, 1);
    loop {
        let byte = *buffer.get(header)?;
        length |= usize::from(byte & 0x7f) << (7 * (header - 1));
        header += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if buffer.len() < header + length {
        return None;
    }
    let packet = Packet {
        first: buffer[0],
        body: buffer[header..header + length].to_vec(),
    };
    buffer.drain(..header + length);
    Some(packet)
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&(text.len() as u16).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}
