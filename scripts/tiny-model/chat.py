"""The chat format, that of Phi-3-mini of July 2024."""

END = "<|endoftext|>"
SPECIAL = [END, "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def chat(turns, add_generation_prompt):
    """What TEMPLATE makes of (role, text) pairs."""
    text = "".join(f"<|{role}|>\n{content}<|end|>\n" for role, content in turns)
    return text + ("<|assistant|>\n" if add_generation_prompt else END)
