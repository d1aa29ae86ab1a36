#!/usr/bin/env bash
# Package: standardwebhooks 1.1.0 (PyPI)
#
# Guess:   `Webhook.sign()` takes a datetime, so equal instants give equal signatures, in whatever zone they are written;
#          at least those that carry their zone.
# Seen:    it strikes the zone out and takes the clock's digits as UTC: 14:00+09:00 is signed as 14:00Z. So does a naive
#          `datetime.now()` wherever the machine's zone is not UTC. The same package's `verify()` then refuses the message.
# Matters: the sender works in CI and in a container, which run on UTC, and every webhook is refused from the first machine
#          that has a local zone. Always sign with `datetime.now(UTC)`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "standardwebhooks==1.1.0"

cd "$work"
venv/bin/python - <<'PY'
import sys
from datetime import datetime, timedelta, timezone

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook("whsec_dGhpcnR5LXR3byBieXRlcyBvZiBzZWNyZXQga2V5IQ==")
body = '{"event":"session.closed"}'
now = datetime.now(timezone.utc)
seen = []
for zone in (timezone.utc, timezone(timedelta(hours=9)), timezone(timedelta(hours=-3, minutes=-30))):
    moment = now.astimezone(zone)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": webhook.sign("msg_1", moment, body),
    }
    try:
        webhook.verify(body, headers)
        seen.append("accepted")
    except WebhookVerificationError as error:
        seen.append(str(error))
    print(f"signed at {moment:%H:%M%z} (equal to now: {moment == now}): {seen[-1]}")
if seen != ["accepted", "No matching signature found", "No matching signature found"]:
    sys.exit("changed: only the instant that was written in UTC was seen to be accepted")
PY
