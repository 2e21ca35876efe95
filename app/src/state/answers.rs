//! The one change of a choice that answers a finding.

use phi3::dtype::DType;
use phi3::estimate::{Resolved, total_bytes};

use super::model::Model;

/// Longest context of models with this base of their rotary frequencies, where nothing scales them.
const UNSCALED_POSITIONS: u64 = 4096;

/// A change that answers a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A context of this many tokens: what the finding is about begins beyond it.
    Context(u64),
    /// A KV cache in this format, and the bytes that are saved.
    KvDtype(DType, u64),
}

impl Answer {
    /// As the `key=value` of a suggestion.
    #[must_use]
    pub fn change(&self) -> String {
        match self {
            Self::Context(tokens) => format!("context={tokens}"),
            Self::KvDtype(dtype, _) => format!("kv_dtype={dtype}"),
        }
    }
}

/// What answers a finding with this code; nothing where no choice of this page does, or where it is made already.
#[must_use]
pub fn answer(code: &str, model: &Model, resolved: &Resolved) -> Option<Answer> {
    let stay = |tokens: u64| (tokens > 0 && resolved.context > tokens).then_some(Answer::Context(tokens));
    match code {
        "window_below_context" => stay(model.decoder.effective_window(resolved.context)? as u64),
        "longrope_switch" => stay(model.original_positions?),
        "positions_unscaled" => stay(UNSCALED_POSITIONS),
        "no_gqa" => {
            // Weights are the same on both sides.
            let need = |kv_dtype| total_bytes(&model.decoder, 0, &Resolved { kv_dtype, ..resolved.clone() });
            let saved = need(resolved.kv_dtype).saturating_sub(need(DType::Q8_0));
            (saved > 0).then_some(Answer::KvDtype(DType::Q8_0, saved))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::link::View;
    use phi3::config::PRESETS;
    use phi3::estimate::{Options, estimate};
    use wasm_bindgen_test::wasm_bindgen_test;

    fn preset(name: &str) -> Model {
        let preset = PRESETS.iter().find(|preset| preset.name == name).expect("a preset");
        Model::preset(preset).map_err(|problem| problem.why).expect("understood")
    }

    fn at(model: &Model, options: &Options) -> Resolved {
        Resolved::new(&model.decoder, None, options).expect("in range")
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_finding_is_answered_until_it_is() {
        let mini = preset("phi-3-mini-4k-instruct");
        let options = Options::default();
        assert!(mini.findings.iter().any(|finding| finding.code == "window_below_context"));
        let found = answer("window_below_context", &mini, &at(&mini, &options));
        assert_eq!(found, Some(Answer::Context(2047)));
        let shorter = Options { context: Some(2047), ..options.clone() };
        assert_eq!(answer("window_below_context", &mini, &at(&mini, &shorter)), None);
        assert_eq!(answer("remote_code_not_needed", &mini, &at(&mini, &options)), None);
        let long = preset("phi-3.5-mini-instruct");
        assert_eq!(answer("longrope_switch", &long, &at(&long, &options)), None, "4,096 is no further");
        let further = Options { context: Some(8192), ..options };
        assert_eq!(answer("longrope_switch", &long, &at(&long, &further)), Some(Answer::Context(4096)));
    }

    /// The bytes on the button are those that the estimate then has less.
    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_saved_is_what_the_estimate_says() {
        let mini = preset("phi-3-mini-4k-instruct");
        let options = Options::default();
        let Some(Answer::KvDtype(dtype, saved)) = answer("no_gqa", &mini, &at(&mini, &options)) else {
            panic!("no format of the cache")
        };
        let total = |options: &Options| estimate(&mini.decoder, None, options).expect("in range").total_bytes;
        let narrow = Options { kv_dtype: Some(dtype), ..options.clone() };
        assert_eq!(total(&options) - total(&narrow), saved);
        assert_eq!(answer("no_gqa", &mini, &at(&mini, &narrow)), None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn every_change_is_a_choice_of_the_page() {
        for answer in [Answer::Context(2047), Answer::KvDtype(DType::Q8_0, 1)] {
            assert!(View::default().set(&answer.change()), "{}", answer.change());
        }
    }
}
