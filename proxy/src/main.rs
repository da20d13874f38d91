//! `signpost-proxy`: see the library.

use std::process::ExitCode;

use signpost_proxy::allocations::Counted;

/// Returns memory to the system better than the C library's under many connections, and is faster.
#[global_allocator]
static ALLOCATOR: Counted<mimalloc::MiMalloc> = Counted(mimalloc::MiMalloc);

fn main() -> ExitCode {
    daemon::exit::run(signpost_proxy::cli::main)
}
