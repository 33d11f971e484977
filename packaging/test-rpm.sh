#!/usr/bin/env bash
# Builds the package for systems with RPM, and installs, upgrades and removes it in an empty root. `make packages-test` runs it. It
# must run as root, and it needs cargo-generate-rpm and rpm. It packs the binary that it gets as an argument, or else
# target/debug/tallyd. The root has no system, so the scripts of the package do not run.
set -euo pipefail
cd "$(dirname "$0")/.."

. packaging/test-common.sh

need 'apt-get install rpm, and cargo install cargo-generate-rpm' cargo-generate-rpm rpm

FORMATS=rpm packaging/build.sh "${1:-target/debug/tallyd}"
packages=(target/packages/tallyd-*.rpm)
package=${packages[0]}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
in_root() { rpm --root "$root" --nodeps --noscripts "$@"; }

say "installing $package"
in_root --install "$package"
# The manual pages of single commands are left out, because there is one for each command. The letters behind a path say that it is
# a configuration file (c) which an upgrade does not replace (n), or a document (d).
format='[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES} %{FILEFLAGS:fflags}\n]'
rpm --root "$root" --query --queryformat "$format" tallyd |
    grep -v '/tallyd-[a-z-]*\.1\.gz ' | sed 's/ $//' | LC_ALL=C sort --key 3 >"$work/files"
diff -u packaging/rpm-files.txt "$work/files" || fail 'other files are installed than packaging/rpm-files.txt lists'
in_root --verify tallyd || fail 'an installed file differs from the package'

say 'upgrading'
# The operator has changed the file, and the next version changes it, too.
echo '# a change of the operator' >>"$root/etc/tallyd/tallyd.toml"
echo '# another default' >>target/packages/staging/tallyd.toml
cargo generate-rpm --set-metadata 'release = "2"' --output "$work/next.rpm"
in_root --upgrade "$work/next.rpm" 2>"$work/said"
grep -q 'a change of the operator' "$root/etc/tallyd/tallyd.toml" || fail 'the upgrade lost a change in /etc/tallyd/tallyd.toml'
grep -q 'another default' "$root/etc/tallyd/tallyd.toml.rpmnew" || fail 'the new defaults are not beside the changed file'

say 'removing'
in_root --erase tallyd 2>"$work/said"
[ ! -e "$root/usr/bin/tallyd" ] || fail '/usr/bin/tallyd is still there after a removal'
grep -q 'a change of the operator' "$root/etc/tallyd/tallyd.toml.rpmsave" || fail 'the removal deleted the changed configuration'
say 'the package installs, upgrades and is removed'
