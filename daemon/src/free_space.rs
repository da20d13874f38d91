//! How much room a file system has left for us.

use std::io;
use std::path::Path;

/// Returns the bytes that are free for this process on the file system that `path` is on.
///
/// # Errors
/// What the system says, with the path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(|error| {
        io::Error::other(format!("cannot tell the room left on {}: {error}", path.display()))
    })?;
    // The types differ between systems.
    #[allow(clippy::useless_conversion)]
    let (blocks, block) = (u64::from(stat.blocks_available()), u64::from(stat.fragment_size()));
    Ok(blocks.saturating_mul(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_where_there_is_a_folder_and_an_error_where_there_is_none() {
        assert!(free_bytes(Path::new("/")).is_ok());
        let error = free_bytes(Path::new("/no/such/folder")).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
    }
}
