//! Asking another holder of the log.

use std::time::Duration;

use linklog::{Digest, Epoch, Head, Position};
use tokio::time::timeout;
use tonic::Streaming;
use wire::channel::{self, reason};
use wire::identity::{FleetId, Identity, Role};
use wire::succession::{FenceRequest, TailFrame, TailRequest};

use super::Standing;

/// How long an answer may take, from dialling on.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub identity: Option<Identity>,
    pub fleet: Option<FleetId>,
    pub name: String,
}

impl Asker {
    /// Has `url` accept `epoch`, or with 0 only say how it stands.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(crate) async fn fence(&self, url: &str, epoch: Epoch) -> Result<Standing, String> {
        let asking = async {
            let mut client = channel::succession_client(self.dial(url).await?);
            let request = FenceRequest { fleet_id: self.fleet_id(), epoch: epoch.0, by: self.name.clone() };
            let answer = client.fence(request).await.map_err(|status| reason(&status))?.into_inner();
            let digest =
                <[u8; 16]>::try_from(&*answer.digest).map_err(|_| "a digest has 16 bytes".to_owned())?;
            Ok(Standing {
                accepted: answer.accepted,
                member: answer.member,
                writes: answer.writes,
                highest_epoch: Epoch(answer.highest_epoch),
                accepted_before: answer.epoch_before.map(Epoch),
                head: Head {
                    position: Position::new(answer.head_epoch, answer.head_seq),
                    digest: Digest::from_bytes(digest),
                },
            })
        };
        timeout(ANSWER_WITHIN, asking).await.unwrap_or_else(|_| Err("it does not answer".to_owned()))
    }

    /// Asks for the records after `head`.
    ///
    /// # Errors
    /// Why there are none, in words.
    pub(crate) async fn tail(&self, url: &str, head: Head) -> Result<Streaming<TailFrame>, String> {
        let asking = async {
            let mut client = channel::succession_client(self.dial(url).await?);
            let request = TailRequest {
                fleet_id: self.fleet_id(),
                after_epoch: head.position.epoch.0,
                after_seq: head.position.seq.0,
                digest: head.digest.to_bytes().to_vec(),
            };
            Ok(client.tail(request).await.map_err(|status| reason(&status))?.into_inner())
        };
        timeout(ANSWER_WITHIN, asking).await.unwrap_or_else(|_| Err("it does not answer".to_owned()))
    }

    async fn dial(&self, url: &str) -> Result<tonic::transport::Channel, String> {
        let endpoint = channel::endpoint(url, self.identity.as_ref(), Role::Writer);
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        endpoint.connect().await.map_err(|error| reason(&error))
    }

    fn fleet_id(&self) -> Vec<u8> {
        self.fleet.map_or_else(Vec::new, |fleet| fleet.as_bytes().to_vec())
    }
}
