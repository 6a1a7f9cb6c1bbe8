//! Whether an attempt is tried again, and when.

use std::time::Duration;

use crate::attempt::Cause;

use super::{Policy, RetryOn};

/// Waits double up to this.
const LONGEST: Duration = Duration::from_secs(60);

/// The wait after failed attempt `n` (from 1); `None`: it was the last one.
pub(super) fn wait(policy: &Policy, n: u16, cause: &Cause) -> Option<Duration> {
    if n > policy.retries || !counts(policy, cause) {
        return None;
    }
    let doubled = 2u32.checked_pow(u32::from(n.saturating_sub(1))).and_then(|times| policy.backoff.checked_mul(times));
    Some(doubled.map_or(LONGEST, |wait| wait.min(LONGEST)).max(policy.backoff))
}

/// Whether this cause is retried.
fn counts(policy: &Policy, cause: &Cause) -> bool {
    match cause {
        Cause::Success | Cause::Cancelled => false,
        _ if !policy.on.is_empty() => policy.on.iter().any(|on| match (on, cause) {
            (RetryOn::Exit(wanted), Cause::Exit(code)) => wanted == code,
            (RetryOn::Timeout, Cause::Timeout(_)) => true,
            (RetryOn::OutOfMemory, Cause::OutOfMemory { .. }) => true,
            _ => false,
        }),
        Cause::NotStarted(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(retries: u16, backoff: u64, on: Vec<RetryOn>) -> Policy {
        Policy { retries, backoff: Duration::from_secs(backoff), on, allow_failure: false }
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        let p = policy(100, 1, vec![]);
        let waits: Vec<u64> = (1..=8).filter_map(|n| wait(&p, n, &Cause::Exit(1))).map(|w| w.as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(wait(&p, 100, &Cause::Exit(1)), Some(LONGEST));
        assert_eq!(wait(&p, 101, &Cause::Exit(1)), None);
    }

    #[test]
    fn a_longer_first_wait_stays() {
        let p = policy(3, 300, vec![]);
        assert_eq!(wait(&p, 1, &Cause::Signal(9)), Some(Duration::from_secs(300)));
        assert_eq!(wait(&p, 3, &Cause::Signal(9)), Some(Duration::from_secs(300)));
    }

    #[test]
    fn some_causes_are_never_retried() {
        let p = policy(5, 1, vec![]);
        assert_eq!(wait(&p, 1, &Cause::Cancelled), None);
        assert_eq!(wait(&p, 1, &Cause::NotStarted("no such program".into())), None);
        assert!(wait(&p, 1, &Cause::Lost("executor died".into())).is_some());
        assert_eq!(wait(&policy(0, 1, vec![]), 1, &Cause::Exit(1)), None);
    }

    #[test]
    fn only_the_named_causes() {
        let p = policy(5, 1, vec![RetryOn::Exit(75), RetryOn::Timeout]);
        assert!(wait(&p, 1, &Cause::Exit(75)).is_some());
        assert!(wait(&p, 1, &Cause::Timeout(Duration::from_secs(1))).is_some());
        assert_eq!(wait(&p, 1, &Cause::Exit(1)), None);
        assert_eq!(wait(&p, 1, &Cause::OutOfMemory { limit: None }), None);
        assert_eq!(wait(&p, 1, &Cause::Cancelled), None);
    }
}
