# Stands in for OpenWrt's: writes what procd would be told to /tmp/procd/<service>, a word and a
# value a line. The test plays procd: it compares, starts, restarts and stops.

record() { printf '%s\t%s\n' "$1" "$2" >> "$PROCD_NEW"; }

procd_open_service() {
	mkdir -p /tmp/procd
	PROCD_SERVICE=/tmp/procd/$1
	PROCD_NEW=$PROCD_SERVICE.new
	: > "$PROCD_NEW"
}
procd_close_service() {
	service_triggers
	mv "$PROCD_NEW" "$PROCD_SERVICE"
}
procd_open_instance() { record instance "${1:-instance1}"; }
procd_close_instance() { :; }

procd_set_param() {
	sed -i "/^$1\t/d" "$PROCD_NEW"
	procd_append_param "$@"
}
procd_append_param() {
	local type=$1 value

	shift
	for value in "$@"; do record "$type" "$value"; done
}
procd_add_jail() {
	record jail "$*"
}
procd_add_jail_mount() {
	local path
	for path in "$@"; do record mount "$path"; done
}
procd_add_jail_mount_rw() {
	local path
	for path in "$@"; do record mount_rw "$path"; done
}
procd_add_reload_trigger() { record trigger "config $*"; }
procd_add_raw_trigger() { record trigger "event $*"; }
procd_add_restart_mount_trigger() { record trigger "mount $*"; }
# As the real one: where in fstab a disk is that a path lies below.
procd_get_mountpoints() {
	local target

	[ -e /etc/config/fstab ] || return 0
	sed -n "s/.*option target '\(.*\)'/\1/p" /etc/config/fstab | while read -r target; do
		case "$1/" in "$target"/*) echo "$target" ;; esac
	done
}
procd_send_signal() { printf '%s\n' "${3:-HUP}" >> /tmp/procd.signals; }
procd_kill() { rm -f "/tmp/procd/$1"; }
procd_running() { [ -e "/tmp/procd/$1" ] && grep -q '^instance' "/tmp/procd/$1"; }
