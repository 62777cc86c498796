//! Whether it is still the same clock of the same server that is read, and what that means when it is
//! not; pure.
//!
//! R1. A clock that went back, and another server whose clock is behind, stamp rows below a horizon that
//! was served already. So nothing is known until the clock has passed that horizon, and a window that
//! begins among the stamps which are given out twice (an [`Overlap`]) begins where they do.

use std::time::{Duration, Instant};

use common::stamp::Stamp;

/// The clocks of two machines run apart by less, between two readings.
const DRIFT: Duration = Duration::from_millis(20);

/// An overlap begins so much before the earliest time at which a row of it can be stamped.
const MARGIN: Duration = Duration::from_secs(1);

/// Overlaps that are remembered apart; older ones become one.
const MOST: usize = 256;

/// The source's clock, read once.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) now: Stamp,
    /// Which server it is.
    pub(crate) identity: String,
    /// When it was asked.
    pub(crate) asked: Instant,
    /// When it had answered.
    pub(crate) answered: Instant,
    /// When the connection to it was begun: the source's address led to it then.
    pub(crate) connected: Instant,
}

impl Reading {
    /// A time below which nothing is stamped from now on: the clock may go back by less than is noticed.
    pub(crate) fn surely_past(&self) -> Stamp {
        let unnoticed = DRIFT + self.answered.saturating_duration_since(self.asked);
        self.now.minus_micros(micros(unnoticed))
    }
}

/// What has become of the clock.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// It went on.
    None,
    /// It was set forward, by so much at most: what was known holds.
    WentForward(Duration),
    /// It was set back, by so much at least: what was known holds no longer.
    WentBack(Duration),
    /// It is another server's, and what was known is of the former one.
    OtherServer(String),
}

/// Stamps that can be given out twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Overlap {
    from: Stamp,
    /// The greatest horizon that was served before.
    to: Stamp,
}

/// All of them, in the order of their beginnings and of their ends. They may touch: a position behind the
/// end of one was reached after that one had been served, and needs no more than the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Overlaps(Vec<Overlap>);

impl Overlaps {
    /// What is added ends where the last one does, or behind it.
    fn add(&mut self, new: Overlap) {
        self.0.retain(|known| known.from < new.from);
        if self.0.last().is_none_or(|last| last.to < new.to) {
            self.0.push(new);
        }
        if self.0.len() > MOST {
            let oldest = self.0.remove(0);
            self.0[0].from = oldest.from;
        }
    }

    /// Where a window has to begin that is to begin at `since`; none where it may.
    pub(crate) fn begin(&self, since: Stamp) -> Option<Stamp> {
        self.begin_after(since, None)
    }

    /// The same where `since` was reached in an answer up to that horizon: an overlap that was over by then was served
    /// in it.
    pub(crate) fn begin_after(&self, since: Stamp, reached: Option<Stamp>) -> Option<Stamp> {
        let mut overlaps = self.0.iter();
        let within = overlaps.find(|overlap| {
            let is_over = reached.is_some_and(|reached| overlap.to < reached);
            overlap.from < since && since <= overlap.to && !is_over
        });
        within.map(|overlap| overlap.from)
    }
}

/// What is remembered from reading to reading.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    last: Option<Reading>,
    /// The greatest horizon that was served.
    served: Stamp,
    /// Nothing is known before the clock has passed this time.
    until: Option<Stamp>,
    overlaps: Overlaps,
}

impl Clock {
    /// Takes one more reading.
    pub(crate) fn read(&mut self, reading: Reading) -> Change {
        let Some(last) = self.last.replace(reading.clone()) else {
            return Change::None;
        };
        let (change, since) = if last.identity != reading.identity {
            // From then on others may have written to that one.
            let other = Change::OtherServer(reading.identity.clone());
            (other, last.connected)
        } else {
            match step(&last, &reading) {
                back @ Change::WentBack(_) => (back, last.asked),
                change => return change,
            }
        };
        let passed = reading.answered.saturating_duration_since(since) + MARGIN;
        let from = reading.now.minus_micros(micros(passed));
        if from <= self.served {
            self.overlaps.add(Overlap {
                from,
                to: self.served,
            });
        }
        self.until = Some(self.served);
        change
    }

    /// Takes note of a horizon that is to be served.
    ///
    /// # Errors
    /// The time that it has to pass first.
    pub(crate) fn serve(&mut self, horizon: Stamp) -> Result<(), Stamp> {
        if let Some(until) = self.until.filter(|until| horizon <= *until) {
            return Err(until);
        }
        self.until = None;
        self.served = self.served.max(horizon);
        Ok(())
    }

    pub(crate) fn overlaps(&self) -> &Overlaps {
        &self.overlaps
    }
}

/// Whether another time has passed on the source's clock than here.
fn step(last: &Reading, reading: &Reading) -> Change {
    let there = i128::from(reading.now.micros()) - i128::from(last.now.micros());
    let least = reading.asked.saturating_duration_since(last.answered);
    let most = reading.answered.saturating_duration_since(last.asked);
    let drift = i128::from(micros(DRIFT + most / 1000));
    let by = |micros: i128| Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    let (least, most) = (i128::from(micros(least)), i128::from(micros(most)));
    if there + drift < least {
        Change::WentBack(by(least - there))
    } else if there > most + drift {
        Change::WentForward(by(there - least))
    } else {
        Change::None
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Stamp {
        Stamp::from_micros(millis * 1_000)
    }

    /// Readings of servers, each after so many milliseconds, of clocks that show so many.
    struct Readings(Instant, Clock);

    impl Readings {
        fn read(&mut self, identity: &str, after: u64, now: u64) -> Change {
            let asked = self.0 + Duration::from_millis(after);
            self.1.read(Reading {
                now: at(now),
                identity: identity.to_owned(),
                asked,
                answered: asked + Duration::from_millis(1),
                connected: self.0,
            })
        }
    }

    fn readings() -> Readings {
        Readings(Instant::now(), Clock::default())
    }

    #[test]
    fn r1_a_clock_that_went_back_has_to_pass_what_was_served() {
        let mut source = readings();
        assert_eq!(source.read("a", 0, 100_000), Change::None);
        assert_eq!(source.1.serve(at(100_000)), Ok(()));
        assert_eq!(source.read("a", 250, 100_250), Change::None);
        let change = source.read("a", 500, 90_500);
        assert!(matches!(change, Change::WentBack(_)), "{change:?}");
        assert_eq!(source.1.serve(at(90_500)), Err(at(100_000)));
        // A second step back does not forget the first.
        let change = source.read("a", 750, 80_750);
        assert!(matches!(change, Change::WentBack(_)), "{change:?}");
        assert_eq!(source.1.serve(at(100_000)), Err(at(100_000)));
        assert_eq!(source.1.serve(at(100_001)), Ok(()));
        // Since 251 ms before it showed 80,751, less a second and the time of an answer.
        let begin = source.1.overlaps().begin(at(100_000)).unwrap();
        assert!((at(79_400)..at(79_600)).contains(&begin), "{begin}");
        assert_eq!(source.1.overlaps().begin(at(100_001)), None);
        assert_eq!(source.1.overlaps().begin(at(79_000)), None);
    }

    /// While nobody looked, it went on past what it had shown before.
    #[test]
    fn r1_a_step_back_shows_in_the_time_that_passed() {
        let millis = Duration::from_millis;
        for (after, now, change) in [
            (10_000, 110_000, Change::None),
            (10_000, 109_985, Change::None),
            (10_000, 105_000, Change::WentBack(millis(4_999))),
            (250, 100_150, Change::WentBack(millis(99))),
            (250, 100_260, Change::None),
            (250, 101_000, Change::WentForward(millis(751))),
        ] {
            let mut source = readings();
            source.read("a", 0, 100_000);
            assert_eq!(source.read("a", after, now), change, "{after} {now}");
        }
    }

    #[test]
    fn r1_another_server_may_have_been_written_to_since_the_address_led_elsewhere() {
        for (now, begins) in [(100_000, true), (140_000, true), (161_500, false)] {
            let mut source = readings();
            source.read("a", 60_000, 100_000);
            source.1.serve(at(100_000)).unwrap();
            let change = source.read("b", 60_000, now);
            assert_eq!(change, Change::OtherServer("b".to_owned()));
            let begin = source.1.overlaps().begin(at(100_000));
            assert_eq!(begin.is_some(), begins, "{now}: {begin:?}");
        }
    }

    /// A step that is too small to be noticed stamps nothing below what was taken for past.
    #[test]
    fn r1_a_step_back_is_noticed_or_does_no_harm() {
        for step in 0..100 {
            let mut source = readings();
            source.read("a", 0, 100_000);
            let past = source.1.last.as_ref().unwrap().surely_past();
            let noticed = source.read("a", 250, 100_250 - step) != Change::None;
            assert!(noticed || at(100_000 - step) >= past, "{step} ms, {past}");
        }
    }

    /// Each time the address leads to the other of two servers.
    #[test]
    fn overlaps_that_touch_do_not_add_up() {
        let mut source = readings();
        for minute in 0..1_000 {
            let now = 100_000 + minute * 60_000;
            let name = if minute % 2 == 0 { "a" } else { "b" };
            let (after, began) = (minute * 60_000, source.0);
            let asked = began + Duration::from_millis(after);
            source.1.read(Reading {
                now: at(now),
                identity: name.to_owned(),
                asked,
                answered: asked,
                connected: asked,
            });
            source.1.serve(at(now)).unwrap();
        }
        let last = 100_000 + 999 * 60_000;
        let begin = source.1.overlaps().begin(at(last - 60_000)).unwrap();
        assert!(begin >= at(last - 62_000), "{begin} of {}", at(last));
        assert_eq!(source.1.overlaps().0.len(), MOST);
    }

    #[test]
    fn a_window_begins_where_the_first_overlap_of_it_does() {
        let mut overlaps = Overlaps::default();
        let mut add = |from, to| {
            overlaps.add(Overlap {
                from: at(from),
                to: at(to),
            });
            overlaps.0.len()
        };
        assert_eq!(add(10, 20), 1);
        assert_eq!(add(50, 60), 2);
        assert_eq!(add(55, 60), 2, "it is within the one before");
        assert_eq!(add(55, 70), 3);
        assert_eq!(add(40, 80), 2, "two of them are within it");
        assert_eq!(add(75, 90), 3);
        for (since, begin) in [
            (10, None),
            (15, Some(10)),
            (20, Some(10)),
            (21, None),
            (40, None),
            (41, Some(40)),
            (80, Some(40)),
            (81, Some(75)),
            (91, None),
        ] {
            assert_eq!(overlaps.begin(at(since)), begin.map(at), "{since}");
        }
        for (reached, begin) in [(20, Some(10)), (21, None)] {
            let found = overlaps.begin_after(at(15), Some(at(reached)));
            assert_eq!(found, begin.map(at), "{reached}");
        }
        for n in 1..=MOST as u64 {
            overlaps.add(Overlap {
                from: at(n * 100),
                to: at(n * 100 + 10),
            });
        }
        assert_eq!(overlaps.0.len(), MOST);
        for (since, begin) in [
            (15, Some(10)),
            (105, Some(10)),
            (205, Some(200)),
            (200, None),
        ] {
            assert_eq!(overlaps.begin(at(since)), begin.map(at), "{since}");
        }
    }
}
