"""From a pod that is no server: the servers can be reached, the gateway cannot."""

import os
import socket
import sys


def reaches(name: str) -> bool:
    host, port = os.environ[name].split(":")
    address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4]
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        print(f"{name} {host}:{port}: {error}")
        return False
    print(f"{name} {host}:{port}: connected")
    return True


if not reaches("SERVER"):
    sys.exit("The servers cannot be reached, so this test shows nothing.")
if reaches("GATEWAY"):
    sys.exit("A pod that is no server reaches the gateway: does this cluster enforce NetworkPolicy?")
