//! One source file as the checks see it: tokens, comments and the `cfg` that governs each token.

use core::ops::Range;
use std::path::{Path, PathBuf};

use super::cfg::Cfg;
use super::lex::{Comment, Kind, Token, lex};

/// A Rust source file, lexed.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// The path below the root of the tree.
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) comments: Vec<Comment<'a>>,
    /// Which tokens stand under which `#[cfg]` (or `#[test]`) of this file.
    governed: Vec<(Range<usize>, Cfg)>,
}

/// A `mod name;` of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ModDeclaration {
    pub(crate) name: String,
    /// The names of the inline modules around the declaration.
    pub(crate) inside: Vec<String>,
    /// The value of a `#[path = "…"]` on it.
    pub(crate) path: Option<PathBuf>,
    /// The index of the `mod` token.
    pub(crate) token: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a Path, text: &'a str) -> Self {
        let (tokens, comments) = lex(text);
        let governed = governed(&tokens);
        Self {
            path,
            text,
            tokens,
            comments,
            governed,
        }
    }

    /// The predicates of this file that govern the token at `index`.
    pub(crate) fn cfgs_at(&self, index: usize) -> impl Iterator<Item = &Cfg> {
        self.governed
            .iter()
            .filter(move |(range, _)| range.contains(&index))
            .map(|(_, cfg)| cfg)
    }

    /// The index of the token that closes the delimiter at `open`, or of the last token.
    pub(crate) fn closing(&self, open: usize) -> usize {
        closing(&self.tokens, open)
    }

    /// Whether the tokens from `index` on are `texts`.
    pub(crate) fn matches(&self, index: usize, texts: &[&str]) -> bool {
        self.tokens.len() >= index + texts.len()
            && texts
                .iter()
                .zip(&self.tokens[index..])
                .all(|(text, token)| token.is(text))
    }

    /// Every out-of-line module that this file declares.
    pub(crate) fn mod_declarations(&self) -> Vec<ModDeclaration> {
        let mut found = Vec::new();
        let mut inside: Vec<(String, usize)> = Vec::new();
        let mut path = None;
        for (index, token) in self.tokens.iter().enumerate() {
            inside.retain(|(_, end)| index < *end);
            if self.matches(index, &["#", "[", "path", "="]) {
                path = self
                    .tokens
                    .get(index + 4)
                    .map(|t| PathBuf::from(t.text.trim_matches('"')));
            } else if token.is(";") || token.is("{") || token.is("}") {
                path = None;
            }
            let Some([name, end]) = self.tokens.get(index + 1..index + 3) else {
                continue;
            };
            if !token.is("mod") || name.kind != Kind::Word {
                continue;
            }
            let name = name.text.trim_start_matches("r#").to_owned();
            if end.is("{") {
                inside.push((name, self.closing(index + 2)));
            } else if end.is(";") {
                let inside = inside.iter().map(|(name, _)| name.clone()).collect();
                found.push(ModDeclaration {
                    name,
                    inside,
                    path: path.take(),
                    token: index,
                });
            }
        }
        found
    }

    /// Every literal `include!("…")` of this file.
    pub(crate) fn includes(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.tokens.len())
            .filter(|index| self.matches(*index, &["include", "!", "("]))
            .filter_map(|index| self.tokens.get(index + 3))
            .filter(|token| token.kind == Kind::Text)
            .map(|token| PathBuf::from(token.text.trim_matches('"')))
    }
}

fn governed(tokens: &[Token<'_>]) -> Vec<(Range<usize>, Cfg)> {
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if !token.is("#") {
            continue;
        }
        let inner = tokens.get(index + 1).is_some_and(|next| next.is("!"));
        let open = index + 1 + usize::from(inner);
        let Some([bracket, name]) = tokens.get(open..open + 2) else {
            continue;
        };
        if !bracket.is("[") {
            continue;
        }
        let cfg = match name.text {
            "cfg" => tokens.get(open + 3..).and_then(Cfg::parse),
            "test" => Some(Cfg::Flag("test".to_owned())),
            _ => None,
        };
        if let Some(cfg) = cfg {
            let range = if inner {
                0..tokens.len()
            } else {
                index..item_end(tokens, open)
            };
            found.push((range, cfg));
        }
    }
    found
}

/// Where the item ends whose attribute opens at `open`: behind its `;`, `,` or body.
fn item_end(tokens: &[Token<'_>], open: usize) -> usize {
    let mut index = closing(tokens, open) + 1;
    // A comma ends a field, a variant or an argument; within an item it separates generics.
    let (mut named, mut is_item) = (false, false);
    while let Some(token) = tokens.get(index) {
        match token.text {
            "#" => index = closing(tokens, index + 1),
            "(" | "[" => index = closing(tokens, index),
            "{" => return closing(tokens, index) + 1,
            "," if is_item => {}
            ";" | "," | ")" | "]" | "}" => return index + 1,
            ":" => named = true,
            word => is_item |= !named && ITEM_WORDS.contains(&word),
        }
        index += 1;
    }
    tokens.len()
}

const ITEM_WORDS: [&str; 9] = [
    "fn",
    "impl",
    "struct",
    "enum",
    "union",
    "trait",
    "type",
    "extern",
    "macro_rules",
];

fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        if token.kind != Kind::Mark {
            continue;
        }
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::Source;

    #[test]
    fn modules_are_found_with_their_path_and_their_surroundings() {
        let text = "mod a; #[path = \"x/y.rs\"] pub(crate) mod b; mod c { mod d; } mod e;";
        let source = Source::new(Path::new("lib.rs"), text);
        let found = source.mod_declarations();
        let names: Vec<_> = found.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "d", "e"]);
        assert_eq!(found[1].path, Some(PathBuf::from("x/y.rs")));
        assert_eq!(found[2].inside, ["c"]);
        assert_eq!(found[3].inside, [""; 0]);
        assert_eq!(found[3].path, None);
    }

    #[test]
    fn a_cfg_governs_its_item_and_nothing_behind_it() {
        let text =
            "#[cfg(test)]\n#[x] mod tests { fn a() {} } fn b() {} #[test] fn c<T, U>() { c2 } d";
        let source = Source::new(Path::new("lib.rs"), text);
        let test = |word: &str| {
            let found = source.tokens.iter().position(|token| token.is(word));
            let index = found.expect("the word is there");
            source.cfgs_at(index).any(super::Cfg::is_test)
        };
        assert!(test("a") && test("c2"));
        assert!(!test("b") && !test("d"));
    }
}
