"""The data recipe: draws what the teacher is asked for, from words.py and a seed.

A task has its `kind` (story, fact), the `start` of the teacher's answer and the `user` turn that the answer follows in
our own chats; a story also the `ask` that the teacher gets instead. `talk` gives greetings, which are written by hand.
"""

import random

import words as w

OPENINGS = [
    "Once upon a time, there was a {trait} {who} named {name}. {name} lived {place}.",
    "Once upon a time, a {trait} {who} named {name} lived {place}.",
    "Once there was a {trait} {who} named {name}, who loved to {like}.",
    "One {weather} day, {name} the {who} {event}.",
    "{name} was a {trait} {who}. Every day, {name} liked to {like}.",
    "There was once a {who} called {name}. {name} was very {trait}.",
    "One day, {name} {event}.",
    "{name} and {other} were good friends. They lived {place}.",
    "It was a {weather} morning. {name} wanted to {like}.",
    "A {trait} {who} lived {place}. One day, the {who} {event}.",
    "Long ago, {place}, there lived a {trait} {who}.",
    "\"Look!\" said {name}. \"I found a {thing}!\"",
    "{name} had a {trait} {pet}. They liked to {like} together.",
    "In the morning, {name} {event}. \"Oh no!\" said {name}.",
    "{name} loved to {like}. One {weather} day, {name} {event}.",
    "Last night, {name} {event}.",
    "\"Can we {like}?\" asked {name}. \"Yes,\" said {other}.",
    "Once upon a time, there was a {trait} {who} named {name}.",
    "Once upon a time, {place},",
    "Once upon a time,",
    "Once there was a {who}",
    "One day,",
    "{name} the {who} was",
    "{name} lived {place} with a {trait} {pet}. One day, the {pet} {event}.",
    "The {who} had a {thing}. It was old, but {name} loved it.",
    "Once upon a time, {place}, a {who} named {name} {event}.",
    "It was a {weather} day. A {trait} {pet} named {name} {event}.",
    "{name} looked out of the window. It was a {weather} day.",
    "When {name} was small, {name} {event}.",
]

STORY_REQUESTS = [
    "Tell me a story about a {subject}.", "Write a short story about a {subject}.", "Please tell me a short story.",
    "Tell me a story.", "Write a story about a {subject} for children.", "I want to hear a story about a {subject}.",
    "Can you tell me a story about a {subject}?", "Make up a story about a {subject}.", "Write a short story.",
    "Tell me a story about {name}.", "Write a story about {name} the {subject}.", "Tell me a bedtime story.",
    "Tell a story about a {subject} and a {thing}.",
]


def a(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def fix_articles(text):
    """`a owl` to `an owl`."""
    words = text.split(" ")
    for i in range(len(words) - 1):
        if words[i] in ("a", "A") and words[i + 1][0] in "aeiou":
            words[i] += "n"
    return " ".join(words)


def story(rng):
    pick = rng.choice
    pet, thing = pick(w.PETS), pick(w.THINGS)
    boy = rng.random() < 0.5
    who = pick(w.PETS) if rng.random() < 0.5 else pick(w.MEN if boy else w.WOMEN)
    name, other = pick(w.BOYS), pick(w.GIRLS)
    if not boy:
        name, other = other, name
    fields = dict(
        pet=pet, thing=thing, who=who, name=name, other=other, trait=pick(w.TRAITS), place=pick(w.PLACES),
        like=pick(w.LIKES), weather=pick(w.WEATHER), event=pick(w.EVENTS).format(t=pick(w.THINGS)),
    )
    opening = pick(OPENINGS)
    start = fix_articles(opening.format(**fields))
    start = start[0].upper() + start[1:]
    # What the request may name must be in the story's first lines.
    subject = who if "{who}" in opening else pet if "{pet}" in opening else thing if "{thing}" in opening else None
    requests = [
        r for r in STORY_REQUESTS
        if (subject or "{subject}" not in r) and ("{thing}" in opening or "{thing}" not in r)
        and ("{name}" in opening or "{name}" not in r)
        and not ("{name}" in r and "{subject}" in r and "{who}" not in opening)
        and not ("{thing}" in r and subject == thing)
    ]
    user = fix_articles(pick(requests).format(subject=subject, name=name, thing=thing))
    # The teacher is told a little more than the opening says.
    about = fix_articles(f"a {fields['trait']} {subject}" if subject else f"{name} and {other}" if rng.random() < 0.3 else f"{name}, who {fields['event']}")
    if subject and "{name}" in opening and "{pet}" not in opening:
        about += f" named {name}"
    hint = pick(["", "", "", " It has a happy end.", f" There is a {thing} in it.", f" It is set {fields['place']}.", " It has a lesson."])
    ask = pick([
        "Tell me a very short and simple story about {about}.", "Write a short story for small children about {about}. Use simple words.",
        "Write a short children's story about {about}.", "Tell a simple story about {about} in one or two paragraphs.",
    ]).format(about=about) + fix_articles(hint)
    if opening.endswith(","):
        # The story itself says who it is about: our request may not.
        user = pick([r for r in STORY_REQUESTS if "{" not in r])
    return dict(kind="story", ask=ask, start=start, user=user)


def fact(rng):
    pick = rng.choice
    group = rng.random()
    if group < 0.25:
        n = pick(w.ANIMALS)
        cases = [
            (f"What is {a(n)}?", f"{a(n).capitalize()} is"), (f"Where does {a(n)} live?", f"{a(n).capitalize()} lives"),
            (f"What does {a(n)} eat?", f"{a(n).capitalize()} eats"), (f"Tell me about the {n}.", f"The {n} is"),
            (f"What does {a(n)} look like?", f"{a(n).capitalize()} has"), (f"What can {a(n)} do?", f"{a(n).capitalize()} can"),
        ]
    elif group < 0.37:
        n = pick(w.FOODS)
        cases = [
            (f"What is {n}?", f"{n.capitalize()} is"), (f"How does {n} taste?", f"{n.capitalize()} tastes"),
            (f"What can you make with {n}?", f"With {n}, you can make"), (f"Where does {n} come from?", f"{n.capitalize()} comes from"),
        ] if n in "bread cheese milk rice soup honey butter sugar salt water tea corn chocolate pizza cake".split() else [
            (f"What is {a(n)}?", f"{a(n).capitalize()} is"), (f"How does {a(n)} taste?", f"{a(n).capitalize()} tastes"),
            (f"What can you make with {a(n)}?", f"With {a(n)}, you can make"),
        ]
    elif group < 0.52:
        n = pick(w.OBJECTS)
        cases = [
            (f"What is {a(n)}?", f"{a(n).capitalize()} is"), (f"What is {a(n)} for?", f"{a(n).capitalize()} is for"),
            (f"What do people do with {a(n)}?", f"People use {a(n)} to"), (f"What does {a(n)} look like?", f"{a(n).capitalize()} has"),
        ]
    elif group < 0.65:
        n = pick(w.NATURE)
        cases = [
            (f"What is {n}?" if n in "rain snow wind sand fire ice grass".split() else f"What is {a(n)}?" if n not in ("sun", "moon", "ocean") else f"What is the {n}?", ""),
            (f"Tell me about the {n}.", f"The {n} is"), (f"Why do people like the {n}?", f"People like the {n} because"),
        ]
        if not cases[0][1]:
            n0 = cases[0][0][len("What is "):-1]
            cases[0] = (cases[0][0], f"{n0[0].upper()}{n0[1:]} is")
    elif group < 0.75:
        n = pick(w.JOBS)
        cases = [
            (f"What does {a(n)} do?", f"{a(n).capitalize()}"), (f"Who is {a(n)}?", f"{a(n).capitalize()} is someone who"),
            (f"Where does {a(n)} work?", f"{a(n).capitalize()} works"),
        ]
    elif group < 0.82:
        n = pick(w.PLACE_NAMES)
        cases = [
            (f"What is {a(n)}?", f"{a(n).capitalize()} is a place"), (f"What can you see at the {n}?", f"At the {n}, you can see"),
            (f"What do people do at the {n}?", f"At the {n}, people"),
        ]
    elif group < 0.91:
        n = pick(w.HOW)
        cases = [(f"How do I {n}?", "First,"), (f"How can I {n}?", "You can"), (f"Tell me how to {n}.", f"To {n},")]
    else:
        n = pick(w.WHY)
        q = pick([f"Can you tell me why {n}?", f"Do you know why {n}?", f"Tell me why {n}."])
        cases = [(q, f"{n[0].upper()}{n[1:]} because")]
    user, start = pick(cases)
    return dict(kind="fact", ask=user, start=start, user=user)


def talk(rng):
    requests, answers = rng.choice(w.TALK)
    return dict(kind="talk", user=rng.choice(requests), text=rng.choice(answers))
