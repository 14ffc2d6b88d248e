"""What was said stays between those who said it: conversations with marker texts, and a search for them.

In clear mode: a whole conversation, streamed, with tools and an error, from an address of its own. Then no log, metric,
trace or file of the gateway and the worker may hold a marker of prompt, answer, key or address. In sealed mode, through
`cocoon proxy`: the same, and the gateway's memory is searched too, while a stream runs and after it. The search itself is
tried on something that is there, because one that finds nothing proves nothing by itself.
"""

import http.client
import http.server
import json
import os
import pathlib
import secrets
import subprocess
import threading
import time
import urllib.parse

# Any address of 127.0.0.0/8 is this machine's; no program here listens on this one.
ADDRESS = "127.77.88.99"
CHUNK = 4 << 20


def expect(condition, message):
    if not condition:
        raise SystemExit(f"privacy: {message}")


class Markers:
    """Texts that nobody else makes."""

    def __init__(self, name):
        self.prompt = f"zqprompt{name}{secrets.token_hex(8)}"
        self.answer = f"zqanswer{name}{secrets.token_hex(8)}"
        self.tool = f"zqtool{name}{secrets.token_hex(8)}"

    def texts(self):
        return [self.prompt, self.answer, self.tool]


class Client:
    """One OpenAI client, as small as it gets, from an address of its own."""

    def __init__(self, base_url, key, address):
        self.url = urllib.parse.urlsplit(base_url)
        self.key = key
        self.address = address

    def open(self, path, body):
        connection = http.client.HTTPConnection(
            self.url.hostname, self.url.port, timeout=120, source_address=(self.address, 0)
        )
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection.request("POST", self.url.path + path, json.dumps(body), headers)
        return connection.getresponse()

    def post(self, path, body):
        response = self.open(path, body)
        return response.status, response.read().decode()


def question(values, markers, **more):
    schema = {
        "type": "object",
        "properties": {"said": {"const": markers.answer}},
        "required": ["said"],
        "additionalProperties": False,
    }
    return {
        "model": values["COCOON_MODEL"],
        "messages": [{"role": "user", "content": f"Say it: {markers.prompt}"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "said", "schema": schema}},
        "max_tokens": 120,
    } | more


def converse(client, values, markers):
    """Whole, streamed, with a tool, with an error that names a parameter, and other endpoints."""
    status, text = client.post("/chat/completions", question(values, markers))
    expect(status == 200 and markers.answer in text, f"the answer lacks its marker: {status} {text[:300]}")
    status, text = client.post("/chat/completions", question(values, markers, stream=True))
    expect(status == 200 and "[DONE]" in text, f"the stream: {status} {text[:300]}")
    function = {"name": markers.tool, "description": markers.prompt, "parameters": {"type": "object", "properties": {}}}
    tools = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    asked = question(values, markers, **tools)
    del asked["response_format"]
    status, text = client.post("/chat/completions", asked)
    expect(status == 200 and markers.tool in text, f"the tool call: {status} {text[:300]}")
    for bad in ({"temperature": 99}, {"messages": [{"role": markers.prompt, "content": markers.prompt}]}, {"n": markers.prompt}):
        status, _ = client.post("/chat/completions", question(values, markers, **bad))
        expect(400 <= status < 500, f"{bad} was answered with {status}")
    model = {"model": values["COCOON_MODEL"]}
    status, _ = client.post("/responses", model | {"input": markers.prompt, "max_output_tokens": 16})
    expect(status == 200, f"responses: {status}")
    status, _ = client.post("/completions", model | {"prompt": markers.prompt, "max_tokens": 8})
    expect(status == 200, f"completions: {status}")
    status, _ = client.post("/embeddings", {"model": values["COCOON_EMBEDDING_MODEL"], "input": markers.prompt})
    expect(status == 200, f"embeddings: {status}")


def leave_a_stream(client, values, markers):
    """A client that goes in the middle: its stream's first bytes, then nothing."""
    asked = question(values, markers, stream=True, max_tokens=1500, logit_bias={"0": -100, "2": -100})
    del asked["response_format"]
    response = client.open("/chat/completions", asked)
    expect(response.status == 200 and response.read(200), "the stream did not begin")
    return response


class Collector:
    """Keeps what is exported as traces."""

    def __init__(self):
        kept = self.kept = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                kept.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def await_text(self, text, seconds=30):
        """All that came, once it holds `text`."""
        end = time.monotonic() + seconds
        while text not in (traces := b"".join(self.kept)):
            expect(time.monotonic() < end, "no traces came, so nothing is known of them")
            time.sleep(0.1)
        return traces


def files_with(folders, needles):
    """Every file below that holds one of the needles, read as it is on the disk now."""
    found = []
    for folder in folders:
        for path in sorted(pathlib.Path(folder).rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                found += [(str(path), needle) for needle in needles if needle.encode() in content]
    return found


def memory_with(pid, needles):
    """Which needles the process holds anywhere in its writable memory, and how many bytes were read."""
    wanted = {needle.encode() for needle in needles}
    longest = max(map(len, wanted))
    found, read = set(), 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            tail = b""
            for at in range(start, end, CHUNK):
                try:
                    memory.seek(at)
                    chunk = memory.read(min(CHUNK, end - at))
                except OSError:
                    tail = b""
                    continue
                read += len(chunk)
                whole = tail + chunk
                found |= {needle for needle in wanted if needle in whole}
                tail = whole[-longest:]
    return {needle.decode() for needle in found}, read


def metrics(state, name):
    """The page of metrics of a program that says where it is."""
    endpoints = json.loads((pathlib.Path(state) / name / "endpoints.json").read_text())
    connection = http.client.HTTPConnection(endpoints["admin"].rsplit("/", 1)[-1], timeout=10)
    connection.request("GET", "/metrics")
    return connection.getresponse().read()


def check_clear(values, stack, key, wallet):
    """A conversation that the gateway may read and must not keep."""
    state = stack.state
    markers = Markers("clear")
    client = Client(values["OPENAI_BASE_URL"], key, ADDRESS)
    converse(client, values, markers)
    leave_a_stream(client, values, markers).close()
    secret = key.split("-")[-1]
    needles = [*markers.texts(), ADDRESS, secret]
    found = files_with([state / "gateway", state / "worker", state / "logs"], needles)
    expect(not found, f"markers were kept: {found}")
    logs = files_with([state / "logs"], [wallet])
    expect(not logs, f"a wallet is in a log: {logs}")
    page = metrics(state, "gateway").decode()
    expect(not [needle for needle in [*needles, wallet] if needle in page], "a marker is in the metrics")
    # They leave in batches: the last request's are there once its endpoint is.
    traces = stack.collector.await_text(b"text_completion")
    expect(not [needle for needle in [*needles, wallet] if needle.encode() in traces], "a marker is in a trace")
    # The search finds what is there.
    probe = state / "logs" / "probe"
    probe.write_text(f"x{markers.prompt}x")
    expect(files_with([state / "logs"], needles), "the search does not find a marker that is there")
    probe.unlink()
    return len(needles)


def check_sealed(values, state, proxy_url, key, gateway_pid, worker_pid):
    """A conversation that the gateway cannot read: its memory and files are searched during and after."""
    markers = Markers("sealed")
    client = Client(proxy_url, key, "127.0.0.1")
    converse(client, values, markers)
    stream = leave_a_stream(client, values, markers)
    during, read = memory_with(gateway_pid, markers.texts())
    # The worker has it in its memory now, so a search that works finds it there.
    probe, _ = memory_with(worker_pid, markers.texts())
    stream.close()
    after, _ = memory_with(gateway_pid, markers.texts())
    expect(read > 1 << 20, f"only {read} bytes of the gateway's memory were read")
    expect(not during and not after, f"the gateway's memory holds {during | after}")
    expect(probe, "the search does not find a marker in the worker's memory, where it is")
    found = files_with([state / "gateway", state / "worker", state / "logs"], markers.texts())
    expect(not found, f"markers were kept: {found}")
    return read


def pids(state, run_pid):
    """The gateway and the worker of this stack, by their command lines."""
    found = {}
    for folder in pathlib.Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if fields[3] != str(run_pid):
            continue
        for name in ("cocoon-gateway", "cocoon-worker"):
            if os.path.basename(arguments[0].decode()) == name and b"serve" in arguments:
                found[name] = int(folder.name)
    expect(len(found) == 2, f"the stack's processes were not found: {found}")
    return found["cocoon-gateway"], found["cocoon-worker"]


class Proxy:
    """`cocoon proxy` in front of a stack, with the stack's own policy."""

    def __init__(self, program, values, state, key):
        policy = state / "policy.toml"
        folder = state / "proxy"
        folder.mkdir(exist_ok=True)
        command = [program, "--home", folder, "--base-url", values["OPENAI_BASE_URL"], "proxy", "--policy", policy]
        command += ["--allow-software", "--listen", "127.0.0.1:0", "--receipts", folder / "receipts"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "COCOON_"))}
        self.receipts = folder / "receipts"
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        expect("listening on" in line, f"cocoon proxy did not start: {line!r}")
        self.base_url = line.split("listening on", 1)[1].split()[0].rstrip(":/")
        if not self.base_url.endswith("/v1"):
            self.base_url += "/v1"

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
