//! A small lexer for Rust source: tokens and comments, each with its line.
//!
//! Checks that look for words in raw text trip over strings and comments; on tokens they do not.
//! Nothing here understands grammar. [`crate::tidy::parse`] adds the little that the checks need.

/// What a token is, as far as the checks care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word: keyword or name, raw names included.
    Word,
    /// One character of punctuation.
    Mark,
    /// A string literal of any sort, quotes included.
    Text,
    /// A number, a character or a lifetime.
    Other,
}

/// One token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) start: usize,
    pub(crate) line: usize,
}

impl Token<'_> {
    /// Whether this is the given word or mark (never a string that happens to contain it).
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Mark) && self.text == text
    }
}

/// One comment, delimiters included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comment<'a> {
    pub(crate) text: &'a str,
    pub(crate) start: usize,
    pub(crate) line: usize,
}

/// Splits `text` into tokens and comments.
pub(crate) fn lex(text: &str) -> (Vec<Token<'_>>, Vec<Comment<'_>>) {
    let mut lexer = Lexer {
        text,
        bytes: text.as_bytes(),
        at: 0,
        line: 1,
    };
    let (mut tokens, mut comments) = (Vec::new(), Vec::new());
    while let Some(byte) = lexer.peek(0) {
        let (start, line) = (lexer.at, lexer.line);
        if byte.is_ascii_whitespace() {
            lexer.advance(1);
        } else if byte == b'/' && matches!(lexer.peek(1), Some(b'/' | b'*')) {
            lexer.comment();
            comments.push(Comment {
                text: &text[start..lexer.at],
                start,
                line,
            });
        } else {
            let kind = lexer.token(byte);
            tokens.push(Token {
                kind,
                text: &text[start..lexer.at],
                start,
                line,
            });
        }
    }
    (tokens, comments)
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn advance(&mut self, count: usize) {
        let end = (self.at + count).min(self.bytes.len());
        self.line += self.bytes[self.at..end]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        self.at = end;
    }

    fn advance_while(&mut self, keep: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&keep) {
            self.advance(1);
        }
    }

    fn comment(&mut self) {
        if self.peek(1) == Some(b'/') {
            self.advance_while(|byte| byte != b'\n');
            return;
        }
        let mut depth = 0;
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => depth += 1,
                (Some(b'*'), Some(b'/')) => depth -= 1,
                _ => {
                    self.advance(1);
                    continue;
                }
            }
            self.advance(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn token(&mut self, first: u8) -> Kind {
        match first {
            b'"' => self.string(),
            b'\'' => self.quote(),
            b'0'..=b'9' => self.number(),
            byte if is_word(byte) => self.word(),
            _ => {
                self.advance(1);
                Kind::Mark
            }
        }
    }

    fn string(&mut self) -> Kind {
        self.advance(1);
        while let Some(byte) = self.peek(0) {
            self.advance(if byte == b'\\' { 2 } else { 1 });
            if byte == b'"' {
                break;
            }
        }
        Kind::Text
    }

    /// A character literal, or a lifetime: only the literal has a second quote.
    fn quote(&mut self) -> Kind {
        self.advance(1);
        let width = self.text[self.at..]
            .chars()
            .next()
            .map_or(0, char::len_utf8);
        if self.peek(0) == Some(b'\\') {
            self.advance(2);
            self.advance_while(|byte| byte != b'\'');
            self.advance(1);
        } else if self.peek(width) == Some(b'\'') {
            self.advance(width + 1);
        } else {
            self.advance_while(is_word);
        }
        Kind::Other
    }

    fn number(&mut self) -> Kind {
        self.advance_while(is_word);
        if self.peek(0) == Some(b'.') && self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) {
            self.advance(1);
            self.advance_while(is_word);
        }
        Kind::Other
    }

    /// A name, or the prefix of a literal such as `r#"…"#`, `b'x'` or `c"…"`.
    fn word(&mut self) -> Kind {
        let start = self.at;
        self.advance_while(is_word);
        let word = &self.text[start..self.at];
        match (word, self.peek(0)) {
            ("r" | "br" | "cr", Some(b'"' | b'#')) => self.raw_string(),
            ("b" | "c", Some(b'"')) => self.string(),
            ("b", Some(b'\'')) => self.quote(),
            _ => Kind::Word,
        }
    }

    fn raw_string(&mut self) -> Kind {
        let hashes = self.bytes[self.at..]
            .iter()
            .take_while(|byte| **byte == b'#')
            .count();
        if self.peek(hashes) != Some(b'"') {
            // `r#name`, a raw name.
            self.advance(hashes);
            self.advance_while(is_word);
            return Kind::Word;
        }
        self.advance(hashes + 1);
        let close = format!("\"{}", "#".repeat(hashes));
        let rest = &self.text[self.at..];
        let length = rest
            .find(&close)
            .map_or(rest.len(), |found| found + close.len());
        self.advance(length);
        Kind::Text
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::{Kind, lex};

    #[test]
    fn strings_comments_and_characters_hide_what_they_contain() {
        let text = "a \"x // b\" r#\"\"c\"# 'd' b'\\'' /* e /* f */ g */ 'life // h\nz";
        let (tokens, comments) = lex(text);
        let words: Vec<_> = tokens
            .iter()
            .filter(|token| token.kind == Kind::Word)
            .map(|token| token.text)
            .collect();
        assert_eq!(words, ["a", "z"]);
        assert_eq!(comments.len(), 2);
        assert_eq!(tokens.last().expect("there are tokens").line, 2);
    }

    #[test]
    fn raw_names_and_ranges_are_not_literals() {
        let (tokens, _) = lex("r#type 1..2 1.5 x.0");
        let texts: Vec<_> = tokens.iter().map(|token| token.text).collect();
        assert_eq!(texts, ["r#type", "1", ".", ".", "2", "1.5", "x", ".", "0"]);
    }
}
