"""An agent with a tool: asked, it calls the tool by itself and answers with what it learnt.

It speaks the Responses API, the default of this package. Its steps are sent to nobody but the gateway.
"""

import asyncio
import os
import sys

from agents import Agent, ModelSettings, Runner, function_tool, set_tracing_disabled

# Otherwise every step, prompts included, goes to api.openai.com.
set_tracing_disabled(True)


@function_tool
def get_weather(city: str) -> str:
    """Get the current weather for a city."""
    return '{"temperature": 21, "sky": "sunny"}'  # a real program would look it up


agent = Agent(
    name="Weather",
    instructions="You are a weather assistant.",
    model=os.environ["COCOON_MODEL"],
    model_settings=ModelSettings(temperature=0),
    tools=[get_weather],
)


async def main(question):
    result = Runner.run_streamed(agent, question, max_turns=4)
    async for event in result.stream_events():
        if event.type == "run_item_stream_event" and event.item.type == "tool_call_item":
            print(f"{event.item.raw_item.name}({event.item.raw_item.arguments})")
        elif event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            print(event.data.delta, end="", flush=True)
    usage = result.context_wrapper.usage
    print(f"\nusage: {usage.input_tokens} + {usage.output_tokens} tokens in {usage.requests} requests")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "What is the weather in Paris?"))
