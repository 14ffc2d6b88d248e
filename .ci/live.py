"""./run as a person would use it, and official clients against it.

Starts ./run with data and a port of its own, waits for its dev.env, runs the examples, presses Ctrl-C, starts again and
looks whether wallet, key and balance are as they were, and ends with ./run --check. Only the standard library; called by
./test, which has built everything.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / "demo"
EXAMPLES = ROOT / "sdk-examples"

READY_SECONDS_MAX = 600
STOP_SECONDS_MAX = 2.0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def expect(condition, message):
    if not condition:
        raise SystemExit(f"live: {message}")


def step(text):
    print(f"live: {text}", flush=True)


class Stack:
    """One ./run in a session of its own, so that what it leaves behind can be found."""

    def __init__(self, state, port):
        self.state = state
        self.port = port
        self.process = None

    def start(self, *arguments):
        environment = dict(os.environ, COCOON_STATE_DIR=str(self.state))
        self.process = subprocess.Popen(
            [ROOT / "run", "--port", str(self.port), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # A background job of a script ignores SIGINT and hands that down; a person's shell does not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        return self

    def await_ready(self):
        """The values of dev.env, and how long they took."""
        start = time.monotonic()
        file = self.state / "dev.env"
        while not file.exists():
            expect(self.process.poll() is None, f"./run ended with {self.process.returncode}")
            expect(time.monotonic() - start < READY_SECONDS_MAX, "./run is not ready in time")
            time.sleep(0.05)
        values = dict(line.split("=", 1) for line in file.read_text().splitlines())
        expect(values["OPENAI_BASE_URL"] == f"http://127.0.0.1:{self.port}/v1", f"dev.env has {values}")
        return values, time.monotonic() - start

    def interrupt(self):
        """Ctrl-C; everything of the session must be gone in time."""
        start = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=30)
        while left := session_processes(self.process.pid):
            expect(time.monotonic() - start < 30, f"still running after Ctrl-C: {left}")
            time.sleep(0.01)
        took = time.monotonic() - start
        expect(took <= STOP_SECONDS_MAX, f"Ctrl-C took {took:.2f} s")
        expect(self.process.returncode == 0, f"./run ended with {self.process.returncode}")
        with socket.socket() as probe:
            expect(probe.connect_ex(("127.0.0.1", self.port)) != 0, "somebody still listens")
        return took

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(timeout=30)


def session_processes(session):
    """Command lines of all processes in a session, whatever group they are in."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if fields[3] == str(session) and fields[0] != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


def cocoon(home, base_url, *arguments):
    command = [BIN / "cocoon", "--home", home, "--base-url", base_url, "--json", *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "COCOON_"))}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, timeout=30)
    return json.loads(output.stdout)


def key_without_credit(folder, base_url):
    for arguments in (["wallet", "create"], ["login"]):
        cocoon(folder, base_url, *arguments)
    return cocoon(folder, base_url, "keys", "create", "--name", "empty")["key"]


def call(values, path, body=None):
    """The open response to one request; with a body it is a POST."""
    request = urllib.request.Request(
        values["OPENAI_BASE_URL"] + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + values["OPENAI_API_KEY"]},
    )
    return urllib.request.urlopen(request, timeout=10)


def balance(values):
    with call(values, "/balance") as response:
        return json.load(response)


def endless_stream(values):
    """A stream that goes on for seconds: the tokens that end an answer are out of reach. Its first words have come."""
    body = {
        "model": values["COCOON_MODEL"],
        "messages": [{"role": "user", "content": "Tell me a story."}],
        "max_tokens": 1900,
        "logit_bias": {"0": -100, "2": -100},
        "stream": True,
    }
    response = call(values, "/chat/completions", body)
    for line in response:
        if b'"content":"' in line and b'"content":""' not in line:
            return response
    raise SystemExit("live: the endless stream ended before it began")


def expect_settled(values, request_id):
    """The request that Ctrl-C cut is charged for what was delivered, and holds nothing back."""
    with call(values, "/usage?limit=10") as response:
        rows = [row for row in json.load(response)["data"] if row["request_id"] == request_id]
    expect(rows, f"{request_id} was not settled")
    expect(rows[0]["usage"]["completion_tokens"] > 0 and rows[0]["charge_nano"] > 0, f"it was settled as {rows[0]}")
    expect(rows[0]["outcome"] != "failed", "the engine did not outlive Ctrl-C until the stream was cut")
    step(f"the stream that was cut: {rows[0]['outcome']}, {rows[0]['usage']}")
    expect(balance(values)["reserved_nano"] == 0, "it still holds a reservation")


def run_examples(values, state):
    empty = key_without_credit(state / "empty", values["OPENAI_BASE_URL"])
    environment = dict(os.environ, COCOON_EMPTY_KEY=empty, **values)
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    for script in sorted(EXAMPLES.glob("curl/*.sh")):
        step(f"sdk-examples/curl/{script.name}")
        subprocess.run(["sh", script], env=environment, check=True, timeout=120)
    step("sdk-examples/rust")
    subprocess.run([BIN / "cocoon-sdk-example"], env=environment, check=True, timeout=120)
    step("sdk-examples/python")
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES / "python"]
    subprocess.run(tests, env=environment, check=True, timeout=600)


def main():
    with tempfile.TemporaryDirectory(prefix="cocoon-live-") as folder:
        state = pathlib.Path(folder)
        stack = Stack(state, free_port())
        try:
            first, took = stack.start().await_ready()
            step(f"first start: ready after {took:.1f} s, the check for a build included")
            run_examples(first, state)
            before = balance(first)
            step(f"Ctrl-C: all gone after {stack.interrupt():.2f} s")

            second, took = stack.start().await_ready()
            step(f"second start: ready after {took:.1f} s, the check for a build included")
            expect(second == first, "the second start has another key or model")
            after = balance(second)
            expect(after["wallet"] == before["wallet"], "the second start has another wallet")
            expect(after["credited_nano"] == before["credited_nano"], "credit was given twice")
            expect(after["charged_nano"] > before["charged_nano"], "what was charged is forgotten")
            with endless_stream(second) as stream:
                request_id = stream.headers["x-request-id"]
                step(f"Ctrl-C with a stream open: all gone after {stack.interrupt():.2f} s")

            third, _ = stack.start().await_ready()
            expect_settled(third, request_id)
            step(f"third start: the stream was settled; Ctrl-C: all gone after {stack.interrupt():.2f} s")

            stack.start("--check")
            expect(stack.process.wait(timeout=READY_SECONDS_MAX) == 0, "./run --check failed")
            left = session_processes(stack.process.pid)
            expect(not left, f"./run --check left behind: {left}")
        finally:
            stack.kill()


if __name__ == "__main__":
    main()
