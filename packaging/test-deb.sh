#!/bin/sh
# Installs, starts, upgrades, removes and purges the Debian package in a fresh Debian, without systemd and without a
# network. Needs root, debootstrap and, to make the fresh Debian, its mirror.
#
#   packaging/test-deb.sh OLD.deb NEW.deb [ROOT]
#
# ROOT is a directory that debootstrap has made; it is copied, never changed.
set -eu

if [ "${1:-}" != --inside ]; then
    old=$(readlink -f "$1") new=$(readlink -f "$2") given=${3:-}
    work=$(mktemp -d)
    trap 'rm -rf --one-file-system "$work"' EXIT
    root=$work/root
    if [ -n "$given" ]; then
        cp -a "$given" "$root"
    else
        debootstrap --variant=minbase --include=adduser,libgcc-s1 stable "$root"
    fi
    cp "$old" "$root/old.deb"
    cp "$new" "$root/new.deb"
    unshare --net --mount --pid --ipc --uts --fork --kill-child -- sh "$0" --inside "$root"
    exit
fi

# From here on there is a network namespace with nothing but loopback, and every process ends with this one.
root=$2
ip link set lo up
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
inside() { chroot "$root" "$@"; }
as_user() { chroot --userspec=aioli:aioli "$root" env -i HOME=/var/lib/aioli "$@"; }
is() { [ "$2" = "$3" ] || fail "$1 is \"$2\", not \"$3\""; }
gone() { [ ! -e "$root$1" ] || fail "$1 is still there"; }
there() { [ -e "$root$1" ] || fail "$1 is not there"; }
running() { grep -lx i2p-router "$root"/proc/[0-9]*/comm 2>/dev/null || true; }

# Runs the command of the unit as its user until it has told everything, then stops it; leaves its output in $log.
start_and_stop() {
    log=$root/log
    command=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/aioli.service")
    # No function: its process must be the router itself.
    chroot --userspec=aioli:aioli "$root" env -i HOME=/var/lib/aioli $command >"$log" 2>&1 &
    pid=$!
    tries=0
    until grep -q "SOCKS proxy for other programs" "$log"; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] && kill -0 "$pid" 2>/dev/null || fail "it does not start: $(cat "$log")"
        sleep 0.1
    done
    kill -TERM "$pid"
    status=0
    wait "$pid" || status=$?
    is "the exit status after SIGTERM" "$status" 0
    grep -qx stopped "$log" || fail "it does not say that it has stopped: $(cat "$log")"
}

echo "== install"
inside dpkg --install /old.deb >/dev/null
is "the data directory" "$(inside stat -c '%a %U:%G' /var/lib/aioli)" "700 aioli:aioli"
is "its shell" "$(inside getent passwd aioli | cut -d: -f7)" /usr/sbin/nologin
is "what is kept on upgrades" "$(inside dpkg-query --show --showformat '${Conffiles}' aioli | cut -d' ' -f2)" \
    "/etc/aioli/router.toml"
for file in /usr/bin/i2p-router /usr/bin/i2p-tunnel /usr/bin/aioli /usr/lib/systemd/system/aioli.service /usr/share/man/man1/i2p-router.1.gz \
    /usr/share/man/man1/aioli-doctor.1.gz /usr/share/bash-completion/completions/i2p-router \
    /usr/share/zsh/vendor-completions/_aioli /usr/share/fish/vendor_completions.d/aioli.fish; do
    there "$file"
done
is "what runs after the installation" "$(running)" ""
inside dpkg --verify aioli
as_user /usr/bin/i2p-router --version
as_user /usr/bin/aioli doctor --offline --config /etc/aioli/router.toml

echo "== start and stop"
start_and_stop
grep -m1 "new identity" "$log"
is "the identity" "$(inside stat -c '%a %U' /var/lib/aioli/router.keys.json)" "600 aioli"
identity=$(sha256sum <"$root/var/lib/aioli/router.keys.json")

echo "== upgrade"
echo "# mine" >>"$root/etc/aioli/router.toml"
before=$(inside dpkg-query --show --showformat '${Version}' aioli)
inside dpkg --install /new.deb >/dev/null </dev/null
after=$(inside dpkg-query --show --showformat '${Version}' aioli)
[ "$before" != "$after" ] || fail "both packages have version $after"
tail -n 1 "$root/etc/aioli/router.toml" | grep -qx "# mine" || fail "the configuration was replaced"
start_and_stop
grep -q "^identity" "$log" || fail "another identity: $(cat "$log")"
is "the identity" "$(sha256sum <"$root/var/lib/aioli/router.keys.json")" "$identity"

echo "== remove"
inside dpkg --remove aioli >/dev/null
gone /usr/bin/i2p-router
gone /usr/lib/systemd/system/aioli.service
is "the identity" "$(sha256sum <"$root/var/lib/aioli/router.keys.json")" "$identity"
there /etc/aioli/router.toml
inside getent passwd aioli >/dev/null || fail "the user is gone, its files are not"

echo "== install again and purge"
inside dpkg --install /new.deb >/dev/null
start_and_stop
is "the identity" "$(sha256sum <"$root/var/lib/aioli/router.keys.json")" "$identity"
uid=$(inside id -u aioli)
inside dpkg --purge aioli >/dev/null 2>&1
gone /var/lib/aioli
gone /etc/aioli
! inside getent passwd aioli >/dev/null || fail "the user is still there"
left=$(find "$root" -xdev "(" -uid "$uid" -o -name "*aioli*" ")" ! -path "$root/var/lib/dpkg/*")
is "what is left" "$left" ""
echo "passed: $before installs and starts, upgrades to $after, is removed and purged"
