"""Makes training data of the teacher's texts: clean, learn a vocabulary, tokenize.

    python prepare.py corpus.jsonl… --out data

Writes tokenizer.json, train.npy and val.npy (ids, u16, one text after the other), *_starts.npy (where texts begin), and
report.json. A story is kept up to its first sentence that repeats itself or has a rare word: a teacher of 135 M
parameters loses its thread, and this model shall not learn that.
"""

import argparse
import collections
import json
import pathlib
import random
import re

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

import recipe
from chat import END, SPECIAL, chat

VOCAB = 1536
COMMON = 4000  # a story has none but the so many most common words
WORD = re.compile(r"[A-Za-z']+")
BREAK = re.compile(r'((?<=[.!?])|(?<=[.!?]"))(\s+)(?=["A-Z])')
# What talks about the text instead of telling it, and what went wrong in the teacher.
BANNED = re.compile(
    r"\b(story|stories|tale|moral|lesson|lessons|character|characters|reader|text|language model|sentence|paragraph|"
    r"title|narrator|human|humans|\w*n'st|donot|dont|cant|wont|isnt|didnt|sex\w*|kill\w*|murder\w*|blood\w*|gun|guns|"
    r"drunk|alcohol|beer|wine|drug\w*|suicide|naked|god|jesus|lord|church|war|hell|rape\w*)\b", re.I,
)
STOP = set("""the and was were that they them their there this with have had has his her him she you your for not are but
from all very when what who will would could can one out into then said been about like some more get got just
""".split())


def split(text):
    """Sentences with the space before each."""
    out, at, space = [], 0, ""
    for m in BREAK.finditer(text):
        out.append((space, text[at : m.start(2)]))
        at, space = m.end(), "\n\n" if "\n" in m[2] else " "
    return out + [(space, text[at:])]


def grams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def good_part(text, rank):
    """The text up to its first bad sentence, quotes closed."""
    kept, seen, counts, whole = [], set(), collections.Counter(), set()
    for space, sentence in split(text):
        words = [w.lower() for w in WORD.findall(sentence)]
        three = grams(words, 3)
        new = collections.Counter(w for w in words if len(w) > 3 and w not in STOP)
        total = sum(counts.values()) + len(new)
        bad = (
            not words or any(rank.get(w, COMMON) >= COMMON for w in words) or BANNED.search(sentence)
            or tuple(words) in whole or len(set(three)) < len(three) or len(words) > 45
            or max(collections.Counter(grams(words, 2)).values(), default=0) > 2
            or (len(three) > 2 and sum(g in seen for g in three) > 0.4 * len(three))
            or any(n > 2 or counts[w] + n > max(6, 0.16 * total) for w, n in new.items() if not sentence.count(w.capitalize()))
            or re.search(r'[^A-Za-z0-9 .,!?;:\'"\n-]|--|\.\.|" ?"|^[a-z]|,\.|\'\'', sentence)
        )
        if bad:
            break
        kept.append(space + sentence)
        whole.add(tuple(words))
        seen.update(three)
        counts.update(words)
    while kept and ("".join(kept).count('"') % 2 or not re.search(r'[.!?]"?$', kept[-1])):
        kept.pop()
    return "".join(kept)


def read(paths):
    """The teacher's texts, each once, cleaned."""
    tasks, counts = [], collections.Counter()
    for path in paths:
        for line in open(path):
            t = json.loads(line)
            t["text"] = t["text"].strip()
            tasks.append(t)
            counts.update({w.lower() for w in WORD.findall(t["text"])})
    rank = {w: i for i, (w, _) in enumerate(counts.most_common())}
    seen, out, report = set(), [], collections.Counter()
    for t in tasks:
        kind = t["kind"]
        report[f"{kind} written"] += 1
        text = good_part(t["text"], rank)
        words = len(WORD.findall(text))
        # A fact whole; a story with more than its first lines.
        whole = len(text) == len(t["text"])
        if text in seen or (not (whole and t["ended"] and 6 <= words <= 60) if kind == "fact" else words < 40):
            continue
        seen.add(text)
        report[f"{kind} kept"] += 1
        report[f"{kind} kept, characters"] += len(text)
        out.append(dict(kind=kind, user=t["user"], text=text))
    return out, report


def train_tokenizer(texts):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    special = [AddedToken(t, special=True, normalized=False) for t in SPECIAL]
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
    ))
    assert tok.get_vocab_size() == VOCAB and [tok.token_to_id(t) for t in SPECIAL] == list(range(len(SPECIAL)))
    return tok


def main():
    args = argparse.ArgumentParser()
    args.add_argument("corpus", nargs="+")
    args.add_argument("--out", type=pathlib.Path, required=True)
    args.add_argument("--seed", type=int, default=1)
    args = args.parse_args()
    args.out.mkdir(exist_ok=True)
    rng = random.Random(args.seed)
    tasks, report = read(args.corpus)
    rng.shuffle(tasks)
    held = len(tasks) // 100
    parts = {"val": tasks[:held], "train": tasks[held:]}
    # Facts are short and few: three times. Greetings: about one text in a hundred.
    facts = [t for t in parts["train"] if t["kind"] == "fact"]
    parts["train"] += 2 * facts + [recipe.talk(rng) for _ in range(len(parts["train"]) // 100)]
    rng.shuffle(parts["train"])
    tok = train_tokenizer(t["text"] for t in parts["train"][:60000])
    tok.save(str(args.out / "tokenizer.json"), pretty=False)
    for name, part in parts.items():
        # Half the stories stand alone, the other texts are answers.
        texts = [
            t["text"] + END if t["kind"] == "story" and rng.random() < 0.5
            else chat([("user", t["user"]), ("assistant", t["text"])], False) for t in part
        ]
        rows = [e.ids for i in range(0, len(texts), 20000) for e in tok.encode_batch_fast(texts[i : i + 20000])]
        lengths = [len(r) for r in rows]
        np.save(args.out / f"{name}.npy", np.concatenate([np.array(r, np.uint16) for r in rows]))
        np.save(args.out / f"{name}_starts.npy", np.cumsum([0] + lengths[:-1]).astype(np.int32))
        report[f"{name} texts"], report[f"{name} tokens"] = len(rows), sum(lengths)
        report[f"{name} characters"] = sum(map(len, texts))
    (args.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    for t in parts["train"][:12]:
        print("##", t["user"], "|", t["text"])


if __name__ == "__main__":
    main()
