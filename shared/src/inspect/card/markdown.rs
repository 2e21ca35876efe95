//! A card's text in parts, as far as they matter here: running text, items of lists, blocks of code.

/// A part of a text; its lines joined, or kept for code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Item(String),
    Code(String),
    /// A heading, a table, a rule: what comes after belongs to nothing before.
    Break,
}

/// Takes a text apart.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut fence: Option<(char, usize)> = None;
    let mut after_blank = true;
    for line in text.lines() {
        let trimmed = line.trim();
        let mark = fence_of(trimmed);
        if let Some((opened, len)) = fence {
            match mark {
                Some((closing, closing_len)) if closing == opened && closing_len >= len => fence = None,
                _ => {
                    if let Some(Part::Code(code)) = parts.last_mut() {
                        code.push_str(line);
                        code.push('\n');
                    }
                }
            }
            continue;
        }
        let is_break = trimmed.starts_with(['#', '|', '<']) || is_rule(trimmed);
        if mark.is_some() {
            fence = mark;
            parts.push(Part::Code(String::new()));
        } else if trimmed.is_empty() {
            after_blank = true;
            continue;
        } else if is_break {
            parts.push(Part::Break);
        } else if let Some(item) = item_of(trimmed) {
            parts.push(Part::Item(item.to_owned()));
        } else {
            match parts.last_mut() {
                Some(Part::Text(text)) if !after_blank => push_line(text, trimmed),
                Some(Part::Item(item)) if !after_blank || line.starts_with([' ', '\t']) => {
                    push_line(item, trimmed);
                }
                _ => parts.push(Part::Text(trimmed.to_owned())),
            }
        }
        after_blank = false;
    }
    parts
}

/// The sentences of a text. One ends before a blank that follows `.`, `!`, `?` or `:` and no small letter comes after.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let is_end = ".!?".contains(c) && chars.peek().is_some_and(|(_, next)| next.is_whitespace());
        let next = text[at + c.len_utf8()..].trim_start().chars().next();
        if is_end && next.is_some_and(|next| !next.is_lowercase()) {
            sentences.push(text[start..at + 1].trim());
            start = at + 1;
        }
    }
    sentences.push(text[start..].trim());
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

fn push_line(text: &mut String, line: &str) {
    text.push(' ');
    text.push_str(line);
}

fn fence_of(line: &str) -> Option<(char, usize)> {
    let mark = line.chars().next().filter(|c| ['`', '~'].contains(c))?;
    let len = line.chars().take_while(|c| *c == mark).count();
    (len >= 3).then_some((mark, len))
}

fn is_rule(line: &str) -> bool {
    line.len() >= 3
        && ["-", "*", "_", "="].iter().any(|mark| line.replace([' '], "").replace(mark, "").is_empty())
}

fn item_of(line: &str) -> Option<&str> {
    let bullet = ["* ", "- ", "+ ", "• "].iter().find_map(|mark| line.strip_prefix(mark));
    bullet.map(str::trim).or_else(|| {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let rest = (1..=3).contains(&digits).then(|| &line[digits..])?;
        rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")).map(str::trim)
    })
}
