//! What went wrong and what to do.

use phi3::estimate::OptionsError;
use phi3::link::LinkError;

use super::Problem;
use crate::api::ApiError;

pub const AT: &str = "at";
pub const KEPT: &str = "The page still shows the last good model.";
pub const NEXT_FIELD: &str = "Correct that value in the file and paste or drop it again.";
pub const NEXT_JSON: &str = "Paste the whole content of config.json, from the first { to the last }.";
pub const NEXT_TOO_LARGE: &str = "Choose config.json itself, not the weights beside it.";
pub const NEXT_ARCHITECTURE: &str =
    "Use a config of the phi3 architecture: Phi-3, Phi-3.5, Phi-4 and their fine-tunes.";

pub const OWN_CHOICES: &str = "The page takes its own choices instead.";
pub const NO_ANSWER: &str = "the connection was refused or broke off";
pub const ABSENT: &str = "The server does not answer";
pub const UNREADABLE: &str = "This page does not understand the server’s answer";
pub const NEXT_UNREADABLE: &str = "Page and server may be of two versions: reload the page.";
pub const REFUSED: &str = "The server refused this";

/// Why a server's answer is not on the page.
pub fn server(error: &ApiError) -> Problem {
    match error {
        ApiError::Absent(why) => Problem {
            what: ABSENT.to_owned(),
            why: why.clone(),
            path: None,
            next: next("server_absent").to_owned(),
        },
        ApiError::Unreadable(why) => Problem {
            what: UNREADABLE.to_owned(),
            why: why.clone(),
            path: None,
            next: NEXT_UNREADABLE.to_owned(),
        },
        ApiError::Refused(error) => Problem {
            what: REFUSED.to_owned(),
            why: super::outcome::told(&error.message),
            path: error.path.clone(),
            next: next(&error.code).to_owned(),
        },
    }
}

/// What to do about a refusal of the server or of an engine, by its code.
pub fn next(code: &str) -> &'static str {
    known_next(code).unwrap_or("Mend what is named, then try again; the server’s log says more.")
}

/// The same for codes that one thing is to be done about.
pub fn known_next(code: &str) -> Option<&'static str> {
    Some(match code {
        "identical_retry" => "Change one thing, or run it all the same.",
        "too_many_changes" => "Undo the others, or run it as a branch.",
        "load_config_invalid" => "Mend the load config on the page Plan.",
        "unauthorized" => "Give the server’s token on the page Settings.",
        "server_absent" => "It is asked again as soon as the server is back.",
        "not_found" => "Look whether it is still there, and whether its name is right.",
        "quota_exceeded" => "Remove a model that is kept, or free space on the disk.",
        "kept_corrupt" => "Remove the model, then choose its folder and keep it anew.",
        "oom" | "does_not_fit" | "over_budget" => {
            "Choose the cheapest change that fits on the page Estimate."
        }
        _ => return None,
    })
}

pub fn refused(file: &str) -> String {
    format!("{file} was not accepted")
}

pub fn other_tab() -> Problem {
    Problem {
        what: "This address is about a config of one's own".to_owned(),
        why: "it is too large for a link and stays in the tab where it was pasted or dropped".to_owned(),
        path: None,
        next: "Paste or drop it here.".to_owned(),
    }
}

pub fn link(error: &LinkError) -> Problem {
    Problem {
        what: "The link was not accepted".to_owned(),
        why: error.to_string(),
        path: error.path().map(str::to_owned),
        next: "Ask whoever sent it for another.".to_owned(),
    }
}

pub fn no_link(error: &LinkError) -> Problem {
    Problem {
        what: "This page does not go into a link".to_owned(),
        why: error.to_string(),
        path: error.path().map(str::to_owned),
        next: "Send the config itself; the other page takes it by drop or paste.".to_owned(),
    }
}

pub fn option(error: &OptionsError) -> Problem {
    Problem {
        what: "A choice in the link was not accepted".to_owned(),
        why: error.to_string(),
        path: Some(error.option.to_owned()),
        next: OWN_CHOICES.to_owned(),
    }
}

/// Parts of an address that say nothing here.
pub fn left_out(parts: &[String]) -> Problem {
    let parts = parts.join(", ");
    Problem {
        what: "Part of the link was not accepted".to_owned(),
        why: format!("not understood: {}", parts.chars().take(200).collect::<String>()),
        path: None,
        next: OWN_CHOICES.to_owned(),
    }
}

/// A link's load config, of which something is not understood.
pub fn load_config(errors: &[phi3::load_config::LoadConfigError]) -> Problem {
    let why = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Problem {
        what: "Part of the link was not accepted".to_owned(),
        why: why.chars().take(400).collect(),
        path: None,
        next: "Mend the load config on the page Plan.".to_owned(),
    }
}

pub fn no_preset(name: &str) -> Problem {
    let name: String = name.chars().take(60).collect();
    Problem {
        what: format!("There is no preset named {name}"),
        why: "the address asks for it".to_owned(),
        path: None,
        next: "Choose a preset on the left.".to_owned(),
    }
}

pub fn weights(error: &phi3::weights::WeightsError) -> Problem {
    Problem {
        what: format!("{} was not accepted", error.file),
        why: grouped(&format!("the file {}", error.problem)),
        path: None,
        next: "Compare its size and hash with the original, then fetch it again.".to_owned(),
    }
}

/// Words with the thousands of their long numbers set apart: `3,765,120 bytes`.
fn grouped(words: &str) -> String {
    let word = |word: &str| {
        let digits = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        match digits.parse() {
            Ok(number) if number > 9999 => word.replacen(digits, &super::format_count(number), 1),
            _ => word.to_owned(),
        }
    };
    words.split_inclusive(' ').map(word).collect()
}

/// Of files among which is no model; `is_pickle` where they are weights that only Python's pickle reads.
pub fn no_config(files: usize, is_pickle: bool) -> Problem {
    if is_pickle {
        return Problem {
            what: "These weights are a pickle".to_owned(),
            why: "reading a pickle runs code that lies in it, so it is never read here".to_owned(),
            path: None,
            next: "Take the model’s safetensors, or convert it: save_pretrained of transformers writes them. config.json alone is sized too.".to_owned(),
        };
    }
    Problem {
        what: "No model found".to_owned(),
        why: format!(
            "{} chosen, none of them a config.json, safetensors or GGUF",
            crate::text::plural(files as u64, "file")
        ),
        path: None,
        next: "Drop config.json, the model’s whole folder, or its weights.".to_owned(),
    }
}

pub fn unreadable(file: &str, why: String) -> Problem {
    Problem {
        what: format!("{file} could not be read"),
        why,
        path: None,
        next: "Choose the file again.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn long_numbers_are_set_apart_and_names_stay() {
        let words = "3765120 bytes, 1880500 are there: a1234567 of model-00001-of-00002, 4096";
        assert_eq!(
            grouped(words),
            "3,765,120 bytes, 1,880,500 are there: a1234567 of model-00001-of-00002, 4096"
        );
        assert_eq!(grouped("é (12345), 0.123456"), "é (12,345), 0.123456");
    }
}
