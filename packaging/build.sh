#!/usr/bin/env bash
# Builds the packages for Debian and for systems with RPM into target/packages. It needs cargo-deb and cargo-generate-rpm.
# With an argument, it packs that binary instead of building one. FORMATS=deb or FORMATS=rpm builds only one package.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${1:-}
if [ -z "$binary" ]; then
    cargo build --profile dist --locked
    binary=target/dist/tallyd
fi

staging=target/packages/staging
rm -rf target/packages
mkdir -p "$staging"/man "$staging"/completions "$staging"/sysusers
install -m 755 "$binary" "$staging"/tallyd

# cargo-deb lets the package run systemd-sysusers for a file of this name. The installation would fail if the installed file had
# another one.
install -m 644 systemd/sysusers.conf "$staging"/sysusers/tallyd.conf

"$binary" man --to "$staging"/man
gzip -9n "$staging"/man/*.1
"$binary" completions bash >"$staging"/completions/tallyd
"$binary" completions zsh >"$staging"/completions/_tallyd
"$binary" completions fish >"$staging"/completions/tallyd.fish

# Every key is a comment, so that an upgrade can change a default. Only the page for Prometheus is on, because the service needs
# an exporter.
"$binary" config default |
    sed -E -e '/^(#|$|\[[a-z])/!s/^/#/' -e 's/^#start_http_server = false$/start_http_server = true/' >"$staging"/tallyd.toml

for format in ${FORMATS:-deb rpm}; do
    case $format in
        deb) cargo deb --no-build --no-strip --quiet --output target/packages/ ;;
        rpm) cargo generate-rpm --output target/packages/ ;;
        *) echo "packaging/build.sh: no format $format; FORMATS has deb and rpm" >&2; exit 1 ;;
    esac
done
