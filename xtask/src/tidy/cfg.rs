//! `cfg` predicates, and what they imply.

use super::lex::{Kind, Token};

/// The predicate of a `#[cfg(…)]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cfg {
    /// `test`, `loom`, `unix`.
    Flag(String),
    /// `feature = "script"`.
    Value(String, String),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

impl Cfg {
    /// Parses the predicate that starts at `tokens[0]`.
    pub(crate) fn parse(tokens: &[Token<'_>]) -> Option<Self> {
        parse(tokens, &mut 0)
    }

    /// Whether the predicate can hold only where one of the accepted atoms holds.
    pub(crate) fn implies(&self, accepted: &dyn Fn(&Self) -> bool) -> bool {
        match self {
            Self::Flag(_) | Self::Value(..) => accepted(self),
            Self::All(parts) => parts.iter().any(|part| part.implies(accepted)),
            Self::Any(parts) => !parts.is_empty() && parts.iter().all(|p| p.implies(accepted)),
            Self::Not(_) => false,
        }
    }

    /// Whether the predicate holds in test builds only.
    pub(crate) fn is_test(&self) -> bool {
        self.implies(&|atom| matches!(atom, Self::Flag(name) if name == "test"))
    }
}

fn parse(tokens: &[Token<'_>], at: &mut usize) -> Option<Cfg> {
    let name = tokens
        .get(*at)
        .filter(|token| token.kind == Kind::Word)?
        .text;
    *at += 1;
    let next = tokens.get(*at);
    if next.is_some_and(|token| token.is("=")) {
        let value = tokens.get(*at + 1)?.text.trim_matches('"');
        *at += 2;
        return Some(Cfg::Value(name.to_owned(), value.to_owned()));
    }
    if !next.is_some_and(|token| token.is("(")) {
        return Some(Cfg::Flag(name.to_owned()));
    }
    *at += 1;
    let mut parts = Vec::new();
    while !tokens.get(*at)?.is(")") {
        if tokens[*at].is(",") {
            *at += 1;
        } else {
            parts.push(parse(tokens, at)?);
        }
    }
    *at += 1;
    match name {
        "all" => Some(Cfg::All(parts)),
        "any" => Some(Cfg::Any(parts)),
        "not" => parts.pop().map(|part| Cfg::Not(Box::new(part))),
        _ => Some(Cfg::Flag(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::Cfg;
    use crate::tidy::lex::lex;

    fn is_test(text: &str) -> bool {
        Cfg::parse(&lex(text).0)
            .expect("the predicate parses")
            .is_test()
    }

    #[test]
    fn a_predicate_is_for_tests_only_when_it_cannot_hold_elsewhere() {
        assert!(is_test("test"));
        assert!(is_test("all(loom, test)"));
        assert!(is_test("any(test, all(test, unix))"));
        assert!(!is_test("any(test, feature = \"script\")"));
        assert!(!is_test("not(test)"));
    }
}
