//! The lag of the last hour, in bounded memory; pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Between two points.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// So many points make an hour.
pub(super) const POINTS: usize = 360;

/// The lag of every table at one moment, in seconds; none where it is not known.
pub(super) struct Lags(pub(super) Vec<Option<f64>>);

impl Lags {
    pub(super) fn greatest(&self) -> Option<f64> {
        self.0.iter().flatten().copied().reduce(f64::max)
    }
}

/// The lag of the last hour, the oldest first.
#[derive(Default)]
pub(super) struct Ring(VecDeque<Option<f32>>);

impl Ring {
    pub(super) fn push(&mut self, lag: Option<f64>) {
        if self.0.len() >= POINTS {
            self.0.pop_front();
        }
        self.0.push_back(lag.map(|lag| lag as f32));
    }

    /// The hour in so many points, the last for this moment; of those that one stands for, the greatest. It begins
    /// with none when there was not an hour yet.
    pub(super) fn points(&self, count: usize) -> Vec<Option<f32>> {
        let missing = POINTS - self.0.len();
        let all: Vec<Option<f32>> = std::iter::repeat_n(None, missing)
            .chain(self.0.iter().copied())
            .collect();
        let greatest = |some: &[Option<f32>]| some.iter().flatten().copied().reduce(f32::max);
        all.chunks(POINTS.div_ceil(count)).map(greatest).collect()
    }

    pub(super) fn greatest(&self) -> Option<f32> {
        self.0.iter().flatten().copied().reduce(f32::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut ring = Ring::default();
        for second in 0..POINTS + 10 {
            ring.push(Some(second as f64));
        }
        let points = ring.points(POINTS);
        assert_eq!(points.len(), POINTS);
        assert_eq!(points[0], Some(10.0));
        assert_eq!(points[POINTS - 1], Some(POINTS as f32 + 9.0));
        assert_eq!(ring.greatest(), Some(POINTS as f32 + 9.0));
    }

    #[test]
    fn a_point_that_stands_for_many_is_their_greatest() {
        let mut ring = Ring::default();
        for lag in [Some(1.0), Some(7.0), None, Some(2.0), None, None, None] {
            ring.push(lag);
        }
        let points = ring.points(60);
        assert_eq!(points.len(), 60);
        assert_eq!(points[57..], [None, Some(1.0), Some(7.0)]);
        assert_eq!(points[..58].iter().flatten().count(), 0);
    }

    #[test]
    fn the_greatest_lag_is_of_those_that_are_known() {
        assert_eq!(Lags(vec![None, Some(2.0), Some(5.0)]).greatest(), Some(5.0));
        assert_eq!(Lags(vec![None]).greatest(), None);
        assert_eq!(Lags(Vec::new()).greatest(), None);
    }
}
