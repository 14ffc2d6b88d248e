#!/bin/sh
# Asks one question and prints the events as they come; the one before [DONE] has the usage.
set -eu
question=${1:-Hello!}
curl --fail-with-body --silent --show-error --no-buffer \
  --header "Authorization: Bearer $OPENAI_API_KEY" \
  --header "Content-Type: application/json" \
  --data '{"model": "'"$COCOON_MODEL"'", "stream": true, "stream_options": {"include_usage": true}, "messages": [{"role": "user", "content": "'"$question"'"}]}' \
  "$OPENAI_BASE_URL/chat/completions"
