//! The commands of a running fleet: the parser, pure.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Sends a signal to a part.
    Kill { part: String, signal: Signal },
    /// Ends a part in good order.
    Stop { part: String },
    /// Starts a part.
    Start { part: String },
    /// Starts a part and does not wait for it to be ready.
    Spawn { part: String },
    /// Makes a standby the writer.
    Promote { part: String },
    /// Tells the state of every part.
    Status,
    /// Ends the fleet.
    Quit,
}

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["kill", part, signal] => Ok(Self::Kill { part: part.to_owned(), signal: parse_signal(signal)? }),
            ["stop", part] => Ok(Self::Stop { part: part.to_owned() }),
            ["start", part] => Ok(Self::Start { part: part.to_owned() }),
            ["spawn", part] => Ok(Self::Spawn { part: part.to_owned() }),
            ["promote", part] => Ok(Self::Promote { part: part.to_owned() }),
            ["status"] => Ok(Self::Status),
            ["quit"] => Ok(Self::Quit),
            _ => Err(format!(
                "{:?} is no command: kill PART SIGNAL, stop PART, start PART, spawn PART, promote PART, status, quit",
                line.chars().take(80).collect::<String>()
            )),
        }
    }
}

/// A signal by number or by name, with or without SIG.
fn parse_signal(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let signal = match text.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) if upper.starts_with("SIG") => upper.parse().ok(),
        Err(_) => format!("SIG{upper}").parse().ok(),
    };
    signal.ok_or_else(|| {
        format!("{text} is no signal: a number such as 9, or a name such as KILL, STOP, CONT, TERM")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_signals_by_number_or_name() {
        let kill = |signal| Ok(Command::Kill { part: "proxy-0".to_owned(), signal });
        assert_eq!("kill proxy-0 9".parse(), kill(Signal::SIGKILL));
        assert_eq!(" kill  proxy-0 stop\r".parse(), kill(Signal::SIGSTOP));
        assert_eq!("kill proxy-0 SIGCONT".parse(), kill(Signal::SIGCONT));
        assert_eq!("stop admin".parse(), Ok(Command::Stop { part: "admin".to_owned() }));
        assert_eq!("start keypool-0".parse(), Ok(Command::Start { part: "keypool-0".to_owned() }));
        assert_eq!(("status".parse(), "quit".parse()), (Ok(Command::Status), Ok(Command::Quit)));
    }

    #[test]
    fn what_is_no_command_says_what_would_be_one() {
        for line in ["", "kill proxy-0", "restart proxy-0", "status now"] {
            assert!(line.parse::<Command>().is_err_and(|error| error.contains("kill PART SIGNAL")), "{line}");
        }
        for line in ["kill admin 0", "kill admin 99", "kill admin NOPE"] {
            assert!(line.parse::<Command>().is_err_and(|error| error.contains("is no signal")), "{line}");
        }
    }
}
