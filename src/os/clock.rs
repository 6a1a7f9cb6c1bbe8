//! What time it is.
//!
//! Owns the two clocks a run needs: wall time, which people read and which may jump, and monotonic
//! time, which deadlines and durations are made of. Must hold: nothing is decided by wall time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Something that tells the time.
pub trait Clock: Send + Sync {
    /// Nanoseconds since 1970, UTC. May jump, backwards too.
    fn wall(&self) -> i64;
    /// Time since some moment before the first call. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Monotonic time counts from here.
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> i64 {
        nanoseconds(SystemTime::now())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A system time as nanoseconds since 1970; what does not fit (before 1677, after 2262) is the
/// nearest that does.
pub fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// A clock that stands still until it is told to go on: for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<(i64, Duration)>,
}

impl ManualClock {
    /// Wall time stands at this many nanoseconds since 1970, monotonic time at 0.
    pub fn new(wall: i64) -> ManualClock {
        ManualClock { now: Mutex::new((wall, Duration::ZERO)) }
    }

    /// Both clocks go on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.0 = now.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX));
        now.1 = now.1.saturating_add(by);
    }

    /// Wall time jumps; monotonic time does not notice.
    pub fn set_wall(&self, wall: i64) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0 = wall;
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> i64 {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Duration {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_goes_when_told() {
        let clock = ManualClock::new(1_000);
        clock.advance(Duration::from_nanos(5));
        assert_eq!((clock.wall(), clock.monotonic()), (1_005, Duration::from_nanos(5)));
        clock.set_wall(7);
        assert_eq!((clock.wall(), clock.monotonic()), (7, Duration::from_nanos(5)));
    }

    #[test]
    fn times_before_1970_and_beyond_i64() {
        assert_eq!(nanoseconds(UNIX_EPOCH + Duration::from_secs(1)), 1_000_000_000);
        assert_eq!(nanoseconds(UNIX_EPOCH - Duration::from_nanos(3)), -3);
        assert_eq!(nanoseconds(UNIX_EPOCH + Duration::from_secs(40_000_000_000)), i64::MAX);
    }

    #[test]
    fn monotonic_time_never_goes_back() {
        let clock = SystemClock::new();
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
        assert!(clock.wall() > 1_600_000_000_000_000_000);
    }
}
