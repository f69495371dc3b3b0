"""Launch a repository through the REST API, run code in its notebook server, print what it prints, and end the session.

    pip install requests websocket-client
    python run_code.py https://bindery.example.org/ https://github.com/binder-examples/requirements "print(1 + 1)"

Any address will do that the service's own form takes: a page of a notebook, a DOI, owner/name.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from contextlib import closing

import requests
import websocket

#: How long a launch may take, and a request, in seconds.
LAUNCH_SECONDS = 1800
REQUEST_SECONDS = 60


def call(method: str, url: str, **options) -> dict:
    """One request of the API; an error is said as the service says it."""
    answer = requests.request(method, url, timeout=REQUEST_SECONDS, **options)
    if answer.headers.get("Content-Type") == "application/problem+json":
        problem = answer.json()
        sys.exit(f"{problem['title']}\n{problem['hint']} ({problem['code']})")
    answer.raise_for_status()
    return answer.json()


def launch(service: str, address: str) -> dict:
    """A session of what the address names, once it is ready."""
    api = f"{service.rstrip('/')}/api/v1"
    link = call("GET", f"{api}/links", params={"url": address})
    session = call("POST", f"{api}/sessions", json={"provider": link["provider"], "spec": link["spec"]})
    record = f"{api}/sessions/{session['id']}"
    deadline = time.monotonic() + LAUNCH_SECONDS
    while session["state"] != "ready":
        if session["failure"]:
            sys.exit(f"{session['failure']['message']}\n{session['failure']['hint']}")
        if session["stop_reason"] or time.monotonic() > deadline:
            sys.exit(session["stop_reason"] or "It takes too long.")
        time.sleep(1)
        # Asking tells the service that somebody still waits.
        session = call("GET", record)
    return {**session, "record": record}


def run(server: str, token: str, code: str) -> str:
    """What the code prints in a new kernel."""
    headers = {"Authorization": f"token {token}"}
    kernel = call("POST", f"{server}api/kernels", json={"name": "python3"}, headers=headers)["id"]
    channel = f"ws{server.removeprefix('http')}api/kernels/{kernel}/channels"
    message = {
        "header": {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": uuid.uuid4().hex,
                   "username": "", "version": "5.3"},
        "parent_header": {}, "metadata": {}, "channel": "shell",
        "content": {"code": code, "silent": False, "store_history": False},
    }  # fmt: skip
    printed = []
    with closing(websocket.create_connection(channel, timeout=REQUEST_SECONDS, header=headers)) as socket:
        socket.send(json.dumps(message))
        while True:
            told = json.loads(socket.recv())
            if told["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            content = told["content"]
            if told["msg_type"] == "stream":
                printed.append(content["text"])
            elif told["msg_type"] == "error":
                sys.exit("\n".join(content["traceback"]))
            elif told["msg_type"] == "status" and content["execution_state"] == "idle":
                return "".join(printed)


def main() -> None:
    """Launch, run, end."""
    service, address, code = sys.argv[1:]
    session = launch(service, address)
    try:
        print(run(session["url"], session["token"], code), end="")
    finally:
        call("DELETE", session["record"])


if __name__ == "__main__":
    main()
