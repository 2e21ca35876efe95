//! `/v1`: the loaded models, and an answer as it is generated.

use phi3::api::{ErrorObject, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::sse::Lines;
use super::{ApiError, answer, get, refusal};
use crate::platform::body::Abort;
use crate::platform::http;
use crate::text;

/// A model that answers now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answering {
    /// Its id.
    pub id: String,
    /// Where it runs.
    pub device: String,
    /// Format of its weights.
    pub dtype: String,
    /// Tokens of prompt and answer together.
    pub max_model_len: u64,
}

/// The models that answer now.
///
/// # Errors
/// [`ApiError`]
pub async fn answering() -> Result<Vec<Answering>, ApiError> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Answering>,
    }
    get::<List>("v1/models").await.map(|list| list.data)
}

/// How ids are chosen; what is not said is left to the server.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sampling {
    /// 0 is greedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Share of probability that is drawn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Most tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The same seed draws the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// Tokens of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the prompt, the chat template included.
    pub prompt_tokens: u64,
    /// Of the answer.
    pub completion_tokens: u64,
}

/// What an answer says on its way.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// More text.
    Text(String),
    /// Why it ended: `stop`, `length`.
    Ended(String),
    /// What it took.
    Usage(Usage),
    /// It failed while it was on its way.
    Failed(ErrorObject),
}

/// The pieces that a chunk holds.
fn pieces(chunk: &Value) -> Vec<Piece> {
    if let Some(error) = chunk.get("error") {
        return vec![Piece::Failed(refusal(error))];
    }
    let choice = &chunk["choices"][0];
    let text = choice["delta"]["content"].as_str().filter(|text| !text.is_empty());
    let text = text.map(|text| Piece::Text(text.to_owned()));
    let ended = choice["finish_reason"].as_str().map(|reason| Piece::Ended(reason.to_owned()));
    let usage = serde_json::from_value(chunk["usage"].clone()).ok().map(Piece::Usage);
    text.into_iter().chain(ended).chain(usage).collect()
}

/// Has a model answer a conversation, and tells every piece as it comes.
///
/// # Errors
/// [`ApiError`] where there is no answer, or where it breaks off.
pub async fn chat(
    model: &str,
    turns: &[Turn],
    sampling: &Sampling,
    abort: &Abort,
    mut hear: impl FnMut(Piece),
) -> Result<(), ApiError> {
    let mut body = serde_json::to_value(sampling).unwrap_or_default();
    body["model"] = model.into();
    body["messages"] = serde_json::to_value(turns).unwrap_or_default();
    body["stream"] = true.into();
    body["stream_options"] = json!({ "include_usage": true });
    // A browser tells no page why nobody answered.
    let broke_off = || ApiError::Absent(text::problem::NO_ANSWER.to_owned());
    let response = http::send("POST", "v1/chat/completions", Some(&body.to_string()), Some(abort)).await;
    let response = response.ok_or_else(broke_off)?;
    if response.status() != 200 {
        return answer::<Value>(Some(response)).await.map(|_never| ());
    }
    let stream = response.body().ok_or_else(|| ApiError::Absent("the answer has no body".to_owned()))?;
    let mut lines = Lines::default();
    while let Some(bytes) = stream.next().await.map_err(|_unsaid| broke_off())? {
        for data in lines.take(&bytes) {
            if data == "[DONE]" {
                return Ok(());
            }
            // What is no JSON is of a server that this page does not know.
            let chunk: Value = serde_json::from_str(&data).unwrap_or_default();
            pieces(&chunk).into_iter().for_each(&mut hear);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn chunks_are_read() {
        let text = json!({"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": null}]});
        assert_eq!(pieces(&text), [Piece::Text("Hi".to_owned())]);
        let opening =
            json!({"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": null}]});
        assert_eq!(pieces(&opening), []);
        let closing = json!({"choices": [{"delta": {}, "finish_reason": "length"}]});
        assert_eq!(pieces(&closing), [Piece::Ended("length".to_owned())]);
        let usage =
            json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}});
        assert_eq!(pieces(&usage), [Piece::Usage(Usage { prompt_tokens: 9, completion_tokens: 2 })]);
        let failed = json!({"error": {"message": "gone", "type": "server_error", "param": null, "code": "model_unloaded"}});
        assert_eq!(pieces(&failed), [Piece::Failed(ErrorObject::new("model_unloaded", "gone"))]);
        assert_eq!(pieces(&Value::Null), []);
    }
}
