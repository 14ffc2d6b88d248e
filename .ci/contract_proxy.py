"""A reverse proxy between real clients and the gateway that holds every answer to openapi.yaml.

    contract_proxy.py --listen PORT --target http://127.0.0.1:8080 --spec openapi.yaml --report FILE

Bytes pass through unchanged and as they come, chunk framing included; a copy is judged: the status and headers, each
JSON body, each event of a stream, and what a schema cannot say (contract_stream.py). A client that leaves takes the
connection to the gateway with it, so cancellation works as without the proxy. Prints `listening on PORT` once it does.
SIGTERM or Ctrl-C ends it: the report is written, and the exit code is 1 if anything was wrong.
"""

import argparse
import asyncio
import collections
import json
import re
import signal
import sys
import time
import urllib.parse
import zlib

from contract_spec import Spec
from contract_stream import DONE, stream_judge, whole_errors

BODY_BYTES_MAX = 64 << 20
HEAD_BYTES_MAX = 256 << 10
READ_BYTES = 64 << 10
# Kept in the report; all are counted.
VIOLATIONS_MAX = 200


class Report:
    def __init__(self):
        self.counts = collections.Counter()
        self.operations = collections.defaultdict(collections.Counter)
        self.clients = collections.Counter()
        self.violations = []

    def violation(self, where, what):
        self.counts["violations"] += 1
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append({"where": where, "what": what})
        print(f"contract: {where}: {what}", file=sys.stderr, flush=True)

    def write(self, path):
        names = ("requests", "bodies", "streams", "frames", "cancelled", "broken", "violations")
        report = {name: self.counts[name] for name in names}
        report["operations"] = {name: dict(counts) for name, counts in sorted(self.operations.items())}
        report["clients"] = dict(self.clients)
        report["first_violations"] = self.violations
        with open(path, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2, ensure_ascii=False)
            file.write("\n")


# --- HTTP/1.1, as much as it takes ------------------------------------------


class Head:
    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode("latin-1").split("\r\n")
        self.first = lines[0].split(" ", 2)
        pairs = [line.split(":", 1) for line in lines[1:] if ":" in line]
        self.headers = {name.strip().lower(): value.strip() for name, value in pairs}

    def is_chunked(self):
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    def length(self):
        value = self.headers.get("content-length")
        return None if value is None else int(value)

    def closes(self):
        return "close" in self.headers.get("connection", "").lower()


async def read_head(reader):
    return Head(await reader.readuntil(b"\r\n\r\n"))


async def body_pieces(reader, head, is_empty, until_end):
    """Pairs of raw bytes, as they came, and what they mean. `until_end`: without a length the end of input ends it."""
    if is_empty:
        return
    if head.is_chunked():
        async for piece in chunks(reader):
            yield piece
        return
    left = head.length()
    if left is None and not until_end:
        return
    while left is None or left > 0:
        data = await reader.read(READ_BYTES if left is None else min(left, READ_BYTES))
        if not data:
            if left:
                raise asyncio.IncompleteReadError(b"", left)
            return
        left = None if left is None else left - len(data)
        yield data, data


async def chunks(reader):
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            trailer = line
            while True:
                line = await reader.readuntil(b"\r\n")
                trailer += line
                if line == b"\r\n":
                    yield trailer, b""
                    return
        data = await reader.readexactly(size + 2)
        yield line + data, data[:-2]


# --- One exchange -----------------------------------------------------------


class Sse:
    """Events out of bytes, however these are cut."""

    def __init__(self):
        self.buffer = b""
        self.name, self.data = None, []

    def feed(self, data):
        self.buffer += data
        *lines, self.buffer = re.split(rb"\r\n|\n", self.buffer)
        for line in lines:
            line = line.decode("utf-8")
            if not line:
                if self.data:
                    yield self.name, "\n".join(self.data)
                self.name, self.data = None, []
            elif line.startswith("data:"):
                self.data.append(line[5:].removeprefix(" "))
            elif line.startswith("event:"):
                self.name = line[6:].removeprefix(" ")


class Judge:
    """Looks at one exchange. Nothing here may raise: a wrong answer still has to reach its client."""

    def __init__(self, spec, report, head, body):
        self.spec, self.report = spec, report
        method, target, _ = head.first
        self.path = urllib.parse.unquote(target.split("?", 1)[0])
        self.operation = spec.operation(method, self.path)
        self.where = self.operation["operationId"] if self.operation else f"{method} {self.path}"
        self.request = parse(body)
        self.response = self.stream = self.sse = self.schema = None
        self.whole = []
        self.inflate = None
        report.counts["requests"] += 1
        agent = head.headers.get("user-agent", "?")
        report.clients[agent[:80]] += 1

    def wrong(self, what):
        self.report.violation(f"{self.where} {getattr(self, 'status', '')}".strip(), what)

    def head(self, head):
        self.status = int(head.first[1])
        self.media_type = head.headers.get("content-type", "").split(";")[0].strip().lower()
        self.report.operations[self.where][str(self.status)] += 1
        if "gzip" in head.headers.get("content-encoding", ""):
            self.inflate = zlib.decompressobj(31)
        if self.operation is None:
            if self.status < 400:
                self.wrong("an operation that is not documented")
            self.response = self.spec.resolve({"$ref": "#/components/responses/NotFound"})
            return
        self.response = self.spec.response(self.operation, self.status)
        if self.response is None:
            self.wrong("a status that is not documented")
            return
        for error in self.spec.header_errors(self.response, head.headers):
            self.wrong(error)
        if self.status == 200 and isinstance(self.request, dict):
            for error in self.spec.request_errors(self.operation, self.request):
                self.wrong(f"the gateway takes a request that its schema refuses: {error}")
        if self.media_type == "text/event-stream":
            self.sse = Sse()
            self.schema = self.spec.event_schema(self.response)
            self.stream = stream_judge(self.operation["operationId"], self.request or {})
            self.report.counts["streams"] += 1
            if self.schema is None:
                self.wrong("a stream that is not documented")

    def feed(self, data):
        if self.inflate:
            data = self.inflate.decompress(data)
        if self.sse is None:
            self.whole.append(data)
            return
        for name, text in self.sse.feed(data):
            self.event(name, text)

    def event(self, name, text):
        self.report.counts["frames"] += 1
        if text == DONE:
            data = DONE
        else:
            data = parse(text)
            if data is None:
                self.wrong(f"an event that is no JSON: {text[:200]}")
                return
            errors = self.spec.errors(self.schema, data) if self.schema else []
            for error in errors:
                self.wrong(f"frame {name or data.get('object', '')}: {error}; in {text[:400]}")
            if errors:
                # What does not fit its schema may lack what the order is told by.
                return
        for error in self.stream.event(name, data) if self.stream else ():
            self.wrong(f"{error}; at {text[:200]}")

    def end(self, how):
        if how != "clean":
            self.report.counts["cancelled" if how == "left" else "broken"] += 1
        if self.sse is not None:
            for error in self.stream.end(how) if self.stream else ():
                self.wrong(error)
            return
        if how != "clean" or self.response is None:
            return
        body = b"".join(self.whole)
        if not body and "content" not in self.response:
            return
        self.report.counts["bodies"] += 1
        errors = self.spec.body_errors(self.response, self.media_type, body)
        if self.status == 200 and not errors and self.operation and isinstance(self.request, dict):
            errors = whole_errors(self.operation["operationId"], self.request, json.loads(body))
        for error in errors:
            self.wrong(error)


def parse(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


class Safe:
    """A judge whose own faults are findings too."""

    def __init__(self, judge):
        self.judge = judge

    def __getattr__(self, name):
        def call(*arguments):
            try:
                getattr(self.judge, name)(*arguments)
            except Exception as error:  # noqa: BLE001
                self.judge.wrong(f"the judge failed in {name}: {error!r}")

        return call


class Proxy:
    def __init__(self, spec, report, host, port):
        self.spec, self.report = spec, report
        self.host, self.port = host, port

    async def connection(self, reader, writer):
        try:
            while await self.exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def exchange(self, reader, writer):
        """One request and its answer; whether the connection is good for another."""
        head = await read_head(reader)
        if "100-continue" in head.headers.get("expect", "").lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = Head(re.sub(rb"(?i)\r\nexpect:[^\r]*", b"", head.raw))
        raw, body = bytearray(head.raw), bytearray()
        async for wire, data in body_pieces(reader, head, False, False):
            raw += wire
            body += data
            if len(body) > BODY_BYTES_MAX:
                return False
        judge = Safe(Judge(self.spec, self.report, head, bytes(body)))
        upstream, up = await asyncio.open_connection(self.host, self.port, limit=HEAD_BYTES_MAX)
        try:
            up.write(raw)
            relay = asyncio.ensure_future(self.relay(head, upstream, writer, judge))
            gone = asyncio.ensure_future(reader.gone.wait())
            await asyncio.wait({relay, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not relay.done():
                relay.cancel()
                judge.end("left")
                return False
            gone.cancel()
            return relay.result()
        finally:
            up.close()

    async def relay(self, request, upstream, writer, judge):
        try:
            head = await read_head(upstream)
            while head.first[1].startswith("1"):
                head = await read_head(upstream)
            judge.head(head)
            writer.write(head.raw)
            is_empty = request.first[0] == "HEAD" or head.first[1] in ("204", "304")
            async for wire, data in body_pieces(upstream, head, is_empty, True):
                writer.write(wire)
                judge.feed(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            # Which of the two ends went away decides what the stream has to have said.
            judge.end("left" if writer.is_closing() else "broken")
            if isinstance(error, asyncio.IncompleteReadError) and error.partial and not writer.is_closing():
                writer.write(error.partial)
            writer.transport.abort()
            return False
        judge.end("clean")
        await writer.drain()
        has_frame = head.is_chunked() or head.length() is not None or is_empty
        return has_frame and not head.closes() and not request.closes()


class ClientReader(asyncio.StreamReader):
    """Knows when the client has gone, without reading what it may send next."""

    def __init__(self):
        super().__init__(limit=HEAD_BYTES_MAX)
        self.gone = asyncio.Event()

    def feed_eof(self):
        super().feed_eof()
        self.gone.set()

    def set_exception(self, error):
        super().set_exception(error)
        self.gone.set()


async def serve(arguments):
    target = urllib.parse.urlsplit(arguments.target)
    report = Report()
    proxy = Proxy(Spec(arguments.spec), report, target.hostname, target.port or 80)
    loop = asyncio.get_running_loop()
    protocol = lambda: asyncio.StreamReaderProtocol(ClientReader(), proxy.connection, loop=loop)
    server = await loop.create_server(protocol, "127.0.0.1", arguments.listen)
    port = server.sockets[0].getsockname()[1]
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    print(f"listening on {port}", flush=True)
    started = time.monotonic()
    await stop.wait()
    server.close()
    report.write(arguments.report)
    counts = report.counts
    print(
        f"contract: {counts['requests']} requests, {counts['bodies']} bodies, {counts['streams']} streams with "
        f"{counts['frames']} frames, {counts['violations']} violations in {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return 1 if counts["violations"] else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--target", required=True, help="the gateway, http://HOST:PORT")
    parser.add_argument("--spec", required=True, help="openapi.yaml")
    parser.add_argument("--report", required=True, help="where the JSON report goes")
    sys.exit(asyncio.run(serve(parser.parse_args())))


if __name__ == "__main__":
    main()
