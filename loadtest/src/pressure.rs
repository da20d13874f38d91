//! How long processes of this machine had to wait for a processor or for a disk, as the kernel adds it up (`/proc/pressure`, Linux 4.20 and
//! later, `CONFIG_PSI`): what a fleet is late by because others were being served is not the fleet's.
//!
//! What the hypervisor took is not among it: that is [`crate::stalls`].

use std::time::Duration;

/// Time since the machine was started in which at least one process waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    processor: Duration,
    disk: Duration,
}

impl Pressure {
    /// Until now; nothing where the kernel does not tell.
    #[must_use]
    pub fn now() -> Self {
        let read = |of: &str| std::fs::read_to_string(format!("/proc/pressure/{of}")).ok();
        let total = |of| read(of).and_then(|text| some(&text)).unwrap_or_default();
        Self { processor: total("cpu"), disk: total("io") }
    }

    /// Waited since `earlier`. Waiting for a disk may follow on waiting for a processor, so the two are added.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.processor.saturating_sub(earlier.processor) + self.disk.saturating_sub(earlier.disk)
    }
}

/// The total of the line `some`, which the kernel gives in µs.
fn some(text: &str) -> Option<Duration> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = line.split(' ').find_map(|word| word.strip_prefix("total="))?;
    Some(Duration::from_micros(total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_processes_waited_is_read_as_the_kernel_writes_it() {
        let text = "some avg10=59.57 avg60=32.30 avg300=11.64 total=94401606\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(some(text), Some(Duration::from_micros(94_401_606)));
        assert_eq!((some("full avg10=0.00 total=7\n"), some("")), (None, None));
        let at = |processor, disk| Pressure {
            processor: Duration::from_millis(processor),
            disk: Duration::from_millis(disk),
        };
        assert_eq!(at(500, 70).since(at(200, 20)), Duration::from_millis(350));
    }
}
