"""What Schemathesis cannot read in openapi.yaml: which models there are, and what a valid request may still be refused for.

Bodies of inference are aimed at the demo models and kept short, so that a case takes milliseconds; what is wrong with a
body on purpose stays wrong.
"""

import collections
import os
import re

import schemathesis

INFERENCE = {
    "createChatCompletion": ("COCOON_MODEL", ("max_completion_tokens", "max_tokens")),
    "createResponse": ("COCOON_MODEL", ("max_output_tokens",)),
    "createCompletion": ("COCOON_MODEL", ("max_tokens",)),
    "createEmbedding": ("COCOON_EMBEDDING_MODEL", ()),
}
TOKENS_MAX = 3
CHOICES_MAX = 2
KEY_CHARS_MAX = 255
KEY = re.compile(r'[!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}"')

# Why a request that fits its schema may be refused all the same: code, and the fields that it may name.
REFUSALS = {
    "context_length_exceeded": None,
    "empty_array": None,
    # Two fields that do not go together, and schemas within the schema.
    "invalid_value": ("tools", "functions", "tool_choice", "function_call", "logit_bias", "top_logprobs", "response_format", "text", "prompt", "input",
                      "messages", "stop", "dimensions", "expires_at", "after",
                      # Places in a log whose size is another one each time.
                      "index", "size", "first", "second"),
    # Characters in the schema, bytes in the gateway.
    "string_above_max_length": None,
    "unsupported_parameter": ("tools", "functions", "tool_choice", "function_call", "response_format", "text", "dimensions", "best_of"),
    "item_not_found": ("input",),
    "integer_out_of_range": ("n",),
    "invalid_proof": None,
    "too_many_keys": None,
}
SEALED = "application/cocoon-sealed"
refused = collections.Counter()


@schemathesis.hook
def before_load_schema(ctx, raw_schema):
    """No generator makes a sealed request: clients of that protocol are tested elsewhere."""
    for item in raw_schema["paths"].values():
        for operation in item.values():
            if not isinstance(operation, dict) or "operationId" not in operation:
                continue
            parameters = operation.get("parameters", [])
            operation["parameters"] = [one for one in parameters if "/parameters/Sealed" not in one.get("$ref", "")]
            operation.get("requestBody", {}).get("content", {}).pop(SEALED, None)


def name_of(operation):
    return operation.definition.raw.get("operationId", "")


def integers(value):
    """`5.0` is an integer to JSON Schema, and none to this API. Larger ones stay: their digits are no double's any more."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: integers(field) for key, field in value.items()}
    return [integers(item) for item in value] if isinstance(value, list) else value


@schemathesis.hook
def map_body(ctx, body):
    body = integers(body)
    operation = ctx.operation
    known = INFERENCE.get(name_of(operation)) if operation is not None else None
    if known is None or not isinstance(body, dict):
        return body
    variable, limits = known
    body = dict(body)
    if body.get("model"):
        if isinstance(body["model"], str):
            body["model"] = os.environ[variable]
    for limit in limits:
        asked = body.get(limit)
        if asked is None or (is_integer(asked) and asked > TOKENS_MAX):
            body[limit] = TOKENS_MAX
    choices = body.get("n")
    if is_integer(choices) and CHOICES_MAX < choices <= 128:
        body["n"] = CHOICES_MAX
    return body


def is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """A key of its own for each case: a repeated one would be answered from the first case's record."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and KEY.fullmatch(key):
        own = os.urandom(8).hex()
        case.headers["Idempotency-Key"] = f'"{own}"' if key.startswith('"') else (own + key)[:KEY_CHARS_MAX]


@schemathesis.check
def refusals_of_valid_requests(ctx, response, case):
    """A valid request is refused for what a schema cannot say, and for nothing else."""
    meta = case.meta
    if meta is None or meta.generation.mode.is_negative or response.status_code != 400:
        return None
    error = response.json()["error"]
    code, param = error["code"], error["param"] or ""
    refused[code] += 1
    if code not in REFUSALS:
        raise AssertionError(f"a valid request was refused with {code}: {error['message']}")
    fields = REFUSALS[code]
    field = param.replace("[", ".").split(".")[0]
    if fields is not None and field not in fields:
        raise AssertionError(f"a valid request was refused with {code} for '{param}': {error['message']}")
    return None
