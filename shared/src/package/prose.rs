//! Whether a text says something. "N/A" is not documentation.
//!
//! A machine cannot tell good documentation from bad; a librarian does that. It can tell what is none:
//! nothing, a phrase that stands for nothing, a word or two where an explanation is asked for, and
//! what the scaffold left to be filled in.

use std::collections::BTreeSet;

/// What the scaffold writes wherever the author has to write something. A text with it is not filled in.
pub const PLACEHOLDER: &str = "FILL IN";

/// The longest text of a field, in bytes: about two pages.
pub const MAX_TEXT: usize = 8 * 1024;

/// The fewest letters and digits of an explanation: shorter than any of its kind that was of use.
const MIN_LETTERS: usize = 15;

/// The fewest different words of an explanation.
const MIN_WORDS: usize = 3;

/// The fewest words of a document, without headings and comments: three sentences.
pub const MIN_DOCUMENT_WORDS: usize = 20;

/// The fewest different words of a document.
const MIN_DOCUMENT_VOCABULARY: usize = 10;

/// Phrases that stand for nothing, in lower case without punctuation.
const NON_ANSWERS: [&str; 30] = [
    "as above",
    "as before",
    "as usual",
    "fixme",
    "na",
    "nil",
    "no",
    "none",
    "not applicable",
    "not available",
    "not known",
    "not needed",
    "not required",
    "nothing",
    "null",
    "placeholder",
    "same as above",
    "same as before",
    "same as last time",
    "see above",
    "see below",
    "see ticket",
    "tba",
    "tbc",
    "tbd",
    "to be announced",
    "to be decided",
    "to be determined",
    "todo",
    "unknown",
];

/// Why a text says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProseFault {
    /// Nothing but white space and punctuation.
    #[error("it is empty")]
    Empty,
    /// The scaffold's marker is still there.
    #[error("it still has the scaffold's {PLACEHOLDER:?}")]
    Placeholder,
    /// A phrase that stands for nothing.
    #[error("{0:?} is not documentation")]
    NonAnswer(String),
    /// Too few words for what is asked.
    #[error("it is too short to explain anything")]
    TooShort,
    /// Longer than [`MAX_TEXT`].
    #[error("it is longer than {MAX_TEXT} bytes")]
    TooLong,
}

/// Checks the name of something or somebody.
pub fn check_name(text: &str) -> Result<(), ProseFault> {
    if text.contains(PLACEHOLDER) {
        return Err(ProseFault::Placeholder);
    }
    if text.len() > MAX_TEXT {
        return Err(ProseFault::TooLong);
    }
    let plain = plain(text);
    if plain.is_empty() {
        return Err(ProseFault::Empty);
    }
    if NON_ANSWERS.contains(&plain.as_str()) {
        return Err(ProseFault::NonAnswer(text.trim().to_owned()));
    }
    Ok(())
}

/// Checks an explanation: a sentence at least.
pub fn check_explanation(text: &str) -> Result<(), ProseFault> {
    check_name(text)?;
    let letters = text.chars().filter(|c| c.is_alphanumeric()).count();
    let words: BTreeSet<String> = words(text).collect();
    if words.len() < MIN_WORDS || (letters < MIN_LETTERS && text.is_ascii()) {
        return Err(ProseFault::TooShort);
    }
    Ok(())
}

/// Checks a Markdown document: some sentences besides its headings and comments.
pub fn check_document(markdown: &str) -> Result<(), ProseFault> {
    let text = body(markdown);
    if text.contains(PLACEHOLDER) {
        return Err(ProseFault::Placeholder);
    }
    let plain = plain(&text);
    if plain.is_empty() {
        return Err(ProseFault::Empty);
    }
    if NON_ANSWERS.contains(&plain.as_str()) {
        return Err(ProseFault::NonAnswer(text.trim().to_owned()));
    }
    let count = words(&text).count();
    let vocabulary: BTreeSet<String> = words(&text).collect();
    if count < MIN_DOCUMENT_WORDS || vocabulary.len() < MIN_DOCUMENT_VOCABULARY {
        return Err(ProseFault::TooShort);
    }
    Ok(())
}

/// Lower case, letters and digits only, words separated by one space; `N/A` becomes `na`.
fn plain(text: &str) -> String {
    let kept: String = text
        .chars()
        .filter(|c| c.is_alphanumeric() || c.is_whitespace())
        .flat_map(char::to_lowercase)
        .collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words of `text` in lower case. Scripts that are written without spaces count by the letter.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).flat_map(|word| {
        if word.chars().any(|c| c >= '\u{2E80}') {
            word.chars().map(String::from).collect()
        } else {
            vec![word.to_lowercase()]
        }
    })
}

/// A Markdown text without its comments and headings.
fn body(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    let mut rest = markdown;
    while let Some((before, comment)) = rest.split_once("<!--") {
        text.push_str(before);
        rest = comment.split_once("-->").map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_documentation() {
        for text in ["", "  ", "-", "...", "—"] {
            assert_eq!(check_explanation(text), Err(ProseFault::Empty), "{text}");
        }
        for text in
            ["N/A", "n.a.", "None.", "TBD", "to be determined!", "See ticket", " not  applicable"]
        {
            assert!(matches!(check_explanation(text), Err(ProseFault::NonAnswer(_))), "{text}");
            assert!(matches!(check_name(text), Err(ProseFault::NonAnswer(_))), "{text}");
        }
        for text in ["restart it", "it it it it it it it", "go back now"] {
            assert_eq!(check_explanation(text), Err(ProseFault::TooShort), "{text}");
        }
        assert_eq!(check_explanation("FILL IN: why it is needed"), Err(ProseFault::Placeholder));
        assert_eq!(check_name("FILL IN: who"), Err(ProseFault::Placeholder));
        assert_eq!(check_name(&"a".repeat(MAX_TEXT + 1)), Err(ProseFault::TooLong));
    }

    #[test]
    fn what_may_be_some() {
        check_explanation("No data is lost: the tables do not change.").unwrap();
        check_explanation("回滚到上一个版本并重新启动服务").unwrap();
        check_name("shop").unwrap();
        check_name("db1").unwrap();
    }

    #[test]
    fn documents_need_more_than_headings() {
        let words = "one two three four five six seven eight nine ten ";
        assert_eq!(check_document(&words.repeat(2)), Ok(()));
        for (text, fault) in [
            ("# A heading\n".repeat(30), ProseFault::Empty),
            (format!("<!-- {} -->", words.repeat(3)), ProseFault::Empty),
            (format!("<!-- {}", words.repeat(3)), ProseFault::Empty),
            ("word ".repeat(50), ProseFault::TooShort),
            (words.to_owned(), ProseFault::TooShort),
            (format!("{} FILL IN: more", words.repeat(3)), ProseFault::Placeholder),
            ("# Notes\n\nN/A\n".to_owned(), ProseFault::NonAnswer("N/A".to_owned())),
        ] {
            assert_eq!(check_document(&text), Err(fault), "{text}");
        }
        let explained = format!("<!-- FILL IN: what changes -->\n{}", words.repeat(2));
        assert_eq!(check_document(&explained), Ok(()), "comments are not the document");
    }
}
