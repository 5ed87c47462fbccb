#!/bin/sh
# Boots a Debian with systemd and without a network, in which the package is installed, and looks at the service: it is
# started, confined, and stopped. Needs root, systemd-nspawn and debootstrap.
#
#   packaging/test-unit.sh NEW.deb [ROOT]
#
# ROOT is a directory that debootstrap has made with systemd and systemd-sysv in it; it is copied, never changed.
set -eu

package=$(readlink -f "$1") given=${2:-}
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
if [ -n "$given" ]; then
    cp -a "$given" "$root"
else
    debootstrap --variant=minbase --include=adduser,libgcc-s1,systemd,systemd-sysv stable "$root"
fi
cp "$package" "$root/aioli.deb"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
unshare --net chroot "$root" dpkg --install /aioli.deb
rm "$root/usr/sbin/policy-rc.d"

cat >"$root/check.sh" <<'END'
#!/bin/sh
exec >/result 2>&1
trap 'systemctl poweroff' EXIT
of() { systemctl show --property "$1" --value aioli; }
tries=0
until [ -n "$(of StatusText)" ] || [ "$tries" -gt 60 ]; do
    tries=$((tries + 1))
    sleep 1
done
echo "type $(of Type)"
echo "state $(of ActiveState)"
echo "status $(of StatusText)"
grep -E "^(CapEff|NoNewPrivs|Seccomp):" "/proc/$(of MainPID)/status"
stat --format "%n %a %U" /var/lib/aioli /run/aioli /run/aioli/stats.json
# Longer than the watchdog waits.
sleep 65
echo "restarts $(of NRestarts)"
systemctl stop aioli
echo "result $(of Result) $(of ExecMainStatus)"
END
chmod +x "$root/check.sh"
cat >"$root/etc/systemd/system/check.service" <<'END'
[Service]
ExecStart=/check.sh
[Install]
WantedBy=multi-user.target
END
ln -s ../check.service "$root/etc/systemd/system/multi-user.target.wants/check.service"

timeout --kill-after 5 240 systemd-nspawn --quiet --private-network --register=no --keep-unit --link-journal=no \
    --directory "$root" --boot >"$work/console" 2>&1 || {
    tail -n 20 "$work/console" >&2
    exit 1
}
cat "$root/result"
expect() { grep -Eqx "$1" "$root/result" || { echo "FAILED: no line $1" >&2; exit 1; }; }
expect "type notify"
expect "state active"
expect "status .+"
expect "CapEff:.0+"
expect "NoNewPrivs:.1"
expect "Seccomp:.2"
expect "/var/lib/aioli 700 aioli"
expect "/run/aioli 700 aioli"
expect "restarts 0"
expect "result success 0"
echo "passed: the service starts, is alive, confined, and stops"
