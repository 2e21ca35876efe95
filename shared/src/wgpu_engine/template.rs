//! WGSL from templates: one text for every shape, format and way of reducing.
//!
//! Lines that begin with `//:` direct: `//:include NAME`, `//:if FLAG` … `//:else` … `//:end`, and
//! `//:for v CONSTANT` … `//:end`, which repeats its lines with `$v` replaced by 0, 1, …, `$[2v]` and `$[2v+1]` alike.
//! Everything else is WGSL, with the constants declared before it.

/// The templates by name.
const FILES: [(&str, &str); 28] = [
    ("argmax", include_str!("wgsl/argmax.wgsl")),
    ("attention", include_str!("wgsl/attention.wgsl")),
    ("block", include_str!("wgsl/block.wgsl")),
    ("cache", include_str!("wgsl/cache.wgsl")),
    ("column", include_str!("wgsl/column.wgsl")),
    ("combine", include_str!("wgsl/combine.wgsl")),
    ("count", include_str!("wgsl/count.wgsl")),
    ("dot", include_str!("wgsl/dot.wgsl")),
    ("embed", include_str!("wgsl/embed.wgsl")),
    ("epilogue", include_str!("wgsl/epilogue.wgsl")),
    ("few", include_str!("wgsl/few.wgsl")),
    ("gemm", include_str!("wgsl/gemm.wgsl")),
    ("gemm_q8", include_str!("wgsl/gemm_q8.wgsl")),
    ("gemv", include_str!("wgsl/gemv.wgsl")),
    ("lanes", include_str!("wgsl/lanes.wgsl")),
    ("mix", include_str!("wgsl/mix.wgsl")),
    ("norm", include_str!("wgsl/norm.wgsl")),
    ("q8", include_str!("wgsl/q8.wgsl")),
    ("quantize", include_str!("wgsl/quantize.wgsl")),
    ("reduce", include_str!("wgsl/reduce.wgsl")),
    ("rotate", include_str!("wgsl/rotate.wgsl")),
    ("rope", include_str!("wgsl/rope.wgsl")),
    ("scores", include_str!("wgsl/scores.wgsl")),
    ("softmax", include_str!("wgsl/softmax.wgsl")),
    ("step", include_str!("wgsl/step.wgsl")),
    ("tile", include_str!("wgsl/tile.wgsl")),
    ("visible", include_str!("wgsl/visible.wgsl")),
    ("weight", include_str!("wgsl/weight.wgsl")),
];

/// A shader to be written out.
#[derive(Debug, Clone)]
pub(super) struct Shader {
    name: &'static str,
    flags: Vec<&'static str>,
    numbers: Vec<(&'static str, u32)>,
    reals: Vec<(&'static str, f32)>,
}

impl Shader {
    /// The template of this name, without flags and constants.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, flags: Vec::new(), numbers: Vec::new(), reals: Vec::new() }
    }

    /// The names of all templates, included ones too.
    #[cfg(test)]
    pub(super) fn files() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// With flags set.
    pub(super) fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags.extend_from_slice(flags);
        self
    }

    /// With a `u32` constant.
    pub(super) fn number(mut self, name: &'static str, value: usize) -> Self {
        self.numbers.push((name, u32::try_from(value).unwrap_or(u32::MAX)));
        self
    }

    /// With an `f32` constant.
    pub(super) fn real(mut self, name: &'static str, value: f32) -> Self {
        self.reals.push((name, value));
        self
    }

    /// The WGSL. Browsers want extensions to be named first (`enable`), naga does not know that line yet.
    ///
    /// # Panics
    /// On a template that is not written right; the tests write out every one.
    pub(super) fn text(&self, names_extensions: bool) -> String {
        let mut body = String::new();
        self.expand(&lines(self.name), &[], &mut body);
        // Directives of WGSL itself come before anything else.
        let (enables, body): (Vec<_>, Vec<_>) = body.lines().partition(|line| line.starts_with("enable "));
        let numbers = self.numbers.iter().map(|(name, value)| format!("const {name} = {value}u;"));
        let reals = self.reals.iter().map(|(name, value)| format!("const {name} = {value:?}f;"));
        let mut text: Vec<String> =
            enables.into_iter().filter(|_| names_extensions).map(str::to_owned).collect();
        text.extend(numbers.chain(reals));
        text.extend(body.into_iter().map(str::to_owned));
        text.join("\n")
    }

    fn expand(&self, lines: &[&str], variables: &[(&str, u32)], out: &mut String) {
        let mut at = 0;
        while at < lines.len() {
            let Some(directive) = lines[at].strip_prefix("//:") else {
                out.push_str(&filled(lines[at], variables));
                out.push('\n');
                at += 1;
                continue;
            };
            let words: Vec<&str> = directive.split_whitespace().collect();
            match words[..] {
                ["include", name] => {
                    self.expand(&self::lines(name), variables, out);
                    at += 1;
                }
                ["if", flag] => {
                    let (otherwise, end) = block(lines, at);
                    let (chosen, other) = (&lines[at + 1..otherwise], &lines[(otherwise + 1).min(end)..end]);
                    self.expand(if self.flags.contains(&flag) { chosen } else { other }, variables, out);
                    at = end + 1;
                }
                ["for", variable, count] => {
                    let (_, end) = block(lines, at);
                    let count = self.numbers.iter().find(|(name, _)| *name == count);
                    for i in 0..count.expect("a constant that is given").1 {
                        let variables = [variables, &[(variable, i)]].concat();
                        self.expand(&lines[at + 1..end], &variables, out);
                    }
                    at = end + 1;
                }
                _ => unreachable!("no directive: {directive}"),
            }
        }
    }
}

fn lines(name: &str) -> Vec<&'static str> {
    let file = FILES.iter().find(|(file, _)| *file == name);
    file.expect("a template that exists").1.lines().collect()
}

/// Lines of the `else` (or the end, where there is none) and of the end of the block that opens at a line.
fn block(lines: &[&str], open: usize) -> (usize, usize) {
    let (mut depth, mut otherwise) = (0, None);
    for (at, line) in lines.iter().enumerate().skip(open) {
        match line.strip_prefix("//:").and_then(|directive| directive.split_whitespace().next()) {
            Some("if" | "for") => depth += 1,
            Some("else") if depth == 1 => otherwise = Some(at),
            Some("end") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (otherwise.unwrap_or(at), at);
        }
    }
    unreachable!("a block without an end")
}

fn filled(line: &str, variables: &[(&str, u32)]) -> String {
    variables.iter().fold(line.to_owned(), |line, (name, i)| {
        line.replace(&format!("$[2{name}+1]"), &(2 * i + 1).to_string())
            .replace(&format!("$[2{name}]"), &(2 * i).to_string())
            .replace(&format!("${name}"), &i.to_string())
    })
}
