"""What can go wrong, and which exception says so."""

import os

import openai

model = os.environ["COCOON_MODEL"]
question = [{"role": "user", "content": "Hello!"}]

# The package sends a request that failed with 408, 409, 429 or 5xx again, with the gateway's Retry-After, twice
# unless told otherwise. It sends a 400, 402 or 404 once: the same request cannot succeed.
client = openai.OpenAI(max_retries=2, timeout=60)


def ask(**parameters):
    """The answer's text, or None where this request cannot be answered."""
    try:
        completion = client.chat.completions.create(**{"messages": question, **parameters})
        return completion.choices[0].message.content
    except openai.APITimeoutError:
        print("no answer in time")
    except openai.APIConnectionError as error:
        print(f"the gateway cannot be reached, or the connection broke off: {error.__cause__}")
    except openai.RateLimitError as error:
        print(f"too many requests; try again in {error.response.headers.get('retry-after')} s")
    except openai.APIStatusError as error:
        # `code` is for programs, `param` names the field that is wrong, the id is for the operator.
        print(f"{error.status_code} {error.code} ({error.param}): {error.message}")
        print(f"  request {error.request_id}")
        if error.status_code == 402:
            print("  the balance is too small for this request: add credit, or ask for fewer tokens")
    return None


print(ask(model=model))
ask(model="no-such-model")
ask(model=model, temperature=9)
ask(model=model, messages=[{"role": "user", "content": "word " * 10_000}])

client = client.with_options(timeout=0.001, max_retries=0)
ask(model=model)
