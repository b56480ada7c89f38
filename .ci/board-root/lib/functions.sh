# Stands in for OpenWrt's: as much of UCI and of the package functions as the package uses.

# Sets CONFIG_<section>_<option> for each option; the values of a list stand side by side.
config_load() {
	local word key value section

	for key in $(set | sed -n 's/^\(CONFIG_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$key"; done
	section=
	while read -r word key value; do
		value=${value#[\'\"]}
		value=${value%[\'\"]}
		case "$word" in
			config) section=$value ;;
			option) eval "CONFIG_${section}_$key=\$value" ;;
			list) eval "CONFIG_${section}_$key=\"\${CONFIG_${section}_$key:+\$CONFIG_${section}_$key }\$value\"" ;;
		esac
	done < "/etc/config/$1"
}

config_get() { eval "$1=\${CONFIG_$2_$3:-\$4}"; }

config_get_bool() {
	local raw

	config_get raw "$2" "$3" "$4"
	case "$raw" in
		1 | on | true | yes | enabled) eval "$1=1" ;;
		0 | off | false | no | disabled) eval "$1=0" ;;
		*) eval "$1=\$4" ;;
	esac
}

group_exists() { grep -q "^$1:" /etc/group; }
group_add() { echo "$1:x:$2:" >> /etc/group; }
user_exists() { grep -q "^$1:" /etc/passwd; }
user_add() { echo "$1:x:$2:$3:$1:/var/run/$1:/bin/false" >> /etc/passwd; }

user_and_group() {
	local required user group

	required=$(sed -n 's/^Require-User: //p' "/usr/lib/opkg/info/$1.control")
	user=${required%%:*}
	group=${required#*:}
	group_exists "${group%=*}" || group_add "${group%=*}" "${group#*=}"
	user_exists "${user%=*}" || user_add "${user%=*}" "${user#*=}" "${group#*=}"
}

init_scripts() { sed -n 's|^\(/etc/init.d/.*\)|\1|p' "/usr/lib/opkg/info/$1.list"; }

default_postinst() {
	local package script

	package=$(basename "${1%.*}")
	user_and_group "$package"
	if [ -f "/usr/lib/opkg/info/$package.postinst-pkg" ]; then
		( . "/usr/lib/opkg/info/$package.postinst-pkg" )
	fi
	for script in $(init_scripts "$package"); do
		[ "$PKG_UPGRADE" = 1 ] || "$script" enable
		"$script" start
	done
}

default_prerm() {
	local package script

	package=$(basename "${1%.*}")
	for script in $(init_scripts "$package"); do
		[ "$PKG_UPGRADE" = 1 ] || "$script" disable
		"$script" stop
	done
}

# A function, since Debian's busybox prefers its own applets to programs. Without a message after
# its five words of options it logs what comes in.
logger() {
	if [ $# -gt 5 ]; then echo "$6"; else cat; fi >> /tmp/logger
}
