"""Writes docs/compatibility.md out of what the conversations showed.

    compatibility.py RESULTS.jsonl…      prints the page; exit code 1 if a conversation failed or is not understood

A result is a line of JSON: {"client", "version", "feature", "passed", …}. The page depends on nothing else, so that a run
that shows the same makes the same page.
"""

import json
import sys

# The columns, in this order; a name that is missing here is a mistake in a runner.
CLIENTS = [
    "openai-python",
    "openai-node",
    "openai-agents-python",
    "openai-agents-js",
    "langchain-openai",
    "@ai-sdk/openai",
    "@ai-sdk/openai-compatible",
    "async-openai",
    "curl",
]

FEATURES = {
    "Chat completions": {
        "chat.plain": "answer in one piece",
        "chat.usage": "usage",
        "chat.history": "conversation with a history",
        "chat.roles": "system or developer messages, content in parts",
        "chat.stream": "answer as it is made",
        "chat.stream-usage": "usage at the end of a stream",
        "chat.stream-helper": "the client's own helper for streams",
        "chat.async": "asynchronous client, several requests at once",
        "chat.tools": "tool round trip",
        "chat.tools-parallel": "several calls at once",
        "chat.tools-stream": "calls as they are made",
        "chat.tool-choice": "a call that is required, or named",
        "chat.json-schema": "structured output (`json_schema`)",
        "chat.json-schema-stream": "structured output as it is made",
        "chat.json-object": "`json_object`",
        "chat.logprobs": "`logprobs`, `top_logprobs`",
        "chat.n": "several choices (`n`)",
        "chat.stop": "`stop`",
        "chat.sampling": "`seed`, `logit_bias`, penalties",
        "chat.limit": "`max_tokens`, `max_completion_tokens`",
        "chat.reasoning": "`reasoning_effort`",
        "chat.padding": "hidden lengths (`include_obfuscation`)",
        "chat.tolerance": "parameters, headers and tools that are not known here",
        "chat.cancel": "leaving a stream",
    },
    "Responses": {
        "responses.plain": "answer in one piece",
        "responses.usage": "usage",
        "responses.history": "conversation with a history",
        "responses.roles": "system or developer messages, content in parts",
        "responses.stream": "answer as it is made",
        "responses.stream-usage": "usage at the end of a stream",
        "responses.stream-helper": "the client's own helper for streams",
        "responses.async": "asynchronous client, several requests at once",
        "responses.tools": "tool round trip",
        "responses.tools-parallel": "several calls at once",
        "responses.tools-stream": "calls as they are made",
        "responses.tool-choice": "a call that is required, or named",
        "responses.json-schema": "structured output (`text.format`)",
        "responses.json-schema-stream": "structured output as it is made",
        "responses.limit": "`max_output_tokens`",
        "responses.tolerance": "what coding agents send beside that",
        "responses.cancel": "leaving a stream",
    },
    "Completions": {
        "completions.plain": "going on with a text",
        "completions.stream": "as it is made",
        "completions.many": "several prompts and choices",
        "completions.tokens": "tokens as a prompt",
    },
    "Embeddings": {
        "embeddings.text": "texts",
        "embeddings.tokens": "arrays of tokens",
        "embeddings.base64": "vectors as base64",
        "embeddings.float": "vectors as numbers",
    },
    "Models and sign-in": {
        "models.list": "list",
        "models.retrieve": "one model",
        "sign-in": "wallet sign-in and an API key",
    },
    "Errors": {
        "errors.key": "wrong key: 401",
        "errors.funds": "no funds: 402",
        "errors.model": "unknown model: 404",
        "errors.kind": "model of another kind: 400",
        "errors.parameter": "wrong parameter: 400 that names it",
        "errors.context": "too long for the model: 400 `context_length_exceeded`",
        "errors.route": "a route that is not served: an error that names it",
        "errors.once": "what cannot succeed is asked once, with the client's usual retries",
        "errors.uncharged": "a refusal costs nothing",
        "errors.timeout": "the client's own time limit",
        "retry.idempotency": "`Idempotency-Key`: a repeat gets the first answer",
        "retry.idempotency-stream": "the same for a stream",
        "retry.charge": "and is not charged",
    },
}

HEAD = """\
# Compatibility

What official clients do with a live gateway, a worker and the model that ships. **The test suite writes this page**: a
"yes" is a scripted conversation (`sdk-examples/*/tests/conversations`) that passed, with every answer held against
`openapi.yaml`, and the suite fails where this page says something else than its run. A dash means that the client has
no such thing, or that no conversation is about it.
"""


class Mistake(Exception):
    pass


def read(lines):
    """Client → version, and the set of (client, feature) that passed."""
    known = {feature for features in FEATURES.values() for feature in features}
    versions, passed, failed = {}, set(), []
    for line in lines:
        result = json.loads(line)
        client, feature = result["client"], result["feature"]
        if client not in CLIENTS or feature not in known:
            raise Mistake(f"'{client}' or its feature '{feature}' has no place in the table")
        if versions.setdefault(client, result["version"]) != result["version"]:
            raise Mistake(f"two versions of {client}")
        if result["passed"]:
            passed.add((client, feature))
        else:
            failed.append(f"{client} {feature}: {result.get('error', 'no reason given')}")
    if failed:
        raise Mistake("\n".join(["conversations failed:", *failed]))
    return versions, passed


def page(versions, passed):
    clients = [client for client in CLIENTS if client in versions]
    lines = [HEAD]
    for title, features in FEATURES.items():
        rows = {f: text for f, text in features.items() if any((c, f) in passed for c in clients)}
        columns = [c for c in clients if any((c, f) in passed for f in rows)]
        if not rows:
            continue
        lines.append(f"## {title}\n")
        names = [f"{client} {versions[client]}".strip() for client in columns]
        lines.append("| | " + " | ".join(names) + " |")
        lines.append("|---|" + "---|" * len(columns))
        for feature, text in rows.items():
            cells = ["yes" if (client, feature) in passed else "–" for client in columns]
            lines.append(f"| {text} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main():
    lines = []
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            lines += file.read().splitlines()
    try:
        print(page(*read(lines)), end="")
    except Mistake as mistake:
        sys.exit(f"compatibility: {mistake}")


if __name__ == "__main__":
    main()
