//! How many connections the limit of open files leaves room for.
//!
//! Every connection is an open file, and so is every table of the database, every file of the log, the health listener's
//! connections. If visitors could take all of them, the database would fail first: so some are kept back.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// At least so many files are not for connections, if there are twice as many.
const RESERVE_MIN: u64 = 1_024;
/// One of so many is not for connections.
const RESERVE_SHARE: u64 = 8;

/// Raises the soft limit to the hard one; returns how many connections may be open, at most `wished`.
pub(crate) fn for_connections(wished: usize) -> usize {
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
            if raised { hard } else { soft }
        }
        Err(_) => return wished,
    };
    let possible = room(limit);
    if possible < wished {
        tracing::info!(
            connections_max = possible,
            wished,
            open_files = limit,
            "fewer connections than configured: raise LimitNOFILE, or lower [limits] connections_max"
        );
    }
    wished.min(possible)
}

fn room(limit: u64) -> usize {
    let reserve = (limit / RESERVE_SHARE).max(RESERVE_MIN.min(limit / 2));
    usize::try_from(limit - reserve).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_keeps_files_for_itself() {
        assert_eq!([256, 1_024, 20_000, 1 << 20].map(room), [128, 512, 17_500, 917_504]);
        assert!(room(u64::MAX) > 1 << 40);
    }
}
