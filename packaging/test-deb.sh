#!/usr/bin/env bash
# Builds the package for Debian, and installs, runs, upgrades, removes and purges it in a root of its own. `make packages-test`
# runs it. It must run as root, and it needs cargo-deb, mmdebstrap, iproute2 and a mirror of Debian. It packs the binary that it
# gets as an argument, or else target/debug/tallyd. The root has the Debian of this machine, whose C library the binary needs.
set -euo pipefail
cd "$(dirname "$0")/.."

. packaging/test-common.sh

need 'apt-get install mmdebstrap iproute2, and cargo install cargo-deb' cargo-deb mmdebstrap ip dpkg-deb
[ "$(id -u)" = 0 ] || fail 'installing a package needs root'

binary=${1:-target/debug/tallyd}
[ -x "$binary" ] || fail "$binary is missing; build it"
FORMATS=deb packaging/build.sh "$binary"
packages=(target/packages/tallyd_*.deb)
package=${packages[0]}
version=$(dpkg-deb --field "$package" Version)

work=$(mktemp -d)
root=$work/root
daemon=
clean_up() {
    [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

# The system is downloaded once.
codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
system=target/packages-root/$codename.tar
if [ ! -e "$system" ]; then
    say "downloading Debian $codename"
    mkdir -p target/packages-root
    mmdebstrap --quiet --variant=minbase --include=logrotate,procps,systemd "$codename" "$work/system.tar" http://deb.debian.org/debian
    mv "$work/system.tar" "$system"
fi
mkdir "$root"
tar -C "$root" -xf "$system" --exclude='./dev/*'
mknod -m 666 "$root/dev/null" c 1 3

# Runs a command in the root, without the variables of this shell.
inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" "$@"
}

# Installs a package. `apt-get` would ask for the package lists, and all dependencies are there.
install_package() {
    cp "$1" "$root/tmp/tallyd.deb"
    inside dpkg --install /tmp/tallyd.deb >"$work/dpkg.log" 2>&1 </dev/null || { cat "$work/dpkg.log"; fail "$1 cannot be installed"; }
}

exists() { [ -e "$root$1" ] || [ -L "$root$1" ] || fail "$1 is missing $2"; }
is_gone() { if [ -e "$root$1" ] || [ -L "$root$1" ]; then fail "$1 is still there $2"; fi; }

say "installing $package"
install_package "$package"
[ "$(inside dpkg-query --show --showformat '${db:Status-Status} ${Version}' tallyd)" = "installed $version" ] || fail 'not installed'

# The manual pages of single commands are left out, because there is one for each command.
inside dpkg-query --listfiles tallyd | while read -r path; do
    [ -d "$root$path" ] || inside stat --format '%A %U:%G %n' "$path"
done | grep -v '/tallyd-[a-z-]*\.1\.gz$' | LC_ALL=C sort --key 3 >"$work/files"
diff -u packaging/debian-files.txt "$work/files" || fail 'other files are installed than packaging/debian-files.txt lists'
for command in check explain health send top; do
    exists "/usr/share/man/man1/tallyd-$command.1.gz" 'after the installation'
done

say 'checking the units'
for unit in tallyd.service tallyd.socket tallyd-prometheus.socket; do
    verified=$(inside systemd-analyze verify --man=no "/usr/lib/systemd/system/$unit" 2>&1) || fail "$unit: $verified"
    case $verified in *tallyd*) fail "$unit: $verified" ;; esac
done
exists /etc/systemd/system/multi-user.target.wants/tallyd.service 'after the installation'
exists /etc/systemd/system/sockets.target.wants/tallyd.socket 'after the installation'
inside getent passwd tallyd >/dev/null || fail 'there is no user tallyd'
inside tallyd check --config /etc/tallyd/tallyd.toml >/dev/null || fail 'the shipped configuration is refused'

# Runs the command of the unit as the permanent user, in a network of its own. systemd itself does not run in the root, so
# these are its directories with DynamicUser=yes.
say 'running the service'
inside install -d -o tallyd -g tallyd /var/lib/private/tallyd /var/log/private/tallyd
inside ln -s private/tallyd /var/lib/tallyd
inside ln -s private/tallyd /var/log/tallyd
inside chmod 755 /var/lib/private
command=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/tallyd.service" | sed 's|%S|/var/lib|g')
# shellcheck disable=SC2016,SC2086 # The inner shell expands the variables, and the command has several words.
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin unshare --net sh -c \
    'ip link set lo up && exec chroot --userspec=tallyd:tallyd "$0" "$@"' "$root" $command >"$work/log" 2>&1 &
daemon=$!
in_network() { nsenter --target "$daemon" --net chroot --userspec=tallyd:tallyd "$root" "$@"; }
for _ in $(seq 100); do
    in_network /usr/bin/tallyd health >"$work/health" 2>&1 && break
    sleep 0.1
done
[ "$(cat "$work/health")" = healthy ] || { cat "$work/log" "$work/health"; fail 'the service does not run'; }
in_network /usr/bin/tallyd send page.views 1
kill -TERM "$daemon"
code=0
wait "$daemon" || code=$?
daemon=
[ "$code" = 0 ] || { cat "$work/log"; fail "the service ended with $code"; }
exists /var/lib/private/tallyd/state 'after a stop'

say 'upgrading'
echo '# a change of the operator' >>"$root/etc/tallyd/tallyd.toml"
dpkg-deb --raw-extract "$package" "$work/next"
sed -i "s/^Version: .*/Version: $version+next/" "$work/next/DEBIAN/control"
dpkg-deb -Znone --root-owner-group --build "$work/next" "$work/next.deb" >/dev/null
install_package "$work/next.deb"
[ "$(inside dpkg-query --show --showformat '${Version}' tallyd)" = "$version+next" ] || fail 'not upgraded'
grep -q 'a change of the operator' "$root/etc/tallyd/tallyd.toml" || fail 'the upgrade lost a change in /etc/tallyd/tallyd.toml'
exists /etc/systemd/system/multi-user.target.wants/tallyd.service 'after an upgrade'
exists /var/lib/private/tallyd/state 'after an upgrade'

say 'removing'
inside dpkg --remove tallyd >/dev/null 2>&1 || fail 'the package cannot be removed'
is_gone /usr/bin/tallyd 'after a removal'
is_gone /usr/lib/systemd/system/tallyd.service 'after a removal'
grep -q 'a change of the operator' "$root/etc/tallyd/tallyd.toml" || fail 'the removal deleted /etc/tallyd/tallyd.toml'
exists /var/lib/private/tallyd/state 'after a removal'

say 'purging'
inside dpkg --purge tallyd >/dev/null 2>&1 || fail 'the package cannot be purged'
for path in /etc/tallyd /etc/logrotate.d/tallyd /var/lib/tallyd /var/lib/private/tallyd /var/log/tallyd /var/log/private/tallyd \
    /etc/systemd/system/multi-user.target.wants/tallyd.service /etc/systemd/system/sockets.target.wants/tallyd.socket; do
    is_gone "$path" 'after a purge'
done
say 'the package installs, runs, upgrades, is removed and is purged'
