//! One line of SAM (`api/samv3#sam-basics`): words, and `KEY=value` pairs
//! whose values may be quoted.

use std::collections::BTreeMap;

use thiserror::Error;

/// Whether a line is this command of one word. What follows the word is free text, quotes and all.
pub(crate) fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let (head, tail) = (text.get(..word.len())?, text.get(word.len()..)?);
    (head.eq_ignore_ascii_case(word) && (tail.is_empty() || tail.starts_with(' '))).then_some(tail)
}

/// A value as it may stand in a reply: quoted if it must be.
pub(crate) fn quoted(value: &str) -> String {
    if value.contains(|c: char| c.is_whitespace() || c == '"') {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        value.to_owned()
    }
}

/// Pairs in a line at most.
const MAX_PAIRS: usize = 256;

/// A parsed line: at most two words in upper case, then pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// `STREAM`, say.
    pub(crate) verb: String,
    /// `CONNECT`, say; empty if there is none.
    pub(crate) action: String,
    /// The pairs. Keys keep their case, for options are case-sensitive.
    pairs: BTreeMap<String, String>,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum LineError {
    #[error("a quote is not closed")]
    OpenQuote,
    #[error("a key has no name")]
    EmptyKey,
    #[error("a key occurs twice")]
    DuplicateKey,
    #[error("too many options")]
    TooMany,
}

impl Line {
    /// Parses a line without its line end.
    pub(crate) fn parse(text: &str) -> Result<Self, LineError> {
        let mut line = Self::default();
        let mut rest = text.trim_start();
        let mut words = 0;
        while !rest.is_empty() {
            let (token, after) = token(rest)?;
            rest = after.trim_start();
            match token {
                Token::Word(word) if words == 0 => {
                    line.verb = word.to_ascii_uppercase();
                    words = 1;
                }
                Token::Word(word) if words == 1 && line.pairs.is_empty() => {
                    line.action = word.to_ascii_uppercase();
                    words = 2;
                }
                Token::Word(word) => line.insert(word, String::new())?,
                Token::Pair(key, value) => line.insert(key, value)?,
            }
        }
        Ok(line)
    }

    /// The value of `key`; commands' own keys are matched in any case.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let exact = self.pairs.get(key);
        exact
            .or_else(|| self.pairs.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v))
            .map(String::as_str)
    }

    /// The value of `key` if it is there and not empty.
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|v| !v.is_empty())
    }

    /// Whether `key` is `true`.
    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|v| v.eq_ignore_ascii_case("true"))
    }

    /// All pairs.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    fn insert(&mut self, key: String, value: String) -> Result<(), LineError> {
        if key.is_empty() {
            return Err(LineError::EmptyKey);
        }
        if self.pairs.len() >= MAX_PAIRS {
            return Err(LineError::TooMany);
        }
        if self.pairs.insert(key, value).is_some() { Err(LineError::DuplicateKey) } else { Ok(()) }
    }
}

enum Token {
    Word(String),
    Pair(String, String),
}

/// Splits the first token off `text`, which starts with no space.
fn token(text: &str) -> Result<(Token, &str), LineError> {
    let (mut key, mut current) = (None, String::new());
    let mut quoted = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quoted => {
                if let Some((_, escaped)) = chars.next() {
                    current.push(escaped);
                }
            }
            '"' => quoted = !quoted,
            '=' if !quoted && key.is_none() => key = Some(std::mem::take(&mut current)),
            c if c.is_ascii_whitespace() && !quoted => {
                let rest = text.get(at..).unwrap_or_default();
                return Ok((finish(key, current), rest));
            }
            c => current.push(c),
        }
    }
    if quoted { Err(LineError::OpenQuote) } else { Ok((finish(key, current), "")) }
}

fn finish(key: Option<String>, current: String) -> Token {
    match key {
        Some(key) => Token::Pair(key, current),
        None => Token::Word(current),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_pairs_quotes_and_escapes() {
        let l = Line::parse(r#"stream Connect ID=a DESTINATION=x== MESSAGE="two \"words\" \\" EMPTY= FLAG"#)
            .unwrap();
        assert_eq!((l.verb.as_str(), l.action.as_str()), ("STREAM", "CONNECT"));
        assert_eq!(l.get("id"), Some("a"));
        assert_eq!(l.get("DESTINATION"), Some("x=="));
        assert_eq!(l.get("MESSAGE"), Some(r#"two "words" \"#));
        assert_eq!((l.get("EMPTY"), l.given("EMPTY"), l.get("FLAG")), (Some(""), None, Some("")));
        assert_eq!(after_word("ping  \"a b ", "PING"), Some("  \"a b "));
        assert_eq!((after_word("PING", "PING"), after_word("PINGA", "PING")), (Some(""), None));
        assert_eq!((quoted("a=b").as_str(), quoted(r#"a "b\"#).as_str()), ("a=b", r#""a \"b\\""#));
        assert_eq!(Line::parse("").unwrap(), Line::default());
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(Line::parse("A B C=\"x"), Err(LineError::OpenQuote));
        assert_eq!(Line::parse("A B =x"), Err(LineError::EmptyKey));
        assert_eq!(Line::parse("A B C=1 C=2"), Err(LineError::DuplicateKey));
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(text in ".{0,300}") {
            let _ = Line::parse(&text);
        }
    }
}
