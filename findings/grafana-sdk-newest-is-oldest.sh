#!/usr/bin/env bash
# Package: grafana-foundation-sdk (PyPI), releases 1769699379!11.6.0 and 1769699998!10.1.0
#
# Guess:   the newest release is for the newest Grafana, and `grafana-foundation-sdk>=11` brings one for Grafana 11 or later.
# Seen:    each release carries the second of its build as its epoch, and an epoch outweighs what follows it. The old
#          Grafanas are built last, so 10.1.0 is the newest of all; and it satisfies `>=11`, `>=11.6` and `>=99` alike.
# Matters: dashboards written as code for Grafana 11 are built against the types of 10.1 after the next update of the
#          lock file. Pin the whole version with its epoch; no range says what it seems to say.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"

version() { "$work/venv/bin/pip" show --disable-pip-version-check grafana-foundation-sdk | awk '$1 == "Version:" {print $2}'; }

"$work/venv/bin/pip" install -q --disable-pip-version-check "grafana-foundation-sdk==1769699379!11.6.0"
before=$(version)
# The upper bound keeps releases after this finding was made out of it.
"$work/venv/bin/pip" install -q --disable-pip-version-check --upgrade "grafana-foundation-sdk>=11.6,<=1769699998!10.1.0"
after=$(version)
echo "installed: $before; after an upgrade to '>=11.6': $after"
if [ "$before $after" != '1769699379!11.6.0 1769699998!10.1.0' ]; then
    echo "changed: '>=11.6' was seen to bring the release for Grafana 10.1" >&2
    exit 1
fi
