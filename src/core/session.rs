//! One client's MQTT protocol: queue, windows, QoS 1 and 2 exchange.
