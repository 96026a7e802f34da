//! `CNI_ARGS`: `K1=V1;K2=V2`.

/// A part of `CNI_ARGS` that is no pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ARGS: invalid pair {pair:?}: write KEY=VALUE pairs, separated by semicolons")]
pub struct ArgsError {
    /// The part, at most its first 128 characters.
    pub pair: String,
}

/// Splits `CNI_ARGS`. A pair is split at its first `=`, so that values may hold one (Go's libcni refuses
/// them); empty parts, as a trailing semicolon makes them, are passed over. Order and repetitions are kept.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, ArgsError> {
    let mut pairs = Vec::new();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((key, value)) if !key.is_empty() => pairs.push((key.to_owned(), value.to_owned())),
            _ => return Err(ArgsError { pair: part.chars().take(128).collect() }),
        }
    }
    Ok(pairs)
}

/// The text of `CNI_ARGS` for these pairs.
pub fn join(pairs: &[(String, String)]) -> String {
    let parts: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    parts.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn c12_args_are_split_at_the_first_equals_sign() {
        assert_eq!(parse("A=1;B=x=y;C=").unwrap(), pairs(&[("A", "1"), ("B", "x=y"), ("C", "")]));
        assert_eq!(parse("").unwrap(), pairs(&[]));
        assert_eq!(parse("A=1;").unwrap(), pairs(&[("A", "1")]));
        assert_eq!(parse("A=1;A=2").unwrap(), pairs(&[("A", "1"), ("A", "2")]));
    }

    #[test]
    fn c12_a_part_without_equals_sign_is_named() {
        let error = parse("A=1;junk").unwrap_err();
        assert_eq!(error.pair, "junk");
        assert!(error.to_string().starts_with(r#"ARGS: invalid pair "junk""#));
        assert!(parse("=1").is_err());
        assert!(parse(&"x".repeat(1 << 20)).unwrap_err().to_string().len() < 300);
    }

    proptest! {
        #[test]
        fn c12_joined_pairs_are_read_back(
            pairs in proptest::collection::vec(("[^=;]{1,8}", "[^;]{0,12}"), 0..6)
        ) {
            prop_assert_eq!(parse(&join(&pairs)).unwrap(), pairs);
        }

        #[test]
        fn c12_any_text_is_read_or_refused(text in ".*") {
            let _ = parse(&text);
        }
    }
}
