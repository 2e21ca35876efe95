//! Models that llama.cpp's `gguf-split` has cut into several files.

use super::Gguf;
use crate::weights::{WeightsError, WeightsProblem};

/// More parts than any model has.
const MOST_PARTS: u64 = 1000;

/// Which part of a model a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// From 0 on; the first one has the metadata.
    pub number: u64,
    /// Parts of the model, at least two.
    pub count: u64,
}

impl Gguf {
    /// Which part this file is; `None` of a model in one file.
    ///
    /// # Errors
    /// A number of the wrong type, or a part beyond the last one.
    pub fn split(&self) -> Result<Option<Split>, WeightsProblem> {
        let count = self.metadata.unsigned("split.count")?.unwrap_or(0);
        let number = self.metadata.unsigned("split.no")?.unwrap_or(0);
        if count < 2 {
            return Ok(None);
        }
        if number >= count {
            let what = format!("`split.no` is {number}, but `split.count` is {count}");
            return Err(WeightsProblem::Corrupt(what));
        }
        Ok(Some(Split { number, count }))
    }
}

/// The file names of all parts of a model, given that of one: `NAME-00001-of-00003.gguf`; `None` of another name.
#[must_use]
pub fn part_names(name: &str) -> Option<Vec<String>> {
    let at = name.len().checked_sub(".gguf".len())?;
    let (stem, extension) = (name.get(..at)?, name.get(at..)?);
    let (stem, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let parse = |digits: &str| -> Option<u64> {
        let is_number = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_number)
    };
    let (number, count) = (parse(number)?, parse(count)?);
    if !extension.eq_ignore_ascii_case(".gguf") || !(2..=MOST_PARTS).contains(&count) {
        return None;
    }
    (1..=count)
        .contains(&number)
        .then(|| (1..=count).map(|number| format!("{stem}-{number:05}-of-{count:05}{extension}")).collect())
}

/// The index of the part that has the metadata, and in words which parts are missing.
pub(super) fn held(name: &str, headers: &[Gguf]) -> Result<(usize, Option<String>), WeightsError> {
    let refuse = |problem| WeightsError::new(name, problem);
    let splits: Vec<Option<Split>> =
        headers.iter().map(Gguf::split).collect::<Result<_, _>>().map_err(refuse)?;
    let [first, others @ ..] = splits.as_slice() else { return Ok((0, None)) };
    let Some(Split { count, .. }) = *first else {
        return match others {
            [] => Ok((0, None)),
            _ => Err(refuse(WeightsProblem::Corrupt("one of its parts is a whole model".to_owned()))),
        };
    };
    let mut numbers: Vec<u64> = splits.iter().flatten().map(|split| split.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let alike = splits.iter().all(|split| split.is_some_and(|split| split.count == count));
    if !alike || numbers.len() != headers.len() {
        return Err(refuse(WeightsProblem::Corrupt("its parts are not those of one model".to_owned())));
    }
    let one = |number: u64| (number + 1).to_string();
    let Some(first) = splits.iter().position(|split| split.is_some_and(|split| split.number == 0)) else {
        let part = numbers.first().copied().map_or_else(String::new, one);
        let what = format!(
            "it is part {part} of {count} of a split model, and the first part, which has the sizes, is not beside it"
        );
        return Err(refuse(WeightsProblem::Unsupported(what)));
    };
    let missing = numbers.len() as u64 != count;
    let here: Vec<String> = numbers.iter().copied().map(one).collect();
    Ok((first, missing.then(|| format!("{} of {count}", here.join(", ")))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_by_their_number() {
        let names = ["m-Q4_K-00001-of-00002.gguf", "m-Q4_K-00002-of-00002.gguf"].map(str::to_owned);
        assert_eq!(part_names(&names[0]).as_deref(), Some(&names[..]));
        assert_eq!(part_names(&names[1]).as_deref(), Some(&names[..]));
        for other in [
            "m.gguf",
            ".gguf",
            "m-00001-of-00001.gguf",
            "m-00003-of-00002.gguf",
            "m-00000-of-00002.gguf",
            "m-1-of-2.gguf",
            "m-00001-of-99999.gguf",
            "m-00001-of-00002.safetensors",
            "é",
        ] {
            assert_eq!(part_names(other), None, "{other}");
        }
    }
}
