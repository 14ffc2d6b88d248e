#!/bin/sh
# Asks for an object: the schema is enforced while the answer is made, so it always fits.
set -eu
curl --fail-with-body --silent --show-error \
  --header "Authorization: Bearer $OPENAI_API_KEY" \
  --header "Content-Type: application/json" \
  --data '{
    "model": "'"$COCOON_MODEL"'",
    "messages": [{"role": "user", "content": "Give me a person as JSON."}],
    "max_completion_tokens": 200,
    "response_format": {"type": "json_schema", "json_schema": {"name": "person", "strict": true, "schema": {
      "type": "object",
      "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "city": {"type": "string"}},
      "required": ["name", "age", "city"],
      "additionalProperties": false
    }}}
  }' \
  "$OPENAI_BASE_URL/chat/completions"
echo
