"""No indirection: the caller talks to the subject, and blames it directly.

python examples/health/none.py [--dry-run]        then: vagus health store@1
"""

from __future__ import annotations

import socket
import threading

import said

import vagus


def answer_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    connection.sendall(b"42\n")
    connection.close()


def ask(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, timeout=1.0) as connection:
        return connection.recv(100)


def main() -> None:
    said.begin()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        threading.Thread(target=answer_once, args=(server,), daemon=True).start()
        with vagus.observe("store@1", context="ask", observer="api"):
            print("store@1 answers", ask(address).decode().strip())
    try:
        with vagus.observe("store@2", context="ask", observer="api"):
            ask(address)  # nobody is there any more
    except OSError as error:
        print(f"store@2 does not: {error}")
    said.end()


if __name__ == "__main__":
    main()
