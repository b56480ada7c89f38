//! The only door to rumqttd: bytes to packets and back, checked on both sides.
