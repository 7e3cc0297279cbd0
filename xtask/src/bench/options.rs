//! What the command line asks for.

const ROUNDS: usize = 5;
const USAGE: &str = "usage: cargo xtask bench [FAMILY|NAME…] [--peers] [--rounds R]";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options<'a> {
    /// Families and workloads; none is all.
    pub(super) names: Vec<&'a str>,
    pub(super) peers: bool,
    pub(super) rounds: usize,
}

impl<'a> Options<'a> {
    pub(super) fn parse(words: &[&'a str]) -> Result<Self, String> {
        let mut options = Self {
            names: Vec::new(),
            peers: false,
            rounds: ROUNDS,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--peers" => options.peers = true,
                "--rounds" => {
                    let rounds = words.next().and_then(|text| text.parse().ok());
                    let rounds = rounds.filter(|rounds| *rounds > 0);
                    options.rounds = rounds.ok_or("error: --rounds wants a number from 1 on")?;
                }
                option if option.starts_with('-') => {
                    return Err(format!("error: no such option: {option}\n{USAGE}"));
                }
                name => options.names.push(name),
            }
        }
        Ok(options)
    }

    /// Whether this measures everything that is published.
    pub(super) const fn is_whole(&self) -> bool {
        self.names.is_empty() && self.peers
    }

    /// The command as it would be typed.
    pub(super) fn command(&self) -> String {
        let mut text = "cargo xtask bench".to_owned();
        for name in &self.names {
            text.push(' ');
            text.push_str(name);
        }
        if self.peers {
            text.push_str(" --peers");
        }
        if self.rounds != ROUNDS {
            text.push_str(&format!(" --rounds {}", self.rounds));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn names_and_options_are_read_in_any_order() {
        let options = Options::parse(&["a", "--rounds", "3", "--peers", "b"]).expect("right");
        assert_eq!((&*options.names, options.rounds), (&["a", "b"][..], 3));
        assert!(options.peers && !options.is_whole());
        assert_eq!(
            options.command(),
            "cargo xtask bench a b --peers --rounds 3"
        );
        for wrong in [&["--rounds"][..], &["--rounds", "0"], &["--fast"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn everything_is_measured_only_with_peers_and_without_names() {
        let options = Options::parse(&["--peers"]).expect("it is right");
        assert!(options.is_whole());
        assert_eq!(options.command(), "cargo xtask bench --peers");
        assert!(!Options::parse(&[]).expect("it is right").is_whole());
    }
}
