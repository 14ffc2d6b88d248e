"""What a schema cannot say: the order and the arithmetic of answers, whole and streamed.

Each judge takes what was asked and yields words about what is wrong. A stream's judge takes its events one by one, and
at the end hears how it ended: `clean`, `broken` (the server broke the connection off) or `left` (the client went away).
"""

DONE = "[DONE]"


def stream_judge(operation_id, request):
    judges = {
        "createChatCompletion": ChatStream,
        "createCompletion": CompletionStream,
        "createResponse": ResponseStream,
    }
    return judges.get(operation_id, lambda request: None)(request)


def whole_errors(operation_id, request, answer):
    if operation_id in ("createChatCompletion", "createCompletion"):
        indices = [choice["index"] for choice in answer["choices"]]
        prompts = request.get("prompt") if operation_id == "createCompletion" else None
        is_batch = isinstance(prompts, list) and prompts and isinstance(prompts[0], (list, str))
        wanted = (request.get("n") or 1) * (len(prompts) if is_batch else 1)
        if indices != list(range(wanted)):
            yield f"choices {indices} where {wanted} were asked for"
        yield from usage_errors(answer["usage"])
    elif operation_id == "createEmbedding":
        asked = request["input"]
        wanted = len(asked) if isinstance(asked, list) and asked and not isinstance(asked[0], int) else 1
        if [item["index"] for item in answer["data"]] != list(range(wanted)):
            yield f"{len(answer['data'])} vectors where {wanted} were asked for"
        expected = str if request.get("encoding_format") == "base64" else list
        if not all(isinstance(item["embedding"], expected) for item in answer["data"]):
            yield "a vector is not in the encoding that was asked for"
        if len({len(item["embedding"]) for item in answer["data"]}) > 1:
            yield "vectors of different lengths"
    elif operation_id == "createResponse":
        usage = answer.get("usage")
        if usage and usage["input_tokens"] + usage["output_tokens"] != usage["total_tokens"]:
            yield f"usage does not add up: {usage}"


def usage_errors(usage):
    if usage["prompt_tokens"] + usage["completion_tokens"] != usage["total_tokens"]:
        yield f"usage does not add up: {usage}"


class ChunkStream:
    """What chat completions and completions have in common."""

    def __init__(self, request):
        options = request.get("stream_options") or {}
        self.wants_usage = bool(options.get("include_usage"))
        self.heads = set()
        self.finished = {}
        self.seen = set()
        self.usage = None
        self.failed = False
        self.done = False

    def event(self, name, data):
        if self.done:
            yield "an event after [DONE]"
        if data == DONE:
            self.done = True
            return
        if self.failed:
            yield "an event after the error"
        if "error" in data:
            self.failed = True
            return
        if self.usage is not None:
            yield "a chunk after the usage"
        self.heads.add((data["id"], data["created"], data["model"]))
        if len(self.heads) > 1:
            yield "id, created or model changed within the stream"
        usage = data.get("usage")
        if self.wants_usage and "usage" not in data:
            yield "usage was asked for and a chunk has no such key"
        if not data["choices"]:
            if not self.wants_usage or usage is None:
                yield "a chunk without choices that is not the usage asked for"
            else:
                self.usage = usage
                yield from usage_errors(usage)
        elif usage is not None:
            yield "usage in a chunk with choices"
        for choice in data["choices"]:
            index = choice["index"]
            if index in self.finished:
                yield f"choice {index} goes on after its finish_reason"
            yield from self.choice(choice, index not in self.seen)
            self.seen.add(index)
            if choice["finish_reason"] is not None:
                self.finished[index] = choice["finish_reason"]

    def choice(self, choice, is_first):
        return ()

    def end(self, how):
        if how == "left":
            return
        if how == "broken":
            # A server that dies cannot say so; one that lives says an error first.
            return
        if self.failed:
            yield "a stream that failed ends as if it were complete"
            return
        if not self.done:
            yield "a clean end without [DONE]"
        if not self.seen or self.seen != set(self.finished):
            yield f"choices {sorted(self.seen)} with finish_reason {self.finished}"
        if self.seen != set(range(len(self.seen))):
            yield f"choices are numbered {sorted(self.seen)}"
        if self.wants_usage and self.usage is None:
            yield "usage was asked for and did not come"


class ChatStream(ChunkStream):
    def __init__(self, request):
        super().__init__(request)
        self.wanted = request.get("n") or 1
        self.calls = {}

    def choice(self, choice, is_first):
        delta = choice["delta"]
        if is_first and delta.get("role") != "assistant":
            yield f"the first delta of choice {choice['index']} has no role"
        for call in delta.get("tool_calls", []):
            key = (choice["index"], call["index"])
            if key not in self.calls:
                own = [k for k in self.calls if k[0] == key[0]]
                if call["index"] != len(own):
                    yield f"tool call {call['index']} comes after {len(own)} others"
                if not call.get("id") or not call.get("function", {}).get("name"):
                    yield "the first delta of a tool call has no id or no name"
                self.calls[key] = call.get("id")
        reason = choice["finish_reason"]
        has_calls = any(key[0] == choice["index"] for key in self.calls)
        if reason is not None and (reason == "tool_calls") != has_calls and reason != "length":
            yield f"finish_reason {reason} and {'some' if has_calls else 'no'} tool calls"

    def end(self, how):
        yield from super().end(how)
        if how == "clean" and not self.failed and len(self.seen) != self.wanted:
            yield f"{len(self.seen)} choices where {self.wanted} were asked for"


class CompletionStream(ChunkStream):
    pass


class ResponseStream:
    TERMINAL = ("response.completed", "response.failed", "response.incomplete")

    def __init__(self, request):
        self.next = 0
        self.terminal = None
        self.has_error = False
        self.done = False
        self.items = 0
        self.texts = {}
        self.first = []

    def event(self, name, data):
        if self.done:
            yield "an event after [DONE]"
        if data == DONE:
            self.done = True
            return
        kind = data["type"]
        if name != kind:
            yield f"event '{name}' with type '{kind}'"
        if data["sequence_number"] != self.next:
            yield f"sequence number {data['sequence_number']} where {self.next} is next"
        self.next = data["sequence_number"] + 1
        if self.terminal:
            yield f"{kind} after {self.terminal}"
        if len(self.first) < 2:
            self.first.append(kind)
        if self.has_error and kind != "response.failed":
            yield f"{kind} after the error"
        if kind == "error":
            self.has_error = True
        if kind in self.TERMINAL:
            self.terminal = kind
            yield from self.final(kind, data["response"])
        yield from self.item(kind, data)

    def item(self, kind, data):
        if kind == "response.output_item.added":
            if data["output_index"] != self.items:
                yield f"item {data['output_index']} added after {self.items} others"
            self.items += 1
        for family, whole in (
            ("output_text", "text"),
            ("reasoning_text", "text"),
            ("reasoning_summary_text", "text"),
            ("refusal", "refusal"),
            ("function_call_arguments", "arguments"),
        ):
            key = (family, data.get("item_id"), data.get("content_index", data.get("summary_index")))
            if kind == f"response.{family}.delta":
                self.texts[key] = self.texts.get(key, "") + data["delta"]
            elif kind == f"response.{family}.done" and self.texts.get(key, "") != data[whole]:
                yield f"the deltas of {family} do not add up to its whole"

    def final(self, kind, response):
        if kind.removeprefix("response.") != response["status"]:
            yield f"{kind} with status {response['status']}"
        if kind == "response.failed" and not self.has_error:
            yield "response.failed without an error before it, which some clients do not see"
        if kind == "response.failed":
            return
        if len(response["output"]) != self.items:
            yield f"{len(response['output'])} items at the end where {self.items} were added"
        if response["usage"] is None:
            yield f"{kind} without usage"

    def end(self, how):
        if how != "clean":
            return
        if not self.terminal:
            yield "a clean end without a terminal event"
        if not self.done:
            yield "a clean end without [DONE]"
        if self.first[:2] != ["response.created", "response.in_progress"] and not self.has_error:
            yield f"the stream begins with {self.first}"
