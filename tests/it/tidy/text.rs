//! Rust source as tokens: comments, documentation and unit tests left out.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// What stands between the quotes.
    Text(String),
    Mark(char),
}

/// The code of a file with the lines of its tokens, outside what `#[cfg(test)]` marks.
pub(super) fn tokens(source: &str) -> Vec<(usize, Token)> {
    let stream: TokenStream = source.parse().expect("rustfmt has read every file before");
    let mut found = Vec::new();
    flatten(stream, &mut found);
    found
}

/// The string literals among [`tokens`].
pub(super) fn literals(source: &str) -> impl Iterator<Item = (usize, String)> {
    tokens(source).into_iter().filter_map(|(line, token)| match token {
        Token::Text(text) => Some((line, text)),
        _ => None,
    })
}

/// The identifiers among [`tokens`].
pub(super) fn words(source: &str) -> impl Iterator<Item = (usize, String)> {
    tokens(source).into_iter().filter_map(|(line, token)| match token {
        Token::Word(word) => Some((line, word)),
        _ => None,
    })
}

fn flatten(stream: TokenStream, found: &mut Vec<(usize, Token)>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Punct(mark) if mark.as_char() == '#' => match trees.peek().map(attribute) {
                Some(Attribute::Documentation) => {
                    trees.next();
                }
                Some(Attribute::Test) => {
                    // The item that follows: up to its body or its semicolon.
                    let _test = trees.by_ref().find(ends_item);
                }
                _ => found.push((line, Token::Mark('#'))),
            },
            TokenTree::Punct(mark) => found.push((line, Token::Mark(mark.as_char()))),
            TokenTree::Ident(word) => found.push((line, Token::Word(word.to_string()))),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                // A quotation mark may itself be a character or a byte.
                let is_one = text.starts_with('\'') || text.starts_with("b'");
                let quotes = if is_one { None } else { text.find('"').zip(text.rfind('"')) };
                if let Some((start, end)) = quotes {
                    found.push((line, Token::Text(text[start + 1..end].to_owned())));
                }
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ('{', '}'),
                    Delimiter::Bracket => ('[', ']'),
                    Delimiter::Parenthesis => ('(', ')'),
                    Delimiter::None => (' ', ' '),
                };
                found.push((line, Token::Mark(open)));
                flatten(group.stream(), found);
                found.push((group.span_close().start().line, Token::Mark(close)));
            }
        }
    }
}

enum Attribute {
    Documentation,
    Test,
    Other,
}

/// What the brackets after a `#` say; those after `#!` come one token later and are kept.
fn attribute(tree: &TokenTree) -> Attribute {
    let TokenTree::Group(group) = tree else { return Attribute::Other };
    let text = group.stream().to_string().replace(' ', "");
    if text.starts_with("doc=") {
        Attribute::Documentation
    } else if text == "cfg(test)" {
        Attribute::Test
    } else {
        Attribute::Other
    }
}

fn ends_item(tree: &TokenTree) -> bool {
    match tree {
        TokenTree::Punct(mark) => mark.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    }
}

#[test]
fn comments_documentation_and_tests_are_left_out() {
    let source = "/// doc\nfn f() { let a = \"x // \\\" y\"; /* z */ }\n#[cfg(test)]\nmod tests { fn t() {} }\nconst B: char = '\"'; const C: u8 = b'\"';";
    assert_eq!(literals(source).collect::<Vec<_>>(), [(2, "x // \\\" y".to_owned())]);
    let words: Vec<String> = words(source).map(|(_, word)| word).collect();
    assert_eq!(words, ["fn", "f", "let", "a", "const", "B", "char", "const", "C", "u8"]);
}
