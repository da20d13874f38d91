//! A writer that was promoted tells the ones before it, whenever they come back: nobody else may, since who follows the new one has no
//! reason to ask them.

use std::time::Duration;

use linklog::Epoch;
use linklog::writer::WriterHandle;
use tokio_util::sync::CancellationToken;

use crate::succession::peer::Asker;

/// The pause between tries.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Tells each of `urls` once that `epoch` has begun; ends when all of them have noted it, or with `stop`. If one knows a higher epoch,
/// `replaced` hears of it.
pub(crate) async fn run(
    urls: Vec<String>,
    asker: Asker,
    writer: WriterHandle,
    replaced: std::sync::Arc<dyn Fn(u32) + Send + Sync>,
    stop: CancellationToken,
) {
    let epoch: Epoch = writer.commit().head.position.epoch;
    let mut untold = urls;
    while !untold.is_empty() {
        let mut left = Vec::new();
        for url in untold {
            let told = stop.run_until_cancelled(asker.fence(&url, epoch)).await;
            match told {
                None => return,
                Some(Ok(standing)) if standing.highest_epoch > epoch => replaced(standing.highest_epoch.0),
                Some(Ok(standing)) if standing.highest_epoch == epoch => {
                    tracing::info!(url, %epoch, accepted = standing.accepted, "it knows of the new epoch");
                }
                _ => left.push(url),
            }
        }
        untold = left;
        if stop.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await.is_none() {
            return;
        }
    }
}
