use serde_json::{Value, json};

use super::*;
use crate::config::ModelConfig;

/// A byte-level tokenizer of the bytes of `é€` alone and a few letters; one added special token.
fn byte_level() -> Value {
    // GPT-2's alphabet: bytes 0xc3, 0xa9, 0xe2, 0x82, 0xac, space.
    json!({
        "version": "1.0", "normalizer": null, "truncation": null, "padding": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [9], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "added_tokens": [{"id": 9, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "model": {"type": "BPE", "vocab":
            {"a": 0, "b": 1, "Ã": 2, "©": 3, "â": 4, "Ĥ": 5, "¬": 6, "Ġ": 7, "©â": 8}, "merges": []},
    })
}

fn load(tokenizer: &Value, config: &Value) -> Result<Tokenizer, TokenizerError> {
    let (tokenizer, config) = (tokenizer.to_string(), config.to_string());
    Tokenizer::load(&TokenizerFiles {
        tokenizer: tokenizer.as_bytes(),
        tokenizer_config: Some(config.as_bytes()),
        ..TokenizerFiles::default()
    })
}

fn with_template(template: &str) -> Tokenizer {
    let config = json!({"bos_token": {"content": "<s>", "lstrip": false}, "chat_template": template});
    load(&byte_level(), &config).expect("good")
}

fn render(template: &str) -> Result<String, TokenizerError> {
    with_template(template).chat_text(&[ChatMessage::user("hi"), ChatMessage::user("<é>")], true)
}

#[test]
fn characters_are_held_back_until_they_are_whole() {
    let tokenizer = load(&byte_level(), &json!({})).expect("good");
    let mut stream = tokenizer.stream(true);
    // a é € (across a token that ends one character and begins the next) b, then half a character.
    let pieces: Vec<String> = [0, 2, 8, 5, 6, 9, 1, 2].map(|id| stream.push(id).expect("decodes")).to_vec();
    assert_eq!(pieces, ["a", "", "é", "", "€", "", "b", ""]);
    assert_eq!(stream.finish().expect("decodes"), "\u{fffd}");
}

#[test]
fn bytes_that_never_become_a_character_are_passed_on() {
    let tokenizer = load(&byte_level(), &json!({})).expect("good");
    let ids = [3, 3, 3, 3, 3, 0, 4, 4, 4, 0];
    let mut stream = tokenizer.stream(true);
    let mut text: String = ids.iter().map(|id| stream.push(*id).expect("decodes")).collect();
    assert!(stream.window_len() <= 10);
    text.push_str(&stream.finish().expect("decodes"));
    assert_eq!(text, tokenizer.decode(&ids, true).expect("decodes"));
}

#[test]
fn the_window_of_a_stream_stays_small() {
    let tokenizer = load(&byte_level(), &json!({})).expect("good");
    let mut stream = tokenizer.stream(true);
    for _ in 0..500 {
        for id in [2, 8, 5, 6, 0] {
            stream.push(id).expect("decodes");
            assert!(stream.window_len() <= MOST_WINDOW);
        }
    }
}
/// The longest character's ids and the context before it.
const MOST_WINDOW: usize = 8;

#[test]
fn the_post_processor_applies_unless_it_is_overridden() {
    let mut tokenizer = load(&byte_level(), &json!({"bos_token": "<s>"})).expect("good");
    assert_eq!(tokenizer.encode("ab").expect("encodes"), [9, 0, 1]);
    assert_eq!(tokenizer.encode("a<s>b").expect("encodes"), [9, 0, 9, 1]);
    tokenizer.set_add_bos(false).expect("always possible");
    assert_eq!(tokenizer.encode("ab").expect("encodes"), [0, 1]);
    tokenizer.set_add_bos(true).expect("there is one");
    assert_eq!(tokenizer.encode("ab").expect("encodes"), [9, 0, 1]);

    for config in [json!({}), json!({"bos_token": "<none>"})] {
        let mut tokenizer = load(&byte_level(), &config).expect("good");
        assert_eq!(tokenizer.set_add_bos(true).expect_err("refused").code(), "load_config_invalid");
    }
}

#[test]
fn what_a_file_was_trained_with_is_not_applied_to_prompts() {
    let mut json = byte_level();
    json["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 7, "pad_type_id": 0, "pad_token": "Ġ"});
    // Every merge would be left out.
    json["model"]["vocab"]["ab"] = json!(10);
    json["model"]["merges"] = json!([["a", "b"]]);
    json["model"]["dropout"] = json!(1.0);
    let tokenizer = load(&json, &json!({})).expect("good");
    assert_eq!(tokenizer.encode("abab").expect("encodes"), [9, 10, 10]);
}

#[test]
fn every_id_must_have_a_row() {
    let config = |vocab: usize| {
        ModelConfig::parse(
            format!(r#"{{"model_type":"phi3","vocab_size":{vocab},"pad_token_id":0}}"#).as_bytes(),
        )
        .expect("valid")
    };
    let tokenizer = load(&byte_level(), &json!({})).expect("good");
    assert_eq!(tokenizer.vocab_size(), 10);
    assert!(tokenizer.check_vocab(&config(10)).is_ok());
    assert!(tokenizer.check_vocab(&config(64)).is_ok());
    let error = tokenizer.check_vocab(&config(9)).expect_err("refused").to_string();
    assert!(error.contains("id 9 (`<s>`)") && error.contains("vocab_size is 9"), "{error}");

    let mut json = byte_level();
    json["model"]["vocab"]["b"] = json!(u32::MAX);
    let tokenizer = load(&json, &json!({})).expect("the tokenizers crate takes it");
    assert!(tokenizer.check_vocab(&config(64)).is_err());
}

#[test]
fn files_that_are_no_tokenizer_are_refused_by_name() {
    for bytes in ["", " \n", "{}", "null", "[1]", "{", "<html>", "version https://git-lfs"] {
        let files = TokenizerFiles { tokenizer: bytes.as_bytes(), ..TokenizerFiles::default() };
        let error = Tokenizer::load(&files).expect_err(bytes);
        assert!(error.to_string().starts_with("tokenizer.json: "), "{bytes}: {error}");
    }
    let bad_merges = {
        let mut json = byte_level();
        json["model"]["merges"] = json!([["a", "zz"]]);
        json
    };
    assert_eq!(load(&bad_merges, &json!({})).expect_err("refused").code(), "tokenizer_invalid");
    for (part, says) in
        [("pre_tokenizer", "PreTokenizer"), ("normalizer", "Normalizer"), ("decoder", "Decoder")]
    {
        let mut json = byte_level();
        json[part] = json!({ "type": "Unheard" });
        let error = load(&json, &json!({})).expect_err(part).to_string();
        assert!(error.contains(&format!("its {says} is of a kind")) && !error.contains("enum"), "{error}");
    }
    for config in
        [json!([]), json!({"chat_template": 1}), json!({"chat_template": [{"name": "rag", "template": ""}]})]
    {
        let error = load(&byte_level(), &config).expect_err("refused").to_string();
        assert!(error.starts_with("tokenizer_config.json: "), "{error}");
    }
}

#[test]
fn the_template_is_found_where_hugging_face_finds_it() {
    let text = |config: Value, file: Option<&str>| {
        let (tokenizer, config) = (byte_level().to_string(), config.to_string());
        let files = TokenizerFiles {
            tokenizer: tokenizer.as_bytes(),
            tokenizer_config: Some(config.as_bytes()),
            chat_template: file.map(str::as_bytes),
            ..TokenizerFiles::default()
        };
        Tokenizer::load(&files).expect("good").chat_text(&[], false)
    };
    assert_eq!(text(json!({"chat_template": "config"}), None).as_deref(), Ok("config"));
    assert_eq!(text(json!({"chat_template": "config"}), Some("file")).as_deref(), Ok("file"));
    let named = json!({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]});
    assert_eq!(text(named, None).as_deref(), Ok("d"));
    assert_eq!(text(json!({}), None), Err(TokenizerError::NoChatTemplate));
}

/// Each line: a template and the text that transformers 5.23.0 (Jinja2 3.1) renders it to.
#[test]
fn templates_render_as_in_hugging_face() {
    for (template, expected) in [
        (
            "{{ bos_token }}{% for m in messages %}\n  {%- if m.role == 'user' %}\n[{{ m['content'] }}]\n  {% endif %}\n{% endfor %}",
            "<s>[hi]\n[<é>]\n",
        ),
        ("{{ messages | length }} {{ messages[-1]['content'].strip('<>').upper() }}", "2 É"),
        (
            "{{ messages | tojson }}",
            r#"[{"role": "user", "content": "hi"}, {"role": "user", "content": "<é>"}]"#,
        ),
        ("{{ messages[0] | tojson(indent=2) }}", "{\n  \"role\": \"user\",\n  \"content\": \"hi\"\n}"),
        (
            "{{ [[], {}, [1, {'a': []}]] | tojson(indent=2) }}",
            "[\n  [],\n  {},\n  [\n    1,\n    {\n      \"a\": []\n    }\n  ]\n]",
        ),
        ("{{ {'a': [1, [2]], 'b': {}} | tojson }}", r#"{"a": [1, [2]], "b": {}}"#),
        ("{{ add_generation_prompt }} {{ tools }} {{ none }} {{ tools is none }}", "True None None True"),
        ("{% generation %}x{% endgeneration %}{%- generation -%} y {%- endgeneration %}", "xy"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% if loop.last %}{% break %}{% endif %}{% endfor %}{{ ns.n }}",
            "2",
        ),
        ("{{ missing }}|{{ missing is defined }}|{{ 'a' in 'abc' }}", "|False|True"),
        ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(messages[0].content) }}", "<hi>"),
        ("{{ messages[0].items() | list | length }} {{ messages[0].get('name', 'none') }}", "2 none"),
        ("{{ messages[0].content.startswith('h') }} {{ 'a-b'.split('-')[1] }}", "True b"),
        ("{{ strftime_now('%Y') | int > 2024 }}", "True"),
        ("a\n", "a"),
    ] {
        assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
    }
}

/// Each line: a template and a part of the message; none takes long or much.
#[test]
fn templates_that_fail_or_run_away_are_refused() {
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
    let long = "{% for a in range(99999) %}0123456789012345678901234567890123456789012345678901234567890123456789{% endfor %}";
    let huge = format!("{{# {} #}}", "x".repeat(1 << 20));
    for (template, part) in [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% if %}", "syntax error"),
        ("{{ 1 | no_such_filter }}", "no_such_filter"),
        ("{{ messages.no_such_method() }}", "no_such_method"),
        ("{{ missing.attribute }}", "undefined"),
        (nested, "fuel"),
        (long, "exceeds 4194304 bytes"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{% include 'tokenizer.json' %}", "unknown statement include"),
        (huge.as_str(), "more than 1048576"),
    ] {
        let error = render(template).expect_err(template);
        assert_eq!(error.code(), "template_error");
        let text = error.to_string();
        assert!(text.contains(part) && !text.contains('\n') && text.len() < 500, "{template}: {text}");
    }
}

/// Each line makes much of little; all end by fuel or a limit, most before the memory is asked for. What still gets
/// through (lists that hold a list twice, or nest without end, written out) is held by the process: `tests/it/cli`.
#[test]
fn templates_that_blow_up_are_refused() {
    let shared =
        "{% set ns = namespace(a=[1]) %}{% for i in range(40) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}";
    let deep = "{% set ns = namespace(a=[1]) %}{% for i in range(500) %}{% set ns.a = [ns.a] %}{% endfor %}";
    for (template, part) in [
        (
            "{% set ns = namespace(x='0123456789') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "fuel",
        ),
        (
            "{% set ns = namespace(x='0123456789') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
            "fuel",
        ),
        (
            "{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(x='0123456789') %}{% for i in range(99) %}{% set ns.x = d(ns.x) %}{% endfor %}",
            "fuel",
        ),
        (
            "{% set x = 'a' %}{% for i in range(99999) %}{% set y %}{{ 'a' * 99999 }}{% endset %}{% endfor %}",
            "fuel",
        ),
        ("{{ 'a' * 10**9 }}", "fuel"),
        ("{{ ('a' * 10**8) | length }}", "fuel"),
        ("{{ range(10**9) | list | length }}", "range has too many elements"),
        ("{{ ([1] * 10**8) | list | length }}", "fuel"),
        ("{% set x = 'a' * 10**5 %}{{ (x | replace('a', x)) | length }}", "fuel"),
        ("{% set x = 'a' * 10**5 %}{{ x.replace('a', x) | length }}", "fuel"),
        ("{% set x = 'a' * 10**5 %}{{ x.replace('', x) | length }}", "fuel"),
        ("{% set x = 'a' * 10**5 %}{{ (range(10**5) | join(x)) | length }}", "fuel"),
        ("{% set x = 'a' * 10**5 %}{{ x.join(range(10**5)) | length }}", "fuel"),
        ("{% set x = 'a\n' * 10**5 %}{{ x | indent(10**6) | length }}", "fuel"),
        ("{{ 'a' | indent(10**12, true) | length }}", "fuel"),
        ("{{ '%1000000000s' | format('a') | length }}", "fuel"),
        ("{{ '{:>1000000000}'.format('a') | length }}", "fuel"),
        ("{{ '{:99999999999999999999999}'.format('a') | length }}", "fuel"),
        ("{{ ('a,' * 10**7).split(',') | length }}", "fuel"),
        ("{{ ('a\n' * 10**7).splitlines() | length }}", "fuel"),
        ("{{ ('<' * 10**8) | escape | length }}", "fuel"),
        ("{{ raise_exception('roles ' * 10**6) }}", "roles roles"),
        (&format!("{shared}{{{{ ns.a | tojson }}}}"), "exceeds 4194304 bytes"),
        (&format!("{shared}{{{{ ns.a }}}}"), "exceeds 4194304 bytes"),
        (&format!("{deep}{{{{ ns.a | tojson }}}}"), "nest deeper than 64"),
    ] {
        let text = render(template).expect_err(template).to_string();
        assert!(text.contains(part) && text.len() < 600, "{template}: {text}");
    }
}

#[test]
fn the_stop_set_is_the_generation_configs_where_it_has_one() {
    let config = ModelConfig::parse(br#"{"model_type":"phi3","eos_token_id":32000}"#).expect("valid");
    let generation = |json: &str| GenerationConfig::parse(json.as_bytes()).expect("valid");
    let full = generation(r#"{"eos_token_id":[32000,32001,32007]}"#);
    assert_eq!(stop_ids(&config, Some(&full)), [32000, 32001, 32007]);
    assert_eq!(stop_ids(&config, Some(&generation("{}"))), [32000]);
    assert_eq!(stop_ids(&config, None), [32000]);
}

/// Of some files the library indexes past an end: an error of that text, and nothing else is lost.
#[test]
fn a_panic_of_the_library_is_an_error() {
    for pattern in [json!({ "String": "" }), json!({ "Regex": "^(?=ab)" })] {
        let mut file = byte_level();
        file["normalizer"] = json!({ "type": "Replace", "pattern": pattern, "content": "aa" });
        let Ok(tokenizer) = load(&file, &json!({})) else { continue };
        let error = tokenizer.encode("ab").expect_err("it cannot be split");
        assert!(error.to_string().starts_with("the text cannot be encoded"), "{error}");
        assert!(pattern["String"].is_string() || tokenizer.encode("b").is_ok());
    }
}
