"""From a pod with a server's identity: the gateway answers over TLS, and takes the account's token for a server's."""

import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

url, ca = os.environ["GATEWAY_URL"], Path("/etc/ws402/gateway-ca/ca.crt")
token, key = Path("/var/run/ws402/gateway/token"), Path("/etc/ws402/secrets/gateway_api_key")
context = ssl.create_default_context(cafile=str(ca)) if ca.exists() else None
if context and Path("/etc/ws402/client-tls/tls.crt").exists():
    context.load_cert_chain("/etc/ws402/client-tls/tls.crt", "/etc/ws402/client-tls/tls.key")
secret = (token if token.exists() else key).read_text().strip()


def status(path: str, **headers: str) -> int:
    request = urllib.request.Request(url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


ready = status("/health/ready")
stranger = status("/openapi.json")
server = status("/openapi.json", Authorization=f"Bearer {secret}")
print(f"ready: {ready}; a call without proof: {stranger}; the same call as this server: {server}")
if ready != 200:
    sys.exit("The gateway is not ready.")
if stranger not in (401, 403):
    sys.exit("The gateway answers somebody without proof.")
if server != 200:
    sys.exit("The gateway does not know this server's account.")
