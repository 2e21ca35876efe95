//! How attempts end, in people's words.

use phi3::load_config::OutcomeClass;

use super::capitalised;

/// A class of outcomes.
pub fn outcome(class: OutcomeClass) -> &'static str {
    match class {
        OutcomeClass::Passed => "passed",
        OutcomeClass::Cancelled => "cancelled",
        OutcomeClass::ConfigInvalid => "config refused",
        OutcomeClass::UnknownArchitecture => "unknown architecture",
        OutcomeClass::DownloadCorrupt => "files damaged",
        OutcomeClass::MissingTensor => "tensors missing",
        OutcomeClass::DeviceAbsent => "no such device",
        OutcomeClass::DtypeUnsupported => "dtype not supported",
        OutcomeClass::PlacementFailed => "layers not placed",
        OutcomeClass::OomLoadHost => "OOM on the host",
        OutcomeClass::OomDeviceWeights => "OOM at weights",
        OutcomeClass::OomDeviceKv => "OOM at KV cache",
        OutcomeClass::OomDeviceActivation => "OOM at activations",
        OutcomeClass::ContextTooLong => "context too long",
        OutcomeClass::WindowError => "window failed",
        OutcomeClass::KernelError => "kernel failed",
        OutcomeClass::NanInf => "NaN or Inf",
        OutcomeClass::WrongTokens => "wrong tokens",
        OutcomeClass::Timeout => "took too long",
        OutcomeClass::Stall => "stalled",
        OutcomeClass::WorkerLost => "worker died",
        OutcomeClass::SystemError => "machine failed",
    }
}

/// The same by its name in JSON.
pub fn of_name(name: &str) -> String {
    let class = OutcomeClass::ALL.into_iter().find(|class| class.name() == name);
    class.map_or_else(|| name.replace('_', " "), |class| outcome(class).to_owned())
}

/// A stable name of an error as a heading: `identical_retry` → `Identical retry`.
pub fn heading(code: &str) -> String {
    let words = of_name(code);
    // A name that is no word stays as it is written.
    if words.contains(' ') { sentence_case(&words) } else { capitalised(&words) }
}

fn sentence_case(words: &str) -> String {
    let mut chars = words.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// Where the server says what a request would insist with.
const INSIST: &str = "; `force: true`";

/// Whether the server could be made to do it all the same.
pub fn can_insist(message: &str) -> bool {
    message.contains(INSIST)
}

/// What the server says of an attempt, without names in JSON, and without the member of a request that would insist: a page
/// has no such member, it has a button where it can insist.
pub fn told(message: &str) -> String {
    let mut told = message.to_owned();
    if let Some(at) = told.find(INSIST) {
        let end = told[at + 1..].find(';').map_or(told.len(), |end| at + 1 + end);
        told.replace_range(at..end, "");
    }
    for class in OutcomeClass::ALL {
        if class.name().contains('_') && told.contains(class.name()) {
            told = told.replace(class.name(), &format!("“{}”", outcome(class)));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn no_outcome_is_told_by_its_name_in_json() {
        for class in OutcomeClass::ALL {
            let words = outcome(class);
            assert!(!words.is_empty() && !words.contains('_'), "{words}");
            assert_eq!(of_name(class.name()), words);
        }
        assert_eq!(heading("device_absent"), "No such device");
        assert_eq!(heading("identical_retry"), "Identical retry");
        assert_eq!(heading("nan_inf"), "NaN or Inf");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_a_request_would_insist_with_is_no_word_of_a_page() {
        let message = "needs 9.10 GiB, 7.40 GiB free on cuda:0; `force: true` loads it all the same";
        assert_eq!(told(message), "needs 9.10 GiB, 7.40 GiB free on cuda:0");
        assert_eq!(told("a; `force: true` tries it all the same; b"), "a; b");
        assert_eq!(told("nothing of it"), "nothing of it");
        assert!(can_insist(message) && !can_insist("nothing of it"));
        let skipped = "step 3 was skipped for device_absent, which this does not mend";
        assert_eq!(told(skipped), "step 3 was skipped for “no such device”, which this does not mend");
    }
}
