"""The official OpenAI client against a server: python openai_client.py http://127.0.0.1:PORT/v1 MODEL."""

import sys

import openai


def expect(condition, *about):
    if not condition:
        raise AssertionError(about)


def main(base_url, model):
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    expect(model in [entry.id for entry in client.models.list()], "models")
    expect(client.models.retrieve(model).id == model, "model")

    ask = {"model": model, "messages": [{"role": "user", "content": "Who are you?"}], "temperature": 0}
    whole = client.chat.completions.create(**ask, max_tokens=12)
    expect(whole.object == "chat.completion" and whole.choices[0].message.role == "assistant", whole)
    expect(whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens, whole.usage)
    expect(0 < whole.usage.completion_tokens <= 12, whole.usage)
    expect(whole.choices[0].finish_reason in ("stop", "length"), whole)

    chunks = list(client.chat.completions.create(**ask, max_tokens=12, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    expect(text == whole.choices[0].message.content, text, whole)
    expect(chunks[-1].usage == whole.usage, chunks[-1], whole.usage)
    expect([c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason, chunks)

    user = ask["messages"][0]
    turns = client.chat.completions.create(**{**ask, "messages": [user, whole.choices[0].message, user]}, max_tokens=4)
    expect(turns.usage.prompt_tokens > whole.usage.prompt_tokens, turns)

    sampled = {**ask, "temperature": 1.0, "top_p": 0.9, "seed": 11, "max_tokens": 8}
    one, again = (client.chat.completions.create(**sampled, n=2) for _ in range(2))
    expect(len(one.choices) == 2, one)
    expect([c.message.content for c in one.choices] == [c.message.content for c in again.choices], one, again)

    likely = client.chat.completions.create(**ask, max_tokens=3, logprobs=True, top_logprobs=2)
    for token in likely.choices[0].logprobs.content:
        expect(len(token.top_logprobs) == 2 and token.logprob <= 0, token)
        expect(token.top_logprobs[0].token == token.token, "greedy takes the likeliest", token)

    completion = client.completions.create(model=model, prompt="Once upon a time", max_tokens=6, temperature=0, logprobs=1)
    expect(completion.object == "text_completion" and completion.usage.completion_tokens <= 6, completion)
    expect(len(completion.choices[0].logprobs.tokens) == completion.usage.completion_tokens, completion)
    both = client.completions.create(model=model, prompt=["Once upon a time", "The end"], max_tokens=6, temperature=0)
    expect(both.choices[0].text == completion.choices[0].text and both.choices[1].index == 1, both)

    whole_text = completion.choices[0].text
    if len(whole_text) > 3:
        stop = whole_text[2:4]
        stopped = client.completions.create(model=model, prompt="Once upon a time", max_tokens=6, temperature=0, stop=stop)
        expect(stopped.choices[0].text == whole_text[: whole_text.index(stop)], stopped, whole_text)
        expect(stopped.choices[0].finish_reason == "stop", stopped)

    penalised = client.chat.completions.create(**ask, max_tokens=8, frequency_penalty=1.0, extra_body={"repetition_penalty": 1.3, "top_k": 5, "min_p": 0.01})
    expect(penalised.usage.completion_tokens > 0, penalised)

    for wrong, kind in [
        (lambda: client.chat.completions.create(**ask, extra_body={"temprature": 1}), openai.BadRequestError),
        (lambda: client.chat.completions.create(**{**ask, "temperature": -1}), openai.BadRequestError),
        (lambda: client.chat.completions.create(**{**ask, "model": "nobody"}), openai.NotFoundError),
        (lambda: client.completions.create(model=model, prompt="x", max_tokens=10**9), openai.BadRequestError),
    ]:
        try:
            wrong()
        except kind as error:
            expect(error.body["message"], error)
        else:
            raise AssertionError("it should have been refused")
    print("the official client is content")


main(*sys.argv[1:])
