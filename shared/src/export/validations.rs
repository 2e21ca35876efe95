//! Validations as a page for people: what `--json` says, in Markdown.

use super::quote;
use crate::engine::Memory;
use crate::units::{format_bytes, format_counted, format_small};
use crate::validate::{Difference, Report, Validations, Verdict};

/// Writes them as Markdown: one column for each device, then what each put out.
#[must_use]
pub fn validations(all: &Validations) -> String {
    let mut text = format!("# Validation of {}\n\n", quote::markdown(&all.model));
    let reports = &all.reports;
    let mut row = |name: &str, cell: &dyn Fn(&Report) -> String| {
        let cells: Vec<String> = reports.iter().map(|report| quote::markdown(&cell(report))).collect();
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    };
    row("", &|report| report.device.clone());
    row("---", &|_| "---".to_owned());
    row("Verdict", &|report| word(report.verdict).to_owned());
    row("Why", &|report| report.reason.clone());
    row("Computed on", &|report| {
        let facts = report.facts.as_ref();
        let played =
            if facts.is_some_and(|facts| facts.is_software) { ", played by the processor" } else { "" };
        facts.map_or_else(|| "not told".to_owned(), |facts| format!("{}{played}", facts.name))
    });
    row("Weights in", &|report| report.dtype.to_string());
    row("Load", &|report| format!("{:.0} ms", report.load_ms));
    row("Time to first token", &|report| measured(report.ttft_ms, |ms| format!("{ms:.1} ms")));
    row("Prefill", &|report| rate(report.prefill_tokens_per_s));
    row("Decode", &|report| rate(report.decode_tokens_per_s));
    row("NaN, Inf", &|report| format!("{}, {}", report.nan_count, report.inf_count));
    type Term = (&'static str, fn(&Memory) -> u64);
    let terms: [Term; 5] = [
        ("Weights", |memory| memory.weights_bytes),
        ("KV cache", |memory| memory.kv_cache_bytes),
        ("Activations", |memory| memory.activation_bytes),
        ("Overhead", |memory| memory.overhead_bytes),
        ("Total", |memory| memory.total_bytes),
    ];
    for (name, term) in terms {
        row(&format!("{name}, measured of predicted"), &|report| {
            let [measured, predicted] =
                [report.memory.measured, report.memory.predicted].map(|memory| format_bytes(term(&memory)));
            format!("{measured} of {predicted}")
        });
    }
    row("Logits against f32 on the CPU", &|report| {
        report.difference.as_ref().map_or_else(|| "not compared".to_owned(), apart)
    });
    row("Proof that it was used", &|report| match &report.facts {
        Some(facts) if facts.submissions > 0 => {
            format!(
                "{} of commands, {} of buffers",
                format_counted(facts.submissions, "submission"),
                format_bytes(facts.buffer_bytes)
            )
        }
        _ => "the host itself computes".to_owned(),
    });
    if let Some(difference) = &all.compared {
        text += &format!(
            "\nThe second device against the first: {} ({}).\n",
            quote::markdown(&apart(difference)),
            word(difference.verdict)
        );
    }
    for report in reports {
        text += &of_one(report);
    }
    text
}

fn measured(value: Option<f64>, told: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "not measured".to_owned(), told)
}

fn rate(tokens_per_s: Option<f64>) -> String {
    measured(tokens_per_s, |rate| format!("{rate:.2} tokens/s"))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unverified => "unverified",
    }
}

/// How far logits are apart, in words.
fn apart(difference: &Difference) -> String {
    format!(
        "at most {}, {} in the mean, of {:.1}; same best id in {:.1} %, {:.1} % of the five best, {} rows",
        format_small(difference.max),
        format_small(difference.mean),
        difference.scale,
        difference.top1_agreement * 100.0,
        difference.top5_overlap * 100.0,
        difference.rows
    )
}

/// What a device put out.
fn of_one(report: &Report) -> String {
    let ids = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let mut text = format!("\n## {}\n\n", quote::markdown(&report.device));
    // Quoted line by line: no text of a model ends a quotation.
    for line in report.text.lines() {
        text += &format!("> {}\n", quote::markdown(line));
    }
    text += &format!(
        "\nPrompt ids: {}\n\nGenerated ids: {}\n",
        ids(&report.prompt_tokens),
        ids(&report.generated_tokens)
    );
    if !report.top_logits.is_empty() {
        text += "\n| Likeliest after the prompt | id | logit |\n|---|---|---|\n";
    }
    for top in &report.top_logits {
        text += &format!(
            "| {} | {} | {:.4} |\n",
            quote::markdown(&format!("{:?}", top.text)),
            top.token,
            top.logit
        );
    }
    let bad = report.layers.iter().enumerate().filter(|(_, layer)| layer.nan + layer.inf > 0);
    let bad: Vec<String> = bad
        .map(|(at, layer)| {
            let place =
                if at + 1 == report.layers.len() { "logits".to_owned() } else { format!("layer {at}") };
            format!("| {place} | {} | {} |\n", layer.nan, layer.inf)
        })
        .collect();
    if !bad.is_empty() {
        text += &format!("\n| Not a number | NaN | Inf |\n|---|---|---|\n{}", bad.concat());
    }
    let limits = report.facts.iter().flat_map(|facts| &facts.limits).map(|limit| {
        let needed = limit.needed.map_or_else(|| "not counted".to_owned(), |needed| needed.to_string());
        format!("| {} | {} | {needed} |\n", quote::markdown(&limit.name), limit.granted)
    });
    let limits: String = limits.collect();
    if !limits.is_empty() {
        text += &format!("\n| Limit | granted | needed |\n|---|---|---|\n{limits}");
    }
    for probe in &report.probes {
        text += &format!("\nProbe: {}: {}\n", word(probe.verdict), quote::markdown(&probe.detail));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::engine::{DeviceFacts, LimitFact};
    use crate::validate::{LayerCheck, PredictedMeasured, TopLogit};

    fn report(device: &str) -> Report {
        let memory =
            |weights_bytes| Memory { weights_bytes, total_bytes: weights_bytes, ..Memory::default() };
        Report {
            device: device.to_owned(),
            dtype: DType::Q8_0,
            prompt_tokens: vec![1, 2],
            generated_tokens: vec![3],
            text: "a | b\n# not a heading".to_owned(),
            stop_reason: "length".to_owned(),
            load_ms: 12.0,
            ttft_ms: Some(3.5),
            prefill_tokens_per_s: Some(100.0),
            decode_tokens_per_s: Some(50.25),
            nan_count: 2,
            inf_count: 0,
            layers: vec![
                LayerCheck { nan: 0, inf: 0 },
                LayerCheck { nan: 2, inf: 0 },
                LayerCheck { nan: 0, inf: 0 },
            ],
            top_logits: vec![TopLogit { token: 7, logit: 1.5, text: "|".to_owned() }],
            memory: PredictedMeasured { predicted: memory(1 << 20), measured: memory(3 << 20) },
            difference: None,
            facts: Some(DeviceFacts {
                name: "A <GPU>".to_owned(),
                is_software: true,
                limits: vec![LimitFact::new("maxBufferSize", 64, Some(32))],
                submissions: 9,
                buffer_bytes: 1 << 20,
                ..DeviceFacts::default()
            }),
            probes: Vec::new(),
            verdict: Verdict::Fail,
            reason: "2 NaN".to_owned(),
        }
    }

    #[test]
    fn what_a_report_says_stands_on_the_page_and_no_text_of_a_model_leaves_its_place() {
        let reports = vec![report("cpu"), report("wgpu:0")];
        let compared = Difference::of(&[1.0, 2.0], &[1.0, 2.5], 2, DType::F32);
        let all = Validations { model: "a|b".to_owned(), reports, compared: Some(compared) };
        let text = validations(&all);
        for said in [
            "# Validation of a\\|b\n",
            "|  | cpu | wgpu:0 |\n| --- | --- | --- |\n",
            "| Verdict | fail | fail |",
            "A &lt;GPU&gt;, played by the processor",
            "| Decode | 50.25 tokens/s | 50.25 tokens/s |",
            "| Weights, measured of predicted | 3.00 MiB of 1.00 MiB |",
            "9 submissions of commands, 1.00 MiB of buffers",
            "The second device against the first: at most 5.0e-1",
            "\n> a \\| b\n> \\# not a heading\n",
            "| layer 1 | 2 | 0 |",
            "| maxBufferSize | 64 | 32 |",
            "| 7 | 1.5000 |",
        ] {
            assert!(text.contains(said), "{said:?} is not in:\n{text}");
        }
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        let header = text.lines().position(|line| line.starts_with("|  |")).expect("a table");
        assert!(
            text.lines().skip(header).take_while(|line| line.starts_with('|')).all(|line| bars(line) == 4)
        );
    }
}
