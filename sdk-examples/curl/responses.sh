#!/bin/sh
# The Responses API, streamed: every event has a name and a number.
set -eu
question=${1:-Hello!}
curl --fail-with-body --silent --show-error --no-buffer \
  --header "Authorization: Bearer $OPENAI_API_KEY" \
  --header "Content-Type: application/json" \
  --data '{"model": "'"$COCOON_MODEL"'", "stream": true, "input": "'"$question"'"}' \
  "$OPENAI_BASE_URL/responses"
