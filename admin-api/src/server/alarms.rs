//! When a writer stops writing: others know more than it does.

use std::sync::Arc;

use linklog::writer::WriterHandle;
use tokio_util::sync::CancellationToken;

use super::probe::HealthProbe;
use crate::feed::{OnBehind, OnHigherEpoch};

/// Returns what is called when a follower knows a writer with a higher epoch.
pub(super) fn stop_writing_when_replaced(
    writer: WriterHandle,
    probe: Arc<HealthProbe>,
    replaced: CancellationToken,
) -> OnHigherEpoch {
    Arc::new(move |epoch| {
        tracing::error!(
            epoch,
            "a follower knows a higher epoch: another writer has taken over, this one writes no more"
        );
        writer.fence(epoch);
        probe.replaced(epoch);
        replaced.cancel();
    })
}

/// Returns what is called when a proxy says that there is a writer with a higher epoch.
pub(super) fn stop_writing_when_told(
    writer: WriterHandle,
    probe: Arc<HealthProbe>,
    replaced: CancellationToken,
) -> OnHigherEpoch {
    Arc::new(move |epoch| {
        tracing::error!(epoch, "a proxy knows a higher epoch: this writer stops, until it is started again");
        writer.fence_for_now();
        probe.replaced(epoch);
        replaced.cancel();
    })
}

/// Returns what is called when a sync member has what this writer has lost.
pub(super) fn stop_writing_when_behind(writer: WriterHandle, probe: Arc<HealthProbe>) -> OnBehind {
    Arc::new(move |member, at| {
        tracing::error!(
            member,
            %at,
            head = %writer.commit().head.position,
            "a sync member has records that this writer has lost, it writes no more: stop it and run `signpost-admin recover`"
        );
        writer.stop_behind();
        probe.behind();
    })
}
