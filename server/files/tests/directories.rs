//! What lies in a directory besides a model's own files: weights that nothing names, pickles, parts of a split GGUF.

#[path = "support/split_gguf.rs"]
mod split_gguf;

use std::path::Path;

use phi3::decoder::Decoder;
use phi3::dtype::DType;
use phi3::tensors;
use phi3::weights::safetensors::{NewTensor, lay_out};
use preflight_files::{Model, Source};
use split_gguf::split_gguf;

const CONFIG: &str = r#"{"model_type":"llama","hidden_size":8,"intermediate_size":16,"num_hidden_layers":1,
    "num_attention_heads":2,"num_key_value_heads":1,"vocab_size":10,"max_position_embeddings":64}"#;

fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("config.json"), CONFIG).expect("written");
    for name in files {
        std::fs::write(folder.path().join(name), "x").expect("written");
    }
    folder
}

fn write_weights(path: &Path) {
    let decoder = Decoder::parse(CONFIG.as_bytes()).expect("a known family");
    let tensors = tensors::list(&decoder)
        .map(|spec| NewTensor { name: spec.name, dtype: DType::Bf16, shape: spec.shape })
        .collect();
    let layout = lay_out(tensors, u64::MAX).remove(0);
    let mut bytes = layout.header.clone();
    bytes.resize(layout.file_bytes() as usize, 0);
    std::fs::write(path, bytes).expect("written");
}

fn open(folder: &Path) -> Result<Model, preflight_files::FilesError> {
    Model::open(&Source::Directory(folder.to_owned()))
}

#[test]
fn weights_without_an_index_are_named_and_not_passed_over() {
    for names in [&["a.safetensors", "b.safetensors"][..], &["model-00001-of-00002.safetensors"]] {
        let folder = folder(names);
        for name in names {
            write_weights(&folder.path().join(name));
        }
        let error = open(folder.path()).expect_err("ambiguous");
        let text = error.to_string();
        assert_eq!(error.code(), "incomplete_model");
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
        assert!(text.contains("no model.safetensors.index.json") && text.contains("name one file"), "{text}");
        // As it says.
        let named = Model::open(&Source::Safetensors(folder.path().join(names[0]))).expect("one file");
        assert!(named.checkpoint.is_some() && named.no_weights().is_none());
    }
    // An adapter is no model's weights.
    assert!(open(folder(&["adapter_model.safetensors"]).path()).is_ok());
}

#[test]
fn a_directory_without_weights_says_so_and_why() {
    for (files, code, says) in [
        (&[][..], "no_weights", "no weights here"),
        (&["training_args.bin", "optimizer.pt"][..], "no_weights", "no weights here"),
        (&["m-Q4_K.gguf"][..], "no_weights", "m-Q4_K.gguf"),
        (
            &["pytorch_model.bin", "m.gguf"][..],
            "pickle_not_read",
            "pytorch_model.bin is pickled, which is never read",
        ),
        (&["consolidated.00.pth"][..], "pickle_not_read", "consolidated.00.pth"),
    ] {
        let folder = folder(files);
        let why = open(folder.path()).expect("a config").no_weights().expect("none");
        assert_eq!(why.code, code, "{files:?}");
        let text = why.message();
        assert!(text.contains(says) && text.ends_with("sized from config.json alone"), "{text}");
        // Of a config that was asked for nothing is missing.
        let config = Model::open(&Source::Config(folder.path().join("config.json"))).expect("a config");
        assert_eq!(config.no_weights(), None);
    }
    let whole = folder(&["pytorch_model.bin"]);
    write_weights(&whole.path().join("model.safetensors"));
    assert_eq!(open(whole.path()).expect("a model").no_weights(), None);
}

#[test]
fn parts_of_a_split_gguf_are_found_beside_each_other() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"].map(|name| folder.path().join(name));
    let [first, second] = split_gguf();
    std::fs::write(&names[0], first).expect("written");
    let opened = |path: &Path| {
        let model = Model::open(&Source::Gguf(path.to_owned())).expect("opens");
        let decoder = Decoder::parse(&model.config_json).expect("a known family");
        let checkpoint = model.checkpoint.expect("weights");
        (checkpoint.parameter_count(), checkpoint.contradiction(&decoder))
    };
    let (count, words) = opened(&names[0]);
    assert!(count < 760 && words.is_some_and(|words| words.contains("only part 1 of 2")), "{count}");
    std::fs::write(&names[1], second).expect("written");
    for name in &names {
        assert_eq!(opened(name), (760, None));
    }
    std::fs::remove_file(&names[0]).expect("removed");
    let error = Model::open(&Source::Gguf(names[1].clone())).expect_err("no sizes").to_string();
    assert!(error.contains("the first part, which has the sizes, is not beside it"), "{error}");
}

/// A folder of a Hub repository with one GGUF model is that model, and so is the same folder here.
#[test]
fn a_directory_with_one_gguf_model_is_that_model() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let text = folder.path().to_str().expect("UTF-8");
    let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    for (name, part) in names.into_iter().zip(split_gguf()) {
        std::fs::write(folder.path().join(name), part).expect("written");
    }
    std::fs::write(folder.path().join("README.md"), "of no account").expect("written");
    let opened = |text: &str| Model::open(&Source::resolve(text)?);
    let whole = opened(text).expect("its one model");
    assert!(whole.checkpoint.expect("its weights").findings().is_empty(), "all parts of it");
    // Of two nobody can say which is meant; a part counts once.
    std::fs::copy(folder.path().join("README.md"), folder.path().join("b.GGUF")).expect("copied");
    let error = opened(text).expect_err("two models");
    assert_eq!(error.code(), "incomplete_model");
    assert!(
        error.to_string().contains("holds 2 GGUF models") && error.to_string().contains("b.GGUF"),
        "{error}"
    );
    // A config that says no size describes nothing: what is meant is beside it.
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "mistral"}"#).expect("written");
    assert_eq!(opened(text).expect_err("two models").to_string(), error.to_string());
    std::fs::remove_file(folder.path().join("b.GGUF")).expect("removed");
    assert!(opened(text).expect("its one model").name.ends_with("m-00001-of-00002.gguf"));
    // Any other says that the folder is its model, whatever lies beside it.
    std::fs::write(folder.path().join("config.json"), CONFIG).expect("written");
    assert!(matches!(Source::resolve(text), Ok(Source::Directory(_))));
}

/// Of a damaged shard the folder is told too: which model's it is.
#[test]
fn a_damaged_shard_is_named_with_its_folder() {
    let folder = folder(&["a.safetensors"]);
    let index = r#"{"weight_map": {"lm_head.weight": "a.safetensors"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).expect("written");
    let error = open(folder.path()).expect_err("damaged").to_string();
    let shard = folder.path().join("a.safetensors").display().to_string();
    assert!(error.starts_with(&shard), "{error}");
}
