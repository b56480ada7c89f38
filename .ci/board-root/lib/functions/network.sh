# Stands in for OpenWrt's: the addresses of a network are what the test wrote.

network_flush_cache() { :; }
addresses_of() {
	[ -s "/tmp/network/$2.$3" ] || return 1
	eval "$1=\$(cat /tmp/network/$2.$3)"
}
network_get_ipaddrs() { addresses_of "$1" "$2" v4; }
network_get_ipaddrs6() { addresses_of "$1" "$2" v6; }
