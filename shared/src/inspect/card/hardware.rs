//! What a card says about hardware: sentences that name flash attention or tested GPUs, word for word.

use serde::{Deserialize, Serialize};

use super::markdown::{Part, sentences};
use super::one_line;

/// Most sentences that are quoted.
const MAX_NOTES: usize = 20;

/// Accelerators that cards name, as their makers write them. RTX and GTX cards are known by their number.
const GPUS: [&str; 44] = [
    "A2", "A10", "A10G", "A16", "A30", "A40", "A100", "A800", "A4000", "A4500", "A5000", "A6000", "B100",
    "B200", "B300", "GB200", "GB300", "GH200", "H20", "H100", "H200", "H800", "L4", "L20", "L40", "L40S",
    "P4", "P40", "P100", "T4", "V100", "K80", "MI50", "MI60", "MI100", "MI210", "MI250", "MI250X", "MI300A",
    "MI300X", "MI325X", "MI350X", "MI355X", "M40",
];

/// What a sentence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HardwareKind {
    /// Flash attention is what the model uses or needs unless told otherwise.
    FlashAttentionAssumed,
    /// Flash attention is mentioned in another way.
    FlashAttention,
    /// It was tested on these GPUs.
    TestedOn,
    /// Where `attn_implementation="eager"` is to be given.
    Eager,
}

/// A sentence of the card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareNote {
    /// What it is about.
    pub kind: HardwareKind,
    /// The sentence; of one that ends in a colon, with the items of its list.
    pub quote: String,
    /// GPUs that it names.
    pub gpus: Vec<String>,
}

/// The sentences of a card that are about hardware, in its order.
pub(super) fn notes(parts: &[Part]) -> Vec<HardwareNote> {
    let mut notes = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let (Part::Text(text) | Part::Item(text)) = part else { continue };
        let is_text = matches!(part, Part::Text(_));
        let all = sentences(text);
        for (index, sentence) in all.iter().enumerate() {
            // A list that a sentence announces is part of it.
            let announces = is_text && index + 1 == all.len() && sentence.ends_with(':');
            let items = parts[at + 1..].iter().map_while(|part| match part {
                Part::Item(item) if announces => Some(item.as_str()),
                _ => None,
            });
            let Some(kind) = kind_of(sentence) else { continue };
            let mut quote = (*sentence).to_owned();
            let items: Vec<&str> = items.collect();
            if kind == HardwareKind::TestedOn && !items.is_empty() {
                quote += &format!(" {}", items.join("; "));
            }
            let gpus = gpus_in(&quote);
            if (kind != HardwareKind::TestedOn || !gpus.is_empty()) && notes.len() < MAX_NOTES {
                notes.push(HardwareNote { kind, quote: one_line(&quote), gpus });
            }
        }
    }
    notes
}

fn kind_of(sentence: &str) -> Option<HardwareKind> {
    let lower = sentence.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["attn_implementation"]) && has(&["eager"]) {
        return Some(HardwareKind::Eager);
    }
    let flash = [
        "flash attention",
        "flash-attention",
        "flash_attention",
        "flashattention",
        "flash_attn",
        "flash-attn",
    ];
    if has(&flash) {
        let leaves_it_open = has(&[
            "not require",
            "n't require",
            "not need",
            "n't need",
            "no need",
            "optional",
            "can be ",
            "you can",
            "if you",
            "without",
            "recommend",
        ]);
        return match has(&["by default", "require", "needs ", "must "]) && !leaves_it_open {
            true => Some(HardwareKind::FlashAttentionAssumed),
            // The bare name in a list of software says nothing.
            false => has(&[
                "use", "using", "support", "default", "need", "require", "enable", "without", "install",
            ])
            .then_some(HardwareKind::FlashAttention),
        };
    }
    // Hardware that a model was trained on is no assumption about where it runs.
    (has(&["tested on", "tested with", "tested the"]) && !has(&["trained", "training"]))
        .then_some(HardwareKind::TestedOn)
}

/// The GPUs that a text names, each once, in its order.
fn gpus_in(text: &str) -> Vec<String> {
    let words: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut found: Vec<String> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let upper = word.to_ascii_uppercase();
        let is_number = |word: &&&str| word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit());
        let name = match (upper.as_str(), words.get(at + 1).filter(is_number)) {
            ("RTX" | "GTX", Some(number)) => match words.get(at + 2).map(|word| word.to_ascii_lowercase()) {
                Some(suffix) if suffix == "ti" => format!("{upper} {number} Ti"),
                Some(suffix) if suffix == "super" => format!("{upper} {number} SUPER"),
                _ => format!("{upper} {number}"),
            },
            (name, _) if GPUS.contains(&name) => upper,
            _ => continue,
        };
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}
