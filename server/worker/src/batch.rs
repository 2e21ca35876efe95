//! Streams that are generated together: each joins the batch as soon as there is room, each leaves it by itself.

mod mixed;

use std::collections::VecDeque;

use phi3::api::{ErrorObject, FinishReason, Generate, StreamEvent, TokenLogprob, TokenLogprobs};
use phi3::engine::{Diagnostics, Engine, EngineError, Prompt, Sampled, SequenceId};
use phi3::units::format_counted;
use pollster::block_on;

use crate::stop::Stops;
use crate::text::{Stream, Text};

/// Sequences of streams; those of validations are below.
const FIRST_SEQUENCE: u64 = 1 << 32;

/// What runs and what waits.
#[derive(Default)]
pub(crate) struct Batch {
    running: Vec<Running>,
    waiting: VecDeque<Waiting>,
    /// One has left since others had to give their memory back.
    has_room: bool,
    next: u64,
    /// The turn of the stream that began last.
    turn: u64,
}

/// A stream that is checked and has no room yet.
struct Waiting {
    asked: Generate,
    prompt: Vec<u32>,
    max_new_tokens: usize,
    /// Streams of one request have one turn after the other: in between come those that waited when its last one began.
    turn: u64,
}

struct Running {
    id: u64,
    sequence: SequenceId,
    text: Stream,
    stops: Stops,
    logprobs: Option<usize>,
    max_new_tokens: usize,
    prompt: Vec<u32>,
    /// How much of the prompt is with the engine, or about to go there in one piece.
    fed: usize,
    /// It gave its memory to others.
    is_parked: bool,
    /// Steps that the engine took for it, or will have taken with its prompt; ids may come later.
    steps: usize,
    generated: usize,
}

/// A stream that has its memory and nothing in it yet.
struct Entered {
    client: u64,
    sequence: SequenceId,
    prompt: Vec<u32>,
}

/// Where events go.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(u64, StreamEvent);

impl Batch {
    /// Whether there is nothing to be done.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Takes a stream in; it begins with the next step that has room.
    pub(crate) fn add(&mut self, text: &Text, context: usize, asked: Generate) -> Result<(), ErrorObject> {
        let taken =
            self.running.iter().map(|stream| stream.id).chain(self.waiting.iter().map(|w| w.asked.id));
        if taken.into_iter().any(|id| id == asked.id) {
            return Err(ErrorObject::new("stream_in_use", format!("stream {} runs already", asked.id)));
        }
        asked
            .sampling
            .check()
            .map_err(|error| ErrorObject::new("invalid_sampling", error.to_string()).at(error.field))?;
        let prompt = text.prompt_of(&asked.prompt)?;
        // The last token is never computed on, so that one more than the context can be had.
        let room = (context + 1).saturating_sub(prompt.len());
        if room == 0 || asked.max_new_tokens.is_some_and(|tokens| tokens > room) {
            let wanted =
                asked.max_new_tokens.map_or(String::new(), |tokens| format!(" and {tokens} new ones"));
            let message = format!(
                "{}{wanted} exceed the context of {context} that the model was loaded for",
                format_counted(prompt.len() as u64, "prompt token")
            );
            let error = ErrorObject::new("context_too_long", message);
            // A prompt that is too long by itself is not mended by fewer new tokens.
            return Err(if room == 0 { error } else { error.at("max_tokens") });
        }
        let max_new_tokens = asked.max_new_tokens.unwrap_or(room);
        if max_new_tokens == 0 {
            return Err(
                ErrorObject::new("invalid_option", "max_tokens is 0, expected at least 1").at("max_tokens")
            );
        }
        let same = self.waiting.iter().filter(|waiting| waiting.asked.request == asked.request);
        let turn = same.map(|waiting| waiting.turn).fold(self.turn, u64::max) + 1;
        self.waiting.push_back(Waiting { asked, prompt, max_new_tokens, turn });
        Ok(())
    }

    /// Ends a stream before its next token.
    pub(crate) fn stop<E: Engine>(&mut self, engine: &mut E, id: u64, tell: Tell<'_>) {
        let finished = |completion_tokens| StreamEvent::Finished {
            reason: FinishReason::Cancelled,
            text: String::new(),
            completion_tokens,
        };
        if let Some(place) = self.running.iter().position(|stream| stream.id == id) {
            let stream = self.leave(engine, place);
            tell(id, finished(stream.generated));
        } else if let Some(place) = self.waiting.iter().position(|waiting| waiting.asked.id == id) {
            self.waiting.remove(place);
            tell(id, finished(0));
        }
    }

    /// Ends all of them with an error.
    pub(crate) fn fail_all<E: Engine>(&mut self, engine: &mut E, error: &ErrorObject, tell: Tell<'_>) {
        for stream in self.running.drain(..) {
            engine.release(stream.sequence);
            tell(stream.id, StreamEvent::Failed { error: error.clone() });
        }
        for waiting in self.waiting.drain(..) {
            tell(waiting.asked.id, StreamEvent::Failed { error: error.clone() });
        }
    }

    /// Lets in who waits, then takes one step with all.
    pub(crate) fn step<E: Engine + Diagnostics>(
        &mut self,
        engine: &mut E,
        text: &Text,
        most: usize,
        tell: Tell<'_>,
    ) {
        self.resume(engine, tell);
        let ready = self.ready();
        if engine.part_rows(ready.len()) > 0 {
            return self.mixed_step(engine, text, most, tell);
        }
        if ready.is_empty() {
            self.late(engine, text, tell);
        } else {
            self.decode(engine, text, &ready, tell);
        }
        self.admit(engine, text, most, tell);
    }

    /// Every step is taken: what is missing is on its way.
    fn late<E: Engine + Diagnostics>(&mut self, engine: &mut E, text: &Text, tell: Tell<'_>) {
        if self.running.is_empty() {
            return;
        }
        match block_on(engine.drain()) {
            Ok(sampled) if !sampled.is_empty() => self.took(engine, text, &sampled, tell),
            // Those that wait for memory have nothing on its way.
            Ok(_) if self.is_short() => {}
            Ok(_) => self.fail_all(
                engine,
                &ErrorObject::new("backend", "the engine gave fewer tokens than steps"),
                tell,
            ),
            Err(error) => self.fail_all(engine, &ErrorObject::from(&error), tell),
        }
    }

    /// Lets in who waits, as long as there is room.
    fn admit<E: Engine + Diagnostics>(&mut self, engine: &mut E, text: &Text, most: usize, tell: Tell<'_>) {
        while !self.is_short() && self.running.len() < most {
            let Some(Entered { client, sequence, prompt }) = self.enter(engine, text, tell) else { return };
            match block_on(engine.prefill(&[Prompt { sequence, tokens: &prompt }])) {
                Ok(sampled) => {
                    // Only now is it sure that nothing of it is refused.
                    tell(client, StreamEvent::Started { prompt_tokens: prompt.len() });
                    self.took(engine, text, &sampled, tell);
                }
                Err(error) => self.fail(engine, sequence, &error, tell),
            }
        }
    }

    /// One step of running streams. Where it fails for all, each is tried alone, so that one takes nobody along.
    fn decode<E: Engine + Diagnostics>(
        &mut self,
        engine: &mut E,
        text: &Text,
        ready: &[SequenceId],
        tell: Tell<'_>,
    ) {
        // What a step chose from can be seen until the next: ids that come late would come too late.
        let looks_back = self.running.iter().any(|stream| stream.logprobs.is_some());
        let decoded = block_on(async {
            let mut sampled = engine.decode(ready).await?;
            if looks_back {
                sampled.extend(engine.drain().await?);
            }
            Ok(sampled)
        });
        match decoded {
            Ok(sampled) => {
                self.running.iter_mut().filter(|s| ready.contains(&s.sequence)).for_each(|s| s.steps += 1);
                self.took(engine, text, &sampled, tell);
            }
            Err(error) if mixed::has_outgrown(&error) && self.running.len() > 1 => self.park(engine, ready),
            Err(error) => match ready {
                [alone] => self.fail(engine, *alone, &error, tell),
                several => several.iter().for_each(|one| self.decode(engine, text, &[*one], tell)),
            },
        }
    }

    /// The first of those who wait whose turn it is.
    fn next_waiting(&mut self) -> Option<Waiting> {
        let (place, _) = self.waiting.iter().enumerate().min_by_key(|(_, waiting)| waiting.turn)?;
        self.waiting.remove(place)
    }

    /// Makes room for the next of those who wait; `None` where there is none, or for nobody who waits.
    fn enter<E: Engine>(&mut self, engine: &mut E, text: &Text, tell: Tell<'_>) -> Option<Entered> {
        let first = self.next_waiting()?;
        let sequence = SequenceId(FIRST_SEQUENCE + self.next);
        let capacity = first.prompt.len() + first.max_new_tokens - 1;
        let opened = block_on(engine.open(sequence, capacity, &first.asked.sampling));
        if let Err(error) = opened.and_then(|()| engine.reserve(sequence, first.prompt.len())) {
            engine.release(sequence);
            // Memory comes back when a running stream ends; with none there will never be more.
            if matches!(error, EngineError::OutOfMemory { .. }) && !self.running.is_empty() {
                self.waiting.push_front(first);
            } else {
                tell(first.asked.id, StreamEvent::Failed { error: ErrorObject::from(&error) });
            }
            return None;
        }
        self.next += 1;
        let Waiting { asked, prompt, max_new_tokens, turn } = first;
        self.turn = self.turn.max(turn);
        let client = asked.id;
        self.running.push(Running {
            id: asked.id,
            sequence,
            text: text.stream(),
            stops: Stops::new(asked.stop),
            logprobs: asked.logprobs,
            max_new_tokens,
            prompt: prompt.clone(),
            fed: prompt.len(),
            is_parked: false,
            steps: 1,
            generated: 0,
        });
        Some(Entered { client, sequence, prompt })
    }

    fn fail<E: Engine>(&mut self, engine: &mut E, sequence: SequenceId, error: &EngineError, tell: Tell<'_>) {
        if let Some(place) = self.running.iter().position(|stream| stream.sequence == sequence) {
            let stream = self.leave(engine, place);
            tell(stream.id, StreamEvent::Failed { error: ErrorObject::from(error) });
        }
    }

    /// Takes a stream out, and its memory back.
    fn leave<E: Engine>(&mut self, engine: &mut E, place: usize) -> Running {
        let stream = self.running.swap_remove(place);
        engine.release(stream.sequence);
        self.has_room = true;
        stream
    }

    /// Hands tokens to their streams; those that are at their end leave.
    fn took<E: Engine + Diagnostics>(
        &mut self,
        engine: &mut E,
        text: &Text,
        sampled: &[Sampled],
        tell: Tell<'_>,
    ) {
        for Sampled { sequence, id } in sampled {
            // One that was stopped meanwhile is nobody's.
            let Some(place) = self.running.iter().position(|stream| stream.sequence == *sequence) else {
                continue;
            };
            let stream = &mut self.running[place];
            let logprobs =
                match stream.logprobs.map(|top| logprobs(engine, text, *sequence, *id, top)).transpose() {
                    Ok(logprobs) => logprobs,
                    Err(error) => {
                        self.fail(engine, *sequence, &error, tell);
                        continue;
                    }
                };
            let (events, ended) = stream.took(text, *id, logprobs);
            let client = stream.id;
            if ended {
                self.leave(engine, place);
            }
            events.into_iter().for_each(|event| tell(client, event));
        }
    }
}

impl Running {
    /// What a token of its own makes it say, and whether that is all.
    fn took(&mut self, text: &Text, token: u32, logprobs: Option<TokenLogprobs>) -> (Vec<StreamEvent>, bool) {
        self.generated += 1;
        let is_stop = text.stop_ids().contains(&token);
        let fresh = if is_stop { self.text.finish() } else { self.text.push(token) };
        if let Err(error) = self.text.failed() {
            return (vec![StreamEvent::Failed { error }], true);
        }
        let (piece, stopped) = self.stops.push(&fresh);
        let is_full = self.generated == self.max_new_tokens;
        let mut events = Vec::new();
        // A stop id is no part of the answer.
        if !is_stop || !piece.is_empty() {
            events.push(StreamEvent::Token { token, text: piece, logprobs });
        }
        let reason = match (is_stop || stopped, is_full) {
            (true, _) => FinishReason::Stop,
            (false, true) => FinishReason::Length,
            (false, false) => return (events, false),
        };
        let rest = if stopped {
            String::new()
        } else {
            let (piece, stopped) = self.stops.push(&self.text.finish());
            if stopped { piece } else { piece + &self.stops.finish() }
        };
        let completion_tokens = self.generated;
        events.push(StreamEvent::Finished { reason, text: rest, completion_tokens });
        (events, true)
    }
}

fn logprobs<E: Diagnostics>(
    engine: &mut E,
    text: &Text,
    sequence: SequenceId,
    id: u32,
    top: usize,
) -> Result<TokenLogprobs, EngineError> {
    // JSON has no infinity: what cannot be is told as OpenAI's API does.
    let named = |token: u32, logprob: f64| TokenLogprob {
        token,
        text: text.of_token(token),
        logprob: logprob.max(-9999.0),
    };
    let found = block_on(engine.logprobs(sequence, id, top))?;
    Ok(TokenLogprobs {
        chosen: named(id, found.chosen),
        top: found.top.into_iter().map(|(token, logprob)| named(token, logprob)).collect(),
    })
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
