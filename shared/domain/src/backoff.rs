//! How long to wait before the next try, where tries are counted in the store. (What reconnects counts its own: `muster_runtime::retry`.)

use std::time::Duration;

/// The wait after so many tries: doubled for each further one, up to the longest, and made shorter or longer by a part of it, from none to
/// `jitter`, so that what failed together does not come back together. `random` is a number from 0 to 1.
pub fn delay(tries: u32, (first, longest): (Duration, Duration), jitter: f64, random: f64) -> Duration {
    let doublings = tries.saturating_sub(1).min(30);
    let plain = first.saturating_mul(1 << doublings).min(longest);
    plain.mul_f64(1.0 - jitter + 2.0 * jitter * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_within_the_jitter() {
        let bounds = (Duration::from_secs(1), Duration::from_secs(5));
        let seconds = [0, 1, 2, 3, 4, 99].map(|tries| delay(tries, bounds, 0.2, 0.5).as_secs());
        assert_eq!(seconds, [1, 1, 2, 4, 5, 5]);
        assert_eq!(delay(2, bounds, 0.2, 0.0), Duration::from_millis(1_600));
        assert_eq!(delay(2, bounds, 0.2, 7.0), Duration::from_millis(2_400));
    }
}
