//! Cutting a command line into words.

/// The words of a line, separated by any number of spaces.
///
/// Only the space separates: memcached takes a tab for a part of the word.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) const fn new(line: &'a [u8]) -> Self {
        Self::starting_at(line, 0)
    }

    /// The words of `line` from byte `at` on, where an earlier walk left off.
    pub(crate) const fn starting_at(line: &'a [u8], at: usize) -> Self {
        Self { line, at }
    }

    /// Where in the line the next word is looked for.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.line[self.at..];
        let start = rest.iter().position(|&byte| byte != b' ')?;
        let word = &rest[start..];
        let length = word
            .iter()
            .position(|&byte| byte == b' ')
            .unwrap_or(word.len());
        self.at += start + length;
        Some(&word[..length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spaces_separate_words() {
        let words: Vec<_> = Tokens::new(b"  get  a\tb c ").collect();
        assert_eq!(words, [b"get".as_slice(), b"a\tb", b"c"]);
        assert_eq!(Tokens::new(b"   ").next(), None);
    }

    #[test]
    fn a_walk_resumes_where_another_stopped() {
        let line = b"get a b";
        let mut first = Tokens::new(line);
        first.next();
        first.next();
        let rest: Vec<_> = Tokens::starting_at(line, first.position()).collect();
        assert_eq!(rest, [b"b"]);
    }
}
