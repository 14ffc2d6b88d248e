#!/bin/sh
# Lets the model call a function: asks, prints the call, gives a result back, prints the answer.
set -eu
tools='[{"type": "function", "function": {
  "name": "get_weather",
  "description": "Get the current weather for a city.",
  "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
}}]'
ask() {
  curl --fail-with-body --silent --show-error \
    --header "Authorization: Bearer $OPENAI_API_KEY" \
    --header "Content-Type: application/json" \
    --data '{"model": "'"$COCOON_MODEL"'", "temperature": 0, "tools": '"$tools"', "messages": '"$1"'}' \
    "$OPENAI_BASE_URL/chat/completions"
  echo
}
question='{"role": "user", "content": "What is the weather in Paris?"}'
asked=$(ask "[$question]")
echo "$asked"

# A real program would read the call out of the answer and run it; its id must come back with the result.
id=$(echo "$asked" | sed -n 's/.*"id":"\(call_[^"]*\)".*/\1/p')
call='{"role": "assistant", "content": null, "tool_calls": [{"id": "'"$id"'", "type": "function",
  "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}]}'
result='{"role": "tool", "tool_call_id": "'"$id"'", "content": "{\"temperature\": 21, \"sky\": \"sunny\"}"}'
ask "[$question, $call, $result]"
