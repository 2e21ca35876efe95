//! Sequences that come and go while others run, greedy ones beside drawn ones, on one engine.

use phi3::cuda_engine::CudaEngine;
use phi3::dtype::DType;
use phi3::engine::{Attention, Diagnostics as _, Engine as _, Logprobs, Sampled, Sampling, SequenceId};
use pollster::block_on;
use serde_json::json;

use crate::support::{Random, checkpoint, config, cuda, full, has_gpu, plan, prefill};

struct Stream {
    id: SequenceId,
    prompt: Vec<u32>,
    sampling: Sampling,
    /// The step before which it joins, and how many ids it wants.
    joins: usize,
    wants: usize,
    ids: Vec<u32>,
}

fn begin(engine: &mut CudaEngine, stream: &Stream) -> Vec<Sampled> {
    let capacity = stream.prompt.len() + stream.wants;
    block_on(engine.open(stream.id, capacity, &stream.sampling)).expect("opens");
    let prompt = phi3::engine::Prompt { sequence: stream.id, tokens: &stream.prompt };
    block_on(engine.prefill(&[prompt])).expect("prefills")
}

fn take(streams: &mut [Stream], sampled: Vec<Sampled>) {
    for Sampled { sequence, id } in sampled {
        let stream = streams.iter_mut().find(|stream| stream.id == sequence).expect("one of ours");
        stream.ids.push(id);
    }
}

/// All of them together, each for as long as it wants.
fn together(engine: &mut CudaEngine, streams: &mut [Stream]) {
    for step in 0.. {
        for index in 0..streams.len() {
            if streams[index].joins == step {
                let sampled = begin(engine, &streams[index]);
                take(streams, sampled);
            }
        }
        let running = |stream: &&Stream| stream.joins <= step && step - stream.joins + 1 < stream.wants;
        let ids: Vec<SequenceId> = streams.iter().filter(running).map(|stream| stream.id).collect();
        if ids.is_empty() && streams.iter().all(|stream| stream.joins < step) {
            break;
        }
        if !ids.is_empty() {
            let sampled = block_on(engine.decode(&ids)).expect("decodes");
            take(streams, sampled);
        }
        // Those that have all their steps leave; what is on its way is theirs still.
        for index in 0..streams.len() {
            let Stream { joins, wants, .. } = streams[index];
            if step == joins.max((joins + wants).saturating_sub(2)) {
                let sampled = block_on(engine.drain()).expect("drains");
                take(streams, sampled);
                engine.release(streams[index].id);
            }
        }
    }
}

#[test]
fn sequences_come_and_go() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    let config = config(&json!({"hidden_size": 384, "intermediate_size": 512, "num_attention_heads": 4,
        "num_key_value_heads": 4, "sliding_window": 60}));
    let stored = checkpoint(&config, &mut random, 0.1, |_, _, _| {});
    let drawn = |seed| Sampling { temperature: 0.8, top_p: 0.9, seed, ..Sampling::GREEDY };
    let penal = Sampling { repetition_penalty: 1.3, frequency_penalty: 0.2, ..Sampling::GREEDY };
    for (all_greedy, dtype) in
        [(true, DType::F32), (false, DType::F32), (true, DType::Bf16), (false, DType::Bf16)]
    {
        let kinds = [Sampling::GREEDY, drawn(1), Sampling::GREEDY, penal.clone(), drawn(2), Sampling::GREEDY];
        let mut streams: Vec<Stream> =
            [(0, 9, 30), (0, 70, 12), (3, 1, 40), (7, 33, 1), (8, 100, 25), (20, 5, 33)]
                .into_iter()
                .zip(&kinds)
                .zip(1..)
                .map(|(((joins, prompt, wants), sampling), id)| Stream {
                    id: SequenceId(id),
                    prompt: random.tokens(prompt, config.vocab_size),
                    sampling: if all_greedy { Sampling::GREEDY } else { sampling.clone() },
                    joins,
                    wants,
                    ids: Vec::new(),
                })
                .collect();
        let mut engine = cuda(&stored, &plan(&config, dtype, Attention::Fused, 200));
        together(&mut engine, &mut streams);
        let found: Vec<Vec<u32>> = streams.iter_mut().map(|stream| std::mem::take(&mut stream.ids)).collect();
        for (stream, ids) in streams.iter().zip(&found) {
            assert_eq!(ids.len(), stream.wants, "{dtype}, sequence {}", stream.id.0);
        }
        assert_eq!(engine.memory().kv_cache_bytes, 0, "all of them have left");
        // The same engine again: nothing is left of the ones before.
        together(&mut engine, &mut streams);
        for (stream, ids) in streams.iter().zip(&found) {
            assert_eq!(stream.ids, *ids, "{dtype}, sequence {} again", stream.id.0);
        }
        if dtype != DType::F32 {
            continue;
        }
        // Alone; sums in another order are 1e-6 of the largest logit here.
        for (stream, ids) in streams.iter_mut().zip(&found) {
            (stream.joins, stream.ids) = (0, Vec::new());
            together(&mut engine, std::slice::from_mut(stream));
            let same = stream.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
            assert_eq!(
                same,
                ids.len(),
                "sequence {} alone: {:?}, among others {ids:?}",
                stream.id.0,
                stream.ids
            );
        }
    }
}

#[test]
fn penalties_count_the_prompt() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    let config = config(&json!({}));
    let stored = checkpoint(&config, &mut random, 0.1, |_, _, _| {});
    let mut engine = cuda(&stored, &plan(&config, DType::F32, Attention::Fused, 60));
    let mut prompt = random.tokens(9, config.vocab_size);
    let best =
        |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("logits") as u32;
    // What comes next without a penalty is part of the prompt; so much of one makes it another.
    let next = best(&full(&mut engine, &prompt)[8]);
    prompt[0] = next;
    let row = full(&mut engine, &prompt).remove(8);
    let harsh = Sampling { repetition_penalty: 1e6, ..Sampling::GREEDY };
    block_on(engine.open(SequenceId(1), 20, &harsh)).expect("opens");
    let sampled = prefill(&mut engine, &[(1, &prompt)]).expect("prefills")[0];
    assert!(!prompt.contains(&sampled), "{sampled} of {prompt:?}");
    let found = block_on(engine.logprobs(SequenceId(1), sampled, 3)).expect("logprobs");
    let expected = Logprobs::new(&row, sampled, 3).expect("an id");
    assert!((found.chosen - expected.chosen).abs() < 1e-3, "{found:?}, expected {expected:?}");
    assert_eq!(found.top.len(), 3);
    assert_eq!(found.top[0].0, best(&row));
}

/// What the device draws has the frequencies of the softmax; one seed gives the same ids alone and in a batch.
#[test]
fn draws_have_the_frequencies_of_the_softmax() {
    if !has_gpu() {
        return;
    }
    let mut random = Random::new();
    let config = config(&json!({}));
    let stored = checkpoint(&config, &mut random, 0.1, |_, _, _| {});
    let mut engine = cuda(&stored, &plan(&config, DType::F32, Attention::Fused, 60));
    let prompt = random.tokens(6, config.vocab_size);
    let row = full(&mut engine, &prompt).remove(5);
    let temperature = f64::from(row.iter().fold(0.0f32, |peak, value| peak.max(value.abs()))) / 4.0;
    let weights: Vec<f64> = row.iter().map(|logit| (f64::from(*logit) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let draws = 4096;
    let mut counts = vec![0u32; row.len()];
    for first in (0..draws).step_by(8) {
        let ids: Vec<u64> = (first..first + 8).collect();
        for seed in &ids {
            let sampling = Sampling { temperature, seed: *seed, ..Sampling::GREEDY };
            block_on(engine.open(SequenceId(*seed), 8, &sampling)).expect("opens");
        }
        let prompts: Vec<(u64, &[u32])> = ids.iter().map(|id| (*id, prompt.as_slice())).collect();
        let sampled = prefill(&mut engine, &prompts).expect("prefills");
        sampled.iter().for_each(|id| counts[*id as usize] += 1);
        ids.iter().for_each(|id| engine.release(SequenceId(*id)));
    }
    // Chi squared over ids that are expected often enough, the others as one.
    let (mut chi, mut classes, mut rest, mut rest_expected) = (0.0, 0.0, 0.0, 0.0);
    for (count, weight) in counts.iter().zip(&weights) {
        let expected = weight / total * draws as f64;
        if expected >= 8.0 {
            chi += (f64::from(*count) - expected).powi(2) / expected;
            classes += 1.0;
        } else {
            rest += f64::from(*count);
            rest_expected += expected;
        }
    }
    if rest_expected > 0.0 {
        chi += (rest - rest_expected).powi(2) / rest_expected;
    }
    // Five standard deviations of chi squared above its mean.
    let bound = classes + 5.0 * (2.0f64 * classes).sqrt();
    println!("chi squared {chi:.0} of {classes} classes, bound {bound:.0}");
    assert!(classes >= 20.0 && chi <= bound, "{chi} of {classes} classes");
    let distinct = counts.iter().filter(|count| **count > 0).count();
    assert!(distinct > 50, "{distinct} ids were drawn");
}
